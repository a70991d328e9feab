// The contours, the start that is dragged, and the paths. Plotly draws what stays, and a canvas above it what
// moves.

const stage = (() => {
  const plot = at("#plot"),
    figure = plot.querySelector(".figure"),
    area = plot.querySelector(".area");
  const canvas = area.querySelector("canvas"),
    handle = at("#handle"),
    POINTS = 90;
  let view = null,
    dots = [],
    drawn = [],
    ratio = 1;

  const margins = () => ({ l: 2.9 * rem(), r: 4.3 * rem(), t: 0.5 * rem(), b: 2.6 * rem() });
  const line = (low, high, n) => Array.from({ length: n }, (_, k) => low + ((high - low) * k) / (n - 1));

  // Where a point is, in pixels of the area, and back.
  const place = ([x, y]) => [
    ((x - view.x[0]) / (view.x[1] - view.x[0])) * area.clientWidth,
    ((view.y[1] - y) / (view.y[1] - view.y[0])) * area.clientHeight,
  ];
  const point = (left, top) => [
    view.x[0] + (left / area.clientWidth) * (view.x[1] - view.x[0]),
    view.y[1] - (top / area.clientHeight) * (view.y[1] - view.y[0]),
  ];

  function contours(f) {
    const x = line(...view.x, POINTS),
      y = line(...view.y, POINTS);
    const above = y.map((each) => x.map((other) => Math.max(f.value(other, each) - f.least, 0)));
    const high = Math.ceil(2 * Math.log10(Math.max(...above.flat()))) / 2,
      low = high - 4.5;
    const z = above.map((row) => row.map((each) => Math.max(Math.log10(each), low)));
    const decades = line(Math.ceil(low), Math.floor(high), Math.floor(high) - Math.ceil(low) + 1);
    return {
      type: "contour",
      x,
      y,
      z,
      hoverinfo: "skip",
      contours: { start: low, end: high, size: 0.5, coloring: "fill" },
      line: { width: 0.07 * rem(), color: color("contour"), smoothing: 0.8 },
      colorscale: matchMedia("(prefers-color-scheme: dark)").matches
        ? [
            [0, "#4a6a8c"],
            [0.5, "#2a3a4c"],
            [1, "#191e27"],
          ]
        : [
            [0, "#8fb0d0"],
            [0.5, "#d3e0ec"],
            [1, "#fbfaf5"],
          ],
      colorbar: {
        title: { text: "f − f*", side: "top" },
        thickness: 0.8 * rem(),
        outlinewidth: 0,
        len: 1,
        xpad: 0.6 * rem(),
        tickvals: decades,
        ticktext: decades.map((each) => shown(10 ** each)),
        ticks: "",
      },
    };
  }

  function draw(state) {
    const f = FUNCTIONS[state.f],
      margin = margins();
    view = f.view;
    Object.assign(area.style, {
      left: `${margin.l}px`,
      right: `${margin.r}px`,
      top: `${margin.t}px`,
      bottom: `${margin.b}px`,
    });
    const axis = {
      fixedrange: true,
      zeroline: false,
      showgrid: false,
      ticks: "outside",
      tickcolor: color("soft"),
      nticks: 7,
    };
    const best = { type: "scatter", mode: "markers", x: f.best.map(([x]) => x), y: f.best.map(([, y]) => y) };
    const marker = { symbol: "star", size: 0.85 * rem(), color: color("ink") };
    Plotly.react(
      figure,
      [contours(f), { ...best, marker, showlegend: false }],
      {
        margin,
        width: plot.clientWidth,
        height: plot.clientHeight,
        paper_bgcolor: "transparent",
        plot_bgcolor: "transparent",
        font: { family: "system-ui, sans-serif", size: 0.8 * rem(), color: color("ink") },
        xaxis: { ...axis, range: view.x, title: { text: "x", standoff: 0.3 * rem() } },
        yaxis: { ...axis, range: view.y, title: { text: "y", standoff: 0.3 * rem() } },
      },
      { staticPlot: true },
    );
    ratio = Math.min(devicePixelRatio || 1, 2);
    canvas.width = area.clientWidth * ratio;
    canvas.height = area.clientHeight * ratio;
    drawn = [];
    start(state);
  }

  function start(state) {
    const [left, top] = place(state.start);
    handle.style.transform = `translate(${left}px, ${top}px)`;
    handle.setAttribute("aria-valuetext", `x ${shown(state.start[0], 3)}, y ${shown(state.start[1], 3)}`);
  }

  // As many dots as lanes.
  function lanes(count) {
    for (const dot of dots) dot.remove();
    dots = Array.from({ length: count }, (_, k) => {
      const dot = element("div", {
        className: "dot",
        textContent: LETTERS[k],
        style: `background: var(--c${k})`,
      });
      area.append(dot);
      return dot;
    });
    drawn = [];
  }

  // The paths up to step t: only what is new of them is drawn, unless something went back.
  function show(runs, t) {
    if (drawn.length !== runs.length || runs.some((run, k) => drawn[k].run !== run || drawn[k].t > t)) {
      canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
      drawn = runs.map((run) => ({ run, t: 0 }));
    }
    runs.forEach((run, k) => {
      dots[k].hidden = !run;
      if (!run) return;
      const last = Math.min(t, run.end);
      if (last > drawn[k].t) trail(run, drawn[k].t, last, k);
      drawn[k].t = t;
      const [left, top] = place([run.p[2 * last], run.p[2 * last + 1]]);
      dots[k].style.transform =
        `translate(${Math.max(Math.min(left, 1e5), -1e5)}px, ${Math.max(Math.min(top, 1e5), -1e5)}px)`;
    });
  }

  function trail(run, from, to, k) {
    const context = canvas.getContext("2d");
    context.strokeStyle = color(`c${k}`);
    context.lineWidth = 0.14 * rem() * ratio;
    context.lineJoin = "round";
    context.beginPath();
    for (let t = from; t <= to; t += 1) {
      const [left, top] = place([run.p[2 * t], run.p[2 * t + 1]]);
      context.lineTo(Math.max(Math.min(left, 1e5), -1e5) * ratio, Math.max(Math.min(top, 1e5), -1e5) * ratio);
    }
    context.stroke();
  }

  // Calls `moved` with each new start, while it is dragged, put somewhere, or moved by keys.
  function onMove(moved) {
    const inside = ([x, y]) => [
      Math.min(Math.max(x, view.x[0]), view.x[1]),
      Math.min(Math.max(y, view.y[0]), view.y[1]),
    ];
    const follow = (event) => {
      const box = area.getBoundingClientRect();
      moved(inside(point(event.clientX - box.left, event.clientY - box.top)));
    };
    // A finger drags the start alone, so that it can scroll the page; a tap puts the start elsewhere.
    let touched = false;
    area.addEventListener("click", (event) => touched && event.target !== handle && follow(event));
    area.addEventListener("pointerdown", (event) => {
      touched = event.pointerType === "touch";
      if (event.button !== 0 || (touched && event.target !== handle)) return;
      area.setPointerCapture(event.pointerId);
      area.classList.add("dragging");
      event.preventDefault();
      handle.focus({ preventScroll: true });
      follow(event);
    });
    area.addEventListener("pointermove", (event) => area.classList.contains("dragging") && follow(event));
    for (const name of ["pointerup", "pointercancel"])
      area.addEventListener(name, () => area.classList.remove("dragging"));
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    handle.addEventListener("keydown", (event) => {
      const step = steps[event.key];
      if (!step) return;
      event.preventDefault();
      const part = event.shiftKey ? 0.1 : 0.01;
      moved((now) =>
        inside([
          now[0] + step[0] * part * (view.x[1] - view.x[0]),
          now[1] + step[1] * part * (view.y[1] - view.y[0]),
        ]),
      );
    });
  }

  return { draw, start, lanes, show, onMove };
})();
