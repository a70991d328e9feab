// What a visitor does, by mouse, finger and keys, and what follows from it.

function move(start) {
  state.start = typeof start === "function" ? start(state.start) : start;
  stage.start(state);
  computeAll();
}

const actions = {
  change: (k) => {
    compute(state.lanes[k]);
    save();
  },
  choose: (k, name) =>
    replaceLanes(state.lanes.map((each, place) => (place === k ? lane(name, state.f) : each))),
  remove: (k) => replaceLanes(state.lanes.filter((_, place) => place !== k)),
  add: () => {
    const used = state.lanes.map((each) => each.rule);
    const next =
      ["AMSGrad", "Lion", "NAdam", ...Object.keys(RULES)].find((name) => !used.includes(name)) ?? "Adam";
    replaceLanes([...state.lanes, lane(next, state.f)]);
  },
};

function replaceLanes(lanes) {
  state.lanes = lanes;
  cards.build(lanes, actions);
  stage.lanes(lanes.length);
  computeAll();
}

// A rule that was typed in: a lane gets it, the one that has it already or a new one or the last.
function runOwn() {
  const fresh = lane(OWN, state.f),
    had = state.lanes.findIndex((each) => each.rule === OWN);
  if (had >= 0)
    Object.assign(
      fresh.h,
      Object.fromEntries(Object.entries(state.lanes[had].h).filter(([key]) => key in fresh.h)),
    );
  const place = had >= 0 ? had : Math.min(state.lanes.length, COLORS - 1);
  const lanes = [...state.lanes];
  lanes[place] = fresh;
  replaceLanes(lanes);
}

function setFunction(name) {
  for (const each of state.lanes) {
    const before = Object.entries(rates(each.rule, state.f, each.h));
    if (before.every(([key, value]) => each.h[key] === value))
      Object.assign(each.h, rates(each.rule, name, each.h));
  }
  Object.assign(state, { f: name, start: [...FUNCTIONS[name].start], steps: FUNCTIONS[name].steps, t: 0 });
  show();
  play();
}

// Everything again, from `state`.
function show() {
  const f = FUNCTIONS[state.f];
  at("#function").value = state.f;
  showNoise();
  const steps = at("#steps");
  steps.replaceChildren(
    ...[...new Set([...STEPS, state.steps])]
      .sort((a, b) => a - b)
      .map((each) => element("option", { textContent: String(each), value: each })),
  );
  steps.value = state.steps;
  at("#time").max = state.steps;
  at(`#axis [value="${state.axis}"]`).checked = true;
  at("#formula").replaceChildren(
    element("b", { textContent: f.formula }),
    " ",
    element("span", { textContent: f.note }),
  );
  stage.draw(state);
  replaceLanes(state.lanes);
}

function showNoise() {
  at("#noise").value = state.noise;
  at("#noise-shown").textContent =
    state.noise > 0 ? `σ = ${shown(state.noise * FUNCTIONS[state.f].noise, 3)}` : "none";
  at("#seed").value = state.seed;
  at("#seed-label").hidden = state.noise === 0;
}

function open(hash) {
  const { state: found, text } = read(hash);
  if (text && text !== own.text) editor.bring(text);
  state = found;
  pause();
  show();
}

async function share() {
  saveNow();
  const box = at("#link"),
    input = box.querySelector("input"),
    said = box.querySelector("output");
  box.hidden = false;
  input.select();
  try {
    await navigator.clipboard.writeText(input.value);
    said.textContent = "copied";
  } catch {
    said.textContent = "copy it from here";
  }
}

function setUp() {
  for (const [name, f] of Object.entries(FUNCTIONS))
    at("#function").append(element("option", { textContent: f.name, value: name }));
  for (const [name, hash] of Object.entries(EXAMPLES))
    at("#examples").append(element("li", {}, element("a", { href: `#${hash}`, textContent: name })));
  for (const link of at("#examples").querySelectorAll("a")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      open(link.hash);
      play();
    });
  }
  at("#function").addEventListener("change", (event) => setFunction(event.target.value));
  at("#noise").addEventListener("input", (event) => {
    state.noise = Number(event.target.value);
    showNoise();
    computeAll();
  });
  at("#seed").addEventListener("change", (event) => {
    state.seed = Math.min(Math.max(Math.round(Number(event.target.value) || 0), 0), 9999);
    event.target.value = state.seed;
    computeAll();
  });
  at("#steps").addEventListener("change", (event) => {
    state.steps = Number(event.target.value);
    state.t = Math.min(state.t, state.steps);
    at("#time").max = state.steps;
    computeAll();
  });
  at("#axis").addEventListener("change", (event) => {
    state.axis = Number(event.target.value);
    charts.stale();
    save();
    wake();
  });
  at("#play").addEventListener("click", () => (playing ? pause() : play()));
  at("#step").addEventListener("click", () => goTo(Math.floor(state.t) + 1));
  at("#reset").addEventListener("click", () => goTo(0));
  at("#time").addEventListener("input", (event) => goTo(Number(event.target.value)));
  at("#share").addEventListener("click", share);
  at(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    at("#stage").focus();
  });
  document.addEventListener("keydown", keys);
  stage.onMove(move);
  charts.onMove((part) => goTo(Math.round(part * state.steps)));
  const again = () => {
    stage.draw(state);
    charts.stale();
    wake();
  };
  let size = "";
  const resized = () => {
    // A card that grows makes the page longer, and nothing else.
    const now = `${at("#plot").clientWidth} ${at("#plot").clientHeight} ${rem()}`;
    if (size && size !== now) again();
    size = now;
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  new ResizeObserver(resized).observe(document.body);
  addEventListener("hashchange", () => open(location.hash));
}

function keys(event) {
  const typing = event.target.closest(
    "textarea, select, input:not([type=range]):not([type=radio]):not([type=checkbox])",
  );
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const pressed = event.target.closest("button:not(#handle), a, input[type=checkbox], input[type=radio]");
  if (event.key === " " && !pressed) (playing ? pause : play)();
  else if (event.key === ".") goTo(Math.floor(state.t) + 1);
  else if (event.key === ",") goTo(Math.ceil(state.t) - 1);
  else if (event.key === "r" || event.key === "R") goTo(0);
  else return;
  event.preventDefault();
}

{
  const { state: found, text } = read(location.hash);
  const fresh = !location.hash;
  state = found;
  editor.setUp(text, runOwn);
  setUp();
  show();
  if (fresh && !still.matches) play();
}
