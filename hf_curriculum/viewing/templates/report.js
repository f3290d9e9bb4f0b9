"use strict";
// Rows are hostile: they reach the page as text of nodes and sources of media, never as HTML or as a label of a plot.
const page = JSON.parse(document.getElementById("data").textContent);
const { schedule, examples } = page;
const byId = (id) => document.getElementById(id);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const rounded = (number) => number.toLocaleString("en", { maximumSignificantDigits: 3 });
const short = (number) => (number === null ? "–" : Math.abs(number) < 10 ? number.toFixed(2) : rounded(number));

function make(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function image(source, label) {
  const node = make("img", { src: source, alt: label, loading: "lazy" });
  node.addEventListener("load", () => node.classList.toggle("small", node.naturalWidth < 64));
  return node;
}

function content(example, label) {
  if (example.image) return [image(example.image, label)];
  if (example.audio) return [make("audio", { controls: "", preload: "none", src: example.audio, "aria-label": label })];
  return example.text === undefined ? [] : [make("blockquote", {}, example.text)];
}

function figure(row) {
  const example = examples[row];
  const label = `row ${row}`;
  const hover = example.fields.map(([name, value]) => `${name}: ${value}`).join("\n");
  const caption = make("figcaption", {}, `${label} · ${short(example.difficulty)}`);
  if (example.name) caption.append(make("div", {}, example.name));
  return make("figure", { class: "row", title: hover }, ...content(example, label), caption);
}

function details(row) {
  const example = examples[row];
  const lines = [["row", row], ["cluster", example.cluster], [page.column, short(example.difficulty)], ...example.fields];
  const cells = lines
    .filter(([, value]) => value !== null)
    .map(([name, value]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, String(value))));
  return [make("div", { class: "row" }, ...content(example, `row ${row}`)), make("table", {}, ...cells)];
}

// --- plots -----------------------------------------------------------------------------------------------------------

const plots = new Map(); // of each plot, the colours of its traces by name
const settings = { displaylogo: false, displayModeBar: false, responsive: true };
const axis = (title, more = {}) => ({ title: { text: title }, zeroline: false, fixedrange: true, ...more });

function themed(axes) {
  const layout = { "font.color": colour("ink") };
  for (const side of axes) {
    for (const key of ["gridcolor", "linecolor"]) layout[`${side}.${key}`] = colour("line");
  }
  return layout;
}

// `tints` names, for each trace, the attribute that has a colour of the theme, and which; null where it has none.
function plot(id, traces, tints, { xaxis, yaxis, ...layout }) {
  const lines = { gridcolor: colour("line"), linecolor: colour("line") };
  const whole = {
    margin: { l: 60, r: 15, t: 15, b: 45 },
    legend: { orientation: "h", y: 1.12 },
    font: { family: "system-ui, sans-serif", size: 13, color: colour("ink") },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    xaxis: { ...xaxis, ...lines },
    yaxis: { ...yaxis, ...lines },
    ...layout,
  };
  traces.forEach((trace, i) => tints[i] && tint(trace, ...tints[i]));
  Plotly.newPlot(byId(id), traces, whole, settings);
  plots.set(id, tints);
}

function tint(trace, attribute, name) {
  const path = attribute.split(".");
  const last = path.pop();
  let part = trace;
  for (const key of path) part = part[key] ??= {};
  part[last] = colour(name);
}

function followTheme() {
  for (const [id, tints] of plots) {
    Plotly.relayout(id, themed(["xaxis", "yaxis"]));
    tints.forEach((found, i) => found && Plotly.restyle(id, { [found[0]]: colour(found[1]) }, [i]));
  }
}

// --- the schedule ----------------------------------------------------------------------------------------------------

const { edges } = schedule;
const centres = edges.slice(1).map((edge, i) => (edge + edges[i]) / 2);

const highest = Math.max(...schedule.dataset, ...schedule.drawn.flatMap(({ share }) => share));

