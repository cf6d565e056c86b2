"use strict";
const charts = JSON.parse(document.getElementById("charts").textContent);

function colours() {
  const style = getComputedStyle(document.documentElement);
  return { ink: style.getPropertyValue("--ink"), line: style.getPropertyValue("--line"), card: style.getPropertyValue("--card") };
}

function draw() {
  const { ink, line, card } = colours();
  for (const place of document.querySelectorAll("[data-chart]")) {
    const chart = structuredClone(charts[place.dataset.chart]);
    const parallel = chart.data[0].type === "parcoords";
    const narrow = place.clientWidth < 560;
    const axis = { gridcolor: line, linecolor: ink, zeroline: false };
    for (const trace of chart.data) {
      if (parallel) Object.assign(trace, { labelfont: { color: ink }, tickfont: { color: ink }, rangefont: { color: "rgba(0,0,0,0)" } });
      if (narrow && trace.marker) trace.marker.showscale = false;
    }
    const layout = {
      ...chart.layout, paper_bgcolor: card, plot_bgcolor: card,
      font: { color: ink, family: getComputedStyle(document.body).fontFamily, size: 13 },
      margin: parallel ? { l: 90, r: 90, t: 70, b: 30 } : { l: 64, r: 20, t: 24, b: 72 },
    };
    if (!parallel) for (const name of ["xaxis", "yaxis"]) layout[name] = { ...axis, ...layout[name] };
    Plotly.react(place, chart.data, layout, { responsive: true, displaylogo: false });
  }
}

function sortBy(head, place) {
  const body = head.closest("table").tBodies[0];
  const up = head.getAttribute("aria-sort") !== "ascending";
  const value = (row) => row.cells[place].dataset.sort ?? row.cells[place].textContent;
  const compare = (a, b) => {
    const [x, y] = [value(a), value(b)];
    const difference = Number(x) - Number(y);
    return Number.isNaN(difference) ? x.localeCompare(y) : difference;
  };
  const rows = [...body.rows].sort((a, b) => (up ? compare(a, b) : compare(b, a)));
  body.append(...rows);
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
}

for (const [place, head] of [...document.querySelectorAll("th")].entries()) {
  head.querySelector("button")?.addEventListener("click", () => sortBy(head, place));
}
if (Object.keys(charts).length) {
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
