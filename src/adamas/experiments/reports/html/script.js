"use strict";
for (const chart of document.querySelectorAll(".chart")) {
  const plot = chart.querySelector(".plot");
  const { data, layout } = JSON.parse(chart.querySelector("script").textContent);
  // On a touch screen a finger on a chart scrolls the page.
  layout.dragmode = matchMedia("(pointer: coarse)").matches ? false : "zoom";
  const buttons = ["lasso2d", "select2d", "autoScale2d"];
  Plotly.newPlot(plot, data, layout, { responsive: true, displaylogo: false, modeBarButtonsToRemove: buttons });

  for (const box of chart.querySelectorAll("input")) {
    const group = [...data.keys()].filter((place) => data[place].legendgroup === box.value);
    box.addEventListener("change", () => Plotly.restyle(plot, { visible: box.checked }, group));
  }
  for (const button of chart.querySelectorAll("button")) {
    const axis = button.dataset.axis;
    button.addEventListener("click", () => {
      const log = button.getAttribute("aria-pressed") === "false";
      button.setAttribute("aria-pressed", log);
      Plotly.relayout(plot, { [`${axis}.type`]: log ? "log" : "linear", [`${axis}.autorange`]: true });
    });
  }
}