function plotSchedule() {
  plot(
    "difficulty-plot",
    [
      { type: "bar", x: centres, y: schedule.dataset, width: edges[1] - edges[0], name: "dataset", hoverinfo: "x+y" },
      { mode: "lines", x: centres, y: schedule.drawn[0].share, line: { shape: "hvh", width: 2 }, name: "drawn" },
    ],
    [["marker.color", "dataset"], ["line.color", "warm"]],
    { bargap: 0, xaxis: axis("difficulty"), yaxis: axis("share of rows", { range: [0, 1.05 * highest] }) },
  );
  plot(
    "schedule-plot",
    [
      { mode: "lines", x: schedule.steps, y: schedule.planned, line: { width: 2 }, name: "planned" },
      { mode: "markers", x: [0], y: [schedule.drawn[0].fraction], marker: { size: 12 }, name: "this step" },
    ],
    [["line.color", "accent"], ["marker.color", "warm"]],
    { showlegend: false, xaxis: axis("optimiser step"), yaxis: axis("effective fraction", { range: [0, 0.7] }) },
  );
}

function showStep(position) {
  const drawn = schedule.drawn[position];
  const warm = drawn.step < schedule.warmup_steps;
  const lines = [
    ["Step", `${drawn.step.toLocaleString("en")} of ${schedule.total_steps.toLocaleString("en")}`],
    ["Effective fraction", short(drawn.fraction)],
    ["Temperature", warm ? rounded(drawn.temperature) : "uniform"],
    ["Mean difficulty", short(drawn.mean)],
  ];
  byId("readout").replaceChildren(
    ...lines.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))),
  );
  byId("step").setAttribute("aria-valuetext", `step ${drawn.step} of ${schedule.total_steps}`);
  byId("drawn").replaceChildren(...drawn.rows.map(figure));
}

function moveTo(position) {
  const drawn = schedule.drawn[position];
  showStep(position);
  Plotly.restyle("difficulty-plot", { y: [drawn.share] }, [1]);
  Plotly.restyle("schedule-plot", { x: [[drawn.step]], y: [[drawn.fraction]] }, [1]);
}

function listenToSteps() {
  const slider = byId("step");
  slider.addEventListener("input", () => moveTo(Number(slider.value)));
  for (const button of document.querySelectorAll("button[data-position]")) {
    button.addEventListener("click", () => {
      slider.value = button.dataset.position;
      moveTo(Number(slider.value));
    });
  }
}

// --- clusters --------------------------------------------------------------------------------------------------------

function goTo(id) {
  const section = byId(id);
  if (!section) return;
  section.scrollIntoView();
  section.focus({ preventScroll: true });
}

function plotClusters() {
  const [numbers, rows, means] = [0, 1, 2].map((part) => page.sizes.map((size) => size[part]));
  const text = numbers.map((number, i) => `cluster ${number}<br>${rows[i]} rows<br>mean difficulty ${short(means[i])}`);
  plot("sizes-plot", [{ type: "bar", y: rows, hovertext: text, hoverinfo: "text" }], [["marker.color", "accent"]], {
    bargap: 0.15,
    xaxis: axis("clusters, largest first", { showticklabels: false }),
    yaxis: axis("rows"),
  });
  byId("sizes-plot").on("plotly_click", ({ points }) => goTo(`cluster-${numbers[points[0].pointNumber]}`));
  if (!byId("curve-plot")) return;
  const [tried, indices] = [0, 1].map((part) => page.curve.map((point) => point[part]));
  const size = tried.map((number) => (number === page.n_clusters ? 14 : 7)); // none where sqrt(N) was taken instead
  const curve = { mode: "lines+markers", x: tried, y: indices, marker: { size, color: colour("accent") }, hoverinfo: "x+y" };
  plot("curve-plot", [curve], [["line.color", "accent"]], {
    xaxis: axis("number of clusters"),
    yaxis: axis("Davies-Bouldin index"),
  });
}

function end(title, rows) {
  return make("div", {}, make("p", {}, title), make("div", { class: "rows" }, ...rows.map(figure)));
}

