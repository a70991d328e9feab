"use strict";
const NARROW = 480; // pixels: a chart narrower than this has no room for labels at the ends of curves
const number = (value) => Number(value).toPrecision(4).replace(/(\.\d*?)0+($|e)/, "$1$2").replace(/\.($|e)/, "$1");

function draw(chart) {
  const plot = chart.querySelector(".plot");
  const { data, layout, views, across } = JSON.parse(chart.querySelector("script").textContent);
  const home = chart.closest("[data-one-list]") || chart; // where its buttons and its list are
  const list = home.querySelector("fieldset");
  const xName = layout.xaxis.title.text;
  const hidden = new Set();
  const state = { view: layout.yaxis.type === "log" ? "log" : "linear", logX: layout.xaxis.type === "log", zoomed: false };
  const narrow = plot.clientWidth < NARROW;
  if (narrow) Object.assign(layout, { height: layout.height > 340 ? layout.height : 260, margin: { ...layout.margin, r: 10 } });
  // In a grid, an axis is named once: at the left, and at the bottom.
  if (matchMedia("(min-width: 75rem)").matches)
    for (const each of chart.dataset.inner || "") layout[`${each}axis`].title.text = "";
  // On a touch screen a finger on a chart scrolls the page.
  layout.dragmode = matchMedia("(pointer: coarse)").matches ? false : "zoom";

  const annotations = () => views[state.view].annotations
    .filter((each) => !hidden.has(each.name) && (each.xref === "x" || !(narrow || state.zoomed)))
    .map((each) => (each.xref === "x" && state.logX ? { ...each, x: Math.log10(each.x) } : { ...each }));
  const axes = () => {
    const change = {};
    for (const [axis, value] of [["yaxis", views[state.view].axis], ["xaxis", across[state.logX ? "True" : "False"]]])
      for (const [name, each] of Object.entries(value)) change[`${axis}.${name}`] = each;
    return change;
  };
  const show = (change = axes()) => Plotly.relayout(plot, { ...change, annotations: annotations() });

  layout.annotations = annotations();
  const buttons = ["lasso2d", "select2d", "autoScale2d"];
  Plotly.newPlot(plot, data, layout, { responsive: true, displaylogo: false, modeBarButtonsToRemove: buttons });

  // Fixed ticks suit the whole axis; one that was zoomed gets its own, and back again.
  plot.on("plotly_relayout", (change) => {
    const zoomed = Object.keys(change).some((name) => name.includes("range["));
    const reset = Object.keys(change).some((name) => name.endsWith("autorange"));
    if (reset) { state.zoomed = false; show(); }
    else if (zoomed) { state.zoomed = true; show({ "xaxis.tickmode": "auto", "yaxis.tickmode": "auto" }); }
  });

  const readouts = () => list.querySelectorAll("output");
  plot.on("plotly_hover", ({ points }) => {
    for (const each of readouts()) each.textContent = "";
    const at = list.querySelector(".at");
    if (at) at.textContent = `${xName} ${number(points[0].x)}`;
    for (const point of points) {
      const place = list.querySelector(`output[data-group="${point.data.legendgroup}"]`);
      const ends = point.customdata ? ` (seeds: ${number(point.customdata[0])} to ${number(point.customdata[1])})` : "";
      if (place && !point.data.text) place.textContent = number(point.y) + ends; // a point of a list tells its own
    }
  });
  plot.on("plotly_unhover", () => { for (const each of readouts()) each.textContent = ""; });

  for (const box of list.querySelectorAll("input")) {
    const group = [...data.keys()].filter((place) => data[place].legendgroup === box.value);
    box.addEventListener("change", () => {
      box.checked ? hidden.delete(box.value) : hidden.add(box.value);
      Plotly.restyle(plot, { visible: box.checked }, group);
      show({});
    });
  }
  const pressed = (name, on) => { const one = home.querySelector(`[data-axis="${name}"]`); if (one) one.setAttribute("aria-pressed", on); };
  for (const button of home.querySelectorAll("[data-axis]")) {
    button.addEventListener("click", () => {
      const kind = button.dataset.axis;
      // From the state, not the button: it may belong to several charts, and each changes it.
      const on = kind === "xaxis" ? !state.logX : state.view !== (kind === "other" ? "other" : "log");
      if (kind === "xaxis") state.logX = on;
      else if (kind === "other") state.view = on ? "other" : "log";
      else state.view = on ? "log" : "linear";
      state.zoomed = false;
      pressed("xaxis", state.logX);
      pressed("yaxis", state.view === "log");
      pressed("other", state.view === "other");
      show();
    });
  }
}

// What is closed has no width: it is drawn when it is opened first.
for (const chart of document.querySelectorAll(".chart")) {
  const closed = chart.closest("details:not([open])");
  if (closed) closed.addEventListener("toggle", () => draw(chart), { once: true });
  else draw(chart);
}

const claims = [...document.querySelectorAll("#claims .claim")];
const filters = [...document.querySelectorAll("[data-filter]")];
function filter(verdict) {
  for (const each of filters) each.setAttribute("aria-pressed", each.dataset.filter === verdict);
  for (const each of claims) each.hidden = Boolean(verdict) && each.dataset.verdict !== verdict;
}
for (const each of filters)
  each.addEventListener("click", () => filter(each.getAttribute("aria-pressed") === "true" ? "" : each.dataset.filter));

for (const each of document.querySelectorAll("[data-jump]")) each.addEventListener("click", () => filter(each.dataset.jump));

// A link to a claim opens it.
function open() {
  const claim = /^#(claim|after)-/.test(location.hash) && document.getElementById(location.hash.slice(1));
  if (!claim) return;
  filter("");
  claim.open = true;
  claim.scrollIntoView();
}
addEventListener("hashchange", open);
open();
