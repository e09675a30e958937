"use strict";
const folds = document.querySelectorAll("details.code");
const toggle = document.getElementById("code");
if (toggle && folds.length) {
  toggle.hidden = false;
  toggle.addEventListener("click", () => {
    const open = toggle.textContent === "Show all code";
    folds.forEach((fold) => { fold.open = open; });
    toggle.textContent = open ? "Hide all code" : "Show all code";
  });
}
document.querySelectorAll(".table").forEach((table) => {
  if (table.scrollWidth > table.clientWidth) table.tabIndex = 0;
});
document.querySelectorAll(".chart").forEach(async (chart) => {
  chart.parentElement.classList.add("drawn");
  try {
    await vegaEmbed(chart, JSON.parse(chart.dataset.spec), { actions: false, renderer: "svg" });
  } catch {
    chart.parentElement.classList.remove("drawn"); // the static figure stays
  }
});
