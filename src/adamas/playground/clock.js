// The view as it is, the runs of its rules, and the one loop that draws them.

let state = null;
let playing = false,
  asleep = true,
  told = 0,
  changedAt = 0,
  saving = 0,
  previous = 0;
const still = matchMedia("(prefers-reduced-motion: reduce)");

// Everything of a lane is computed at once, whenever something of it changes; playing only uncovers it.
async function compute(lane) {
  if (lane.busy) {
    lane.again = true;
    return;
  }
  lane.busy = true;
  do {
    lane.again = false;
    await computed(lane).then(
      (run) => Object.assign(lane, { run, error: null }),
      (error) => Object.assign(lane, { run: null, error: error.message }),
    );
    changedAt = performance.now();
    charts.stale();
    wake();
  } while (lane.again);
  lane.busy = false;
}

async function computed(lane) {
  const { f, start, noise, seed, steps } = state;
  const known = lane.rule === OWN ? own.known : RULES[lane.rule][variant(lane)];
  if (!known)
    throw new Error(
      lane.rule === OWN
        ? "Not run: see the text below, and run it there."
        : "These options do not go together.",
    );
  lane.moments = moments(known);
  lane.bound = Number(lane.rule === OWN ? NaN : (BOUNDS[lane.rule]?.(lane) ?? NaN));
  const text = lane.rule === OWN ? own.text : TEXTS[lane.rule][variant(lane)];
  return runner(text).ask({ f, start, noise, seed, steps, h: lane.h });
}

function computeAll() {
  state.lanes.forEach(compute);
  save();
}

function save() {
  clearTimeout(saving);
  saving = setTimeout(saveNow, 250);
}

function saveNow() {
  clearTimeout(saving);
  const view = `#${written(state)}`;
  try {
    history.replaceState(null, "", view);
  } catch {
    // A page inside of another may have no address of its own.
  }
  at("#link input").value = location.href.replace(/#.*/s, "") + view;
}

function wake() {
  if (!asleep) return;
  asleep = false;
  previous = 0;
  requestAnimationFrame(frame);
}

function frame(now) {
  const passed = previous ? Math.min(now - previous, 100) : 0;
  previous = now;
  if (playing) {
    // A run takes eight seconds, and a short one less.
    state.t += (passed / 1000) * Math.max(state.steps / 8, 30);
    if (state.t >= state.steps) [state.t, playing] = [state.steps, false];
    if (!playing) pause();
  }
  const t = Math.floor(state.t);
  stage.show(
    state.lanes.map((lane) => lane.run ?? null),
    t,
  );
  charts.show(t, state.steps);
  const left = (now - changedAt > 90 || !dragging()) && charts.drawOne(state, state.lanes);
  if (!playing || now - told > 100) {
    tell(t);
    told = now;
  }
  const waiting = left || now - changedAt < 150;
  if (playing || waiting) requestAnimationFrame(frame);
  else asleep = true;
}

const dragging = () => Boolean(document.querySelector(".dragging, input[type=range]:active"));

function tell(t) {
  at("#time").value = t;
  at("#time-shown").textContent = `t = ${t} of`;
  cards.show(state.lanes, state, t);
}

function play() {
  if (state.t >= state.steps) state.t = 0;
  if (still.matches) {
    state.t = state.steps;
    pause();
  } else {
    playing = true;
    at("#play").textContent = "Pause";
  }
  wake();
}

function pause() {
  playing = false;
  at("#play").textContent = "Play";
  save();
  wake();
}

function goTo(t) {
  state.t = Math.min(Math.max(t, 0), state.steps);
  pause();
}
