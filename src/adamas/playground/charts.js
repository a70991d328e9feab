// m, v, the effective step and the value over the steps. Plotly draws a run whole; a cover hides what is to
// come.

const charts = (() => {
  const grid = at("#charts .grid");
  const KINDS = {
    m: { title: "First moment m", log: false },
    v: { title: "Second moment v", log: true },
    step: { title: "Effective step |Δ|/α", log: true },
    value: { title: "Distance to the least value, f − f*", log: true },
  };
  const made = Object.entries(KINDS).map(([name, kind]) => chart(name, kind));
  const BOUND = "bound";
  let width = 1;

  function chart(name, kind) {
    const figure = element("div", { className: "figure" }),
      cover = element("div", { className: "cover" });
    const area = element("div", { className: "area" }, cover),
      note = element("span");
    const plot = element(
      "div",
      { className: "plot", role: "img", "aria-label": `${kind.title} over steps` },
      figure,
      area,
    );
    grid.append(
      element("figure", { className: "chart" }, element("figcaption", {}, `${kind.title} `, note), plot),
    );
    return { name, kind, plot, figure, cover, area, note, stale: true };
  }

  const margins = () => ({ l: 3.4 * rem(), r: 1.1 * rem(), t: 0.4 * rem(), b: 2.8 * rem() });

  // One of the charts that are out of date is drawn; whether there was one.
  function drawOne(state, lanes) {
    const next = made.find((each) => each.stale);
    if (!next) return false;
    next.stale = false;
    draw(next, state, lanes);
    return made.some((each) => each.stale);
  }

  function draw({ name, kind, plot, figure, area, note }, state, lanes) {
    const margin = margins(),
      traces = [];
    Object.assign(area.style, {
      left: `${margin.l}px`,
      right: `${margin.r}px`,
      top: `${margin.t}px`,
      bottom: `${margin.b}px`,
    });
    const others = [];
    lanes.forEach((lane, k) => {
      if (!lane.run?.[name]) return;
      traces.push(curve(lane.run, name, state, k));
      const slot = lane.moments?.[name];
      if (slot && slot !== name) others.push(`${LETTERS[k]}: ${slot}`);
      if (name === "step" && lane.bound > 0) {
        const dashed = {
          color: color(`c${k}`),
          width: 0.08 * rem(),
          dash: `${0.3 * rem()}px,${0.2 * rem()}px`,
        };
        traces.push({
          mode: "lines",
          name: BOUND,
          x: [0, state.steps],
          y: [lane.bound, lane.bound],
          line: dashed,
        });
      }
    });
    note.textContent = [
      name === "value" ? "" : `of ${"xy"[state.axis]}`,
      others.length ? `(${others.join(", ")})` : "",
      traces.some((trace) => trace.name === BOUND) ? "(- - bound)" : "",
    ]
      .filter(Boolean)
      .join(" ");
    const axis = {
      fixedrange: true,
      zeroline: false,
      gridcolor: color("line"),
      linecolor: color("soft"),
      showline: true,
      ticks: "outside",
      tickcolor: color("soft"),
    };
    Plotly.react(
      figure,
      traces,
      {
        margin,
        width: plot.clientWidth,
        height: plot.clientHeight,
        showlegend: false,
        paper_bgcolor: "transparent",
        plot_bgcolor: "transparent",
        font: { family: "system-ui, sans-serif", size: 0.76 * rem(), color: color("ink") },
        xaxis: {
          ...axis,
          range: [0, state.steps],
          nticks: 6,
          showgrid: false,
          title: { text: "step t", standoff: 0.2 * rem() },
        },
        yaxis: { ...axis, ...vertical(traces, kind.log) },
        annotations: traces.length
          ? []
          : [
              {
                text: "no rule here has one",
                showarrow: false,
                xref: "paper",
                yref: "paper",
                x: 0.5,
                y: 0.5,
                font: { color: color("soft") },
              },
            ],
      },
      { staticPlot: true },
    );
    width = area.clientWidth;
  }

  function curve(run, name, state, k) {
    const x = [],
      y = [],
      stride = name === "value" ? 1 : 2,
      every = Math.ceil(state.steps / 1500);
    const least = FUNCTIONS[state.f].least;
    for (let t = 0; t <= run.end; t += every) {
      const value = run[name][stride * t + (name === "value" ? 0 : state.axis)];
      x.push(t);
      y.push(name === "value" ? value - least : value);
    }
    // Dashes on what goes up and down at every step would be a pattern of their own.
    const turns = y.filter((each, i) => (y[i + 1] - each) * (each - y[i - 1]) < 0).length,
      dense = turns > 60 && turns > y.length / 4;
    const line = {
      color: color(`c${k}`),
      width: (dense ? 0.06 : 0.11) * rem(),
      dash: dense ? "solid" : dashes(k),
      simplify: true,
    };
    return { mode: "lines", x, y, line, opacity: dense ? 0.7 : 1 };
  }

  // The range and ticks of an axis; the logarithmic ones begin at most seven decades below their upper end.
  function vertical(traces, log) {
    const values = traces.flatMap((trace) => trace.y).filter((y) => Number.isFinite(y) && (!log || y > 0));
    let high = values.reduce((a, b) => Math.max(a, b), -Infinity),
      low = values.reduce((a, b) => Math.min(a, b), Infinity);
    if (!values.length) [low, high] = log ? [0.1, 1] : [-1, 1];
    if (!log) {
      const space = 0.06 * (high - low || Math.abs(high) || 1);
      return {
        type: "linear",
        range: [low - space, high + space],
        nticks: 5,
        zeroline: true,
        zerolinecolor: color("soft"),
      };
    }
    const top = Math.min(Math.log10(high), 12),
      bottom = Math.max(Math.log10(low), top - 7);
    const space = 0.06 * Math.max(top - bottom, 0.5);
    const tickvals = ticks(bottom - space, top + space);
    return {
      type: "log",
      range: [bottom - space, top + space],
      tickvals,
      ticktext: tickvals.map((each) => shown(each)),
    };
  }

  // Decades, or where there are fewer than two of them, round numbers between.
  function ticks(bottom, top) {
    const every = Math.max(1, Math.ceil((top - bottom) / 5)),
      first = Math.ceil(bottom),
      found = [];
    for (let k = Math.ceil(first / every) * every; k <= top; k += every) found.push(10 ** k);
    if (found.length > 1) return found;
    const [low, high] = [10 ** bottom, 10 ** top],
      size = 10 ** Math.floor(Math.log10(high - low || high));
    const step = [0.2, 0.5, 1, 2, 5].map((each) => each * size).find((each) => (high - low) / each <= 5);
    return Array.from({ length: 6 }, (_, k) => +((Math.ceil(low / step) + k) * step).toPrecision(6)).filter(
      (each) => each <= high,
    );
  }

  function stale() {
    for (const each of made) each.stale = true;
  }

  function show(t, steps) {
    const moved = `translateX(${(t / steps) * width}px)`;
    for (const { cover } of made) cover.style.transform = moved;
  }

  // Calls `moved` with the step under a pointer that is pressed on a chart.
  function onMove(moved) {
    for (const { plot, area } of made) {
      const follow = (event) => {
        const box = area.getBoundingClientRect();
        moved(Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1));
      };
      plot.addEventListener("pointerdown", (event) => {
        if (event.pointerType === "touch") return;
        plot.setPointerCapture(event.pointerId);
        follow(event);
      });
      plot.addEventListener(
        "pointermove",
        (event) => plot.hasPointerCapture(event.pointerId) && follow(event),
      );
      plot.addEventListener("click", follow);
    }
  }

  return { drawOne, stale, show, onMove };
})();