function listClusters() {
  const sections = page.clusters.map((one) => {
    const name = one.cluster === null ? "All rows" : `Cluster ${one.cluster}`;
    const count = one.rows === 1 ? "1 row" : `${one.rows.toLocaleString("en")} rows`;
    const heading = make("h3", {}, `${name} · ${count} · mean difficulty ${short(one.mean)}`);
    const ends = [end(one.cluster === null ? "Easiest" : "Prototypes", one.easiest)];
    if (one.hardest.length) ends.push(end("Hardest", one.hardest));
    return make(
      "section",
      { class: "cluster", id: `cluster-${one.cluster}`, tabindex: "-1", "aria-label": name },
      heading,
      make("div", { class: "ends" }, ...ends),
    );
  });
  byId("extremes").append(...sections);
  byId("jump")?.addEventListener("change", ({ target }) => goTo(target.value));
}

// --- the map ---------------------------------------------------------------------------------------------------------

const hue = (cluster) => (cluster === null ? "#888888" : `hsl(${(cluster * 137.508) % 360} 65% 52%)`);
let chosen = -1;

function colours(by) {
  const rows = page.map.rows.map((row) => examples[row]);
  return rows.map(({ cluster, difficulty }) => (by === "cluster" ? hue(cluster) : difficulty));
}

function choose(point) {
  chosen = point;
  Plotly.restyle("map-plot", { x: [[page.map.x[point]]], y: [[page.map.y[point]]] }, [1]);
  byId("preview").replaceChildren(...details(page.map.rows[point]));
}

// The nearest point that lies rather in the direction of the key than across it.
function neighbour(key) {
  const { x, y } = page.map;
  const [right, up] = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[key];
  let [best, least] = [chosen, Infinity];
  for (let i = 0; i < x.length; i++) {
    const [dx, dy] = [x[i] - x[chosen], y[i] - y[chosen]];
    const along = dx * right + dy * up;
    const distance = dx * dx + dy * dy;
    if (along > 0 && 2 * along * along >= distance && distance < least) [best, least] = [i, distance];
  }
  return best;
}

function plotMap() {
  const by = () => document.querySelector("input[name=colour]:checked").value;
  const hidden = { visible: false, fixedrange: false };
  const marker = {
    size: 7,
    opacity: 0.85,
    color: colours(by()),
    colorscale: "Viridis",
    colorbar: { title: { text: "difficulty" }, thickness: 12 },
    showscale: by() === "difficulty",
  };
  const ring = { size: 16, color: "rgba(0,0,0,0)", line: { width: 3 } };
  plot(
    "map-plot",
    [
      { mode: "markers", x: page.map.x, y: page.map.y, hoverinfo: "none", marker },
      { mode: "markers", x: [], y: [], hoverinfo: "skip", marker: ring },
    ],
    [null, ["marker.line.color", "ink"]],
    {
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "pan",
      hovermode: "closest",
      showlegend: false,
      margin: { l: 10, r: 10, t: 10, b: 10 },
      xaxis: axis("", hidden),
      yaxis: axis("", hidden),
    },
  );
  byId("map-plot").on("plotly_hover", ({ points }) => choose(points[0].pointNumber));
  byId("map-plot").addEventListener("keydown", (event) => {
    if (!/^Arrow(Left|Right|Up|Down)$/.test(event.key)) return;
    event.preventDefault();
    choose(chosen < 0 ? 0 : neighbour(event.key));
  });
  for (const radio of document.querySelectorAll("input[name=colour]")) {
    radio.addEventListener("change", () => {
      const scale = by() === "difficulty";
      Plotly.restyle("map-plot", { "marker.color": [colours(by())], "marker.showscale": scale }, [0]);
    });
  }
}

plotSchedule();
if (byId("sizes-plot")) plotClusters();
if (page.map) plotMap();
listClusters();
listenToSteps();
showStep(0);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", followTheme);
document.documentElement.dataset.ready = "";
