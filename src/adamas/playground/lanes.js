// The cards of the rules, each with its options, sliders and what it is at.

const cards = (() => {
  const grid = at("#lanes .grid");
  let shownCards = [];

  // All cards again; `actions` has what is to be done where one is changed, chosen, added or removed.
  function build(lanes, actions) {
    grid.replaceChildren();
    shownCards = lanes.map((lane, k) => card(lane, k, lanes.length, actions));
    grid.append(...shownCards.map((each) => each.root));
    if (lanes.length < COLORS) {
      const add = element("button", { type: "button", className: "add", textContent: "Add a rule" });
      add.addEventListener("click", actions.add);
      grid.append(add);
    }
  }

  function card(lane, k, count, actions) {
    const select = element("select", { "aria-label": `Rule ${LETTERS[k]}` });
    for (const name of Object.keys(RULES))
      select.append(element("option", { textContent: name, value: name }));
    if (own.text)
      select.append(
        element("option", {
          textContent: own.known ? `${own.known.name} (typed here)` : "your own",
          value: OWN,
        }),
      );
    select.value = lane.rule;
    select.addEventListener("change", () => actions.choose(k, select.value));
    const head = element(
      "header",
      {},
      element("span", { className: "dot", textContent: LETTERS[k], "aria-hidden": "true" }),
      sample(k),
      select,
    );
    if (count > 1) {
      const remove = element("button", {
        type: "button",
        textContent: "×",
        "aria-label": `Remove rule ${LETTERS[k]}`,
      });
      remove.addEventListener("click", () => actions.remove(k));
      head.append(remove);
    }
    const said = element("p", { className: "said" });
    const options = element("div", { className: "options" });
    const { options: choices, numbers } = fields(lane.rule);
    for (const [name, values] of Object.entries(choices))
      options.append(choice(lane, name, values, () => actions.change(k)));
    const knobs = Object.entries(numbers).map(([name, value]) =>
      knob(lane, name, value, k, () => actions.change(k)),
    );
    const root = element(
      "article",
      { className: "lane", style: `--own: var(--c${k})`, "aria-label": `Rule ${LETTERS[k]}` },
      head,
      said,
      ...knobs,
      options,
    );
    return { root, said };
  }

  // A piece of the line that the charts draw.
  function sample(k) {
    const box = element("span", { "aria-hidden": "true" });
    const dash = ["", "7 4", "2 3", "7 3 2 3"][k];
    const stroke = `stroke="var(--c${k})" stroke-width="2.5" stroke-dasharray="${dash}"`;
    box.innerHTML = `<svg width="30" height="8"><line x2="30" y1="4" y2="4" ${stroke}/></svg>`;
    return box;
  }

  function choice(lane, name, values, changed) {
    const title = OPTIONS[name] ?? name.replaceAll("_", " ");
    if (values.every((each) => typeof each === "boolean")) {
      const box = element("input", { type: "checkbox", checked: lane.options[name] });
      box.addEventListener("change", () => changed((lane.options[name] = box.checked)));
      return element("label", {}, box, title);
    }
    const select = element("select");
    for (const each of values)
      select.append(
        element("option", { textContent: String(each).replaceAll("_", " "), value: String(each) }),
      );
    select.value = String(lane.options[name]);
    select.addEventListener("change", () =>
      changed((lane.options[name] = values.find((each) => String(each) === select.value))),
    );
    return element("label", {}, title, select);
  }

  function knob(lane, name, initial, k, changed) {
    const along = scale(name, initial),
      title = `${symbol(name)} (${name}) of rule ${LETTERS[k]}`;
    const slider = element("input", {
      type: "range",
      min: along.min,
      max: along.max,
      step: along.step,
      "aria-label": title,
      "aria-valuetext": String(lane.h[name]),
    });
    const number = element("input", {
      type: "text",
      inputMode: "decimal",
      value: String(lane.h[name]),
      "aria-label": `${title}, as a number`,
    });
    slider.value = along.to(lane.h[name]);
    const set = (value) => {
      lane.h[name] = value;
      slider.setAttribute("aria-valuetext", String(value));
      changed();
    };
    slider.addEventListener("input", () => {
      set(along.of(Number(slider.value)));
      number.value = String(lane.h[name]);
    });
    number.addEventListener("change", () => {
      const value = Number(number.value.trim().replace("−", "-"));
      if (number.value.trim() && Number.isFinite(value)) {
        set(value);
        slider.value = along.to(value);
      }
      number.value = String(lane.h[name]);
    });
    return element(
      "div",
      { className: "knob" },
      element("span", { textContent: symbol(name), title: name }),
      slider,
      number,
    );
  }

  // What each rule is at in step t.
  function show(lanes, state, t) {
    lanes.forEach((lane, k) => {
      const { said } = shownCards[k],
        text = lane.error ?? (lane.run ? reached(lane, state, t) : "…");
      if (said.textContent !== text) said.textContent = text;
      said.classList.toggle("bad", Boolean(lane.error));
    });
  }

  function reached({ run, moments: names }, state, t) {
    const last = Math.min(t, run.end),
      a = state.axis,
      i = 2 * last + a,
      axis = "xy"[a];
    const place = [run.p[2 * last], run.p[2 * last + 1]].map((each) => shown(each, 3)).join(", ");
    const parts = [`f − f* = ${shown(run.value[last] - FUNCTIONS[state.f].least, 3)} at (${place})`];
    const inner = ["m", "v"]
      .filter((key) => run[key])
      .map((key) => `${names[key]} = ${shown(run[key][i], 3)}`);
    if (last > 0) inner.push(`|Δ|/α = ${shown(run.step[i], 3)}`);
    parts.push(
      last < t
        ? `no longer finite after step ${run.end}`
        : inner.length
          ? `${axis}: ${inner.join(", ")}`
          : "",
    );
    return parts.filter(Boolean).join("\n");
  }

  return { build, show };
})();
