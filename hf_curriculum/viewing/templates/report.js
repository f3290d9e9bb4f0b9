"use strict";
// Rows are hostile: they reach the page as text of nodes and sources of media, never as HTML or as a label of a plot.
const page = JSON.parse(document.getElementById("data").textContent);
const { schedule, examples } = page;
const byId = (id) => document.getElementById(id);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const count = (number) => number.toLocaleString("en");
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
  node.addEventListener("load", () => {
    node.classList.toggle("small", node.naturalWidth < 64);
    node.classList.toggle("strip", node.naturalWidth > 2.5 * node.naturalHeight);
  });
  return node;
}

function waveform(peaks) {
  const drawn = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  drawn.setAttribute("viewBox", `0 0 ${2 * peaks.length} 100`);
  drawn.setAttribute("preserveAspectRatio", "none");
  drawn.setAttribute("aria-hidden", "true");
  path.setAttribute("d", peaks.map((peak, i) => `M${2 * i + 1} ${50 - peak / 2 - 0.5}v${peak + 1}`).join(""));
  drawn.append(path);
  return drawn;
}

function content(example, label) {
  if (example.image) return [image(example.image, label)];
  if (example.peaks) {
    const length = example.seconds > 3 ? `the first 3 of ${rounded(example.seconds)} s` : `${rounded(example.seconds)} s`;
    const drawn = [waveform(example.peaks), make("span", { class: "hint" }, length)];
    if (!example.audio) return drawn; // a row of the map alone
    return [...drawn, make("audio", { controls: "", preload: "none", src: example.audio, "aria-label": label })];
  }
  return example.text === undefined ? [] : [make("blockquote", {}, example.text)];
}

function figure(row) {
  const example = examples[row];
  const label = `row ${row}`;
  const hover = example.fields.map(([name, value]) => `${name}: ${value}`).join("\n");
  const caption = make("figcaption", {}, `${label} · ${short(example.difficulty)}`);
  if (example.name) caption.append(make("div", {}, `${example.fields[0][0]}: ${example.name}`));
  return make("figure", { class: "row", title: hover }, ...content(example, label), caption);
}

// A list of rows that can be taken away; `more` has, for each row, columns of the file beside its own.
function listing(rows, name, { total = rows, more = () => [], show = figure, first = 24, kind = "rows" } = {}) {
  const shown = make("div", { class: kind }, ...rows.slice(0, first).map(show));
  const tools = make("div", { class: "controls" }, ...exports(total, name, more));
  if (rows.length > first) {
    const button = make("button", { type: "button" }, `Show all ${count(rows.length)}`);
    button.addEventListener("click", () => {
      shown.append(...rows.slice(first).map((row, i) => show(row, first + i)));
      button.remove();
    });
    tools.prepend(button);
  }
  return [shown, tools];
}

function exports(rows, name, more) {
  const numbers = make("button", { type: "button" }, "Row numbers");
  numbers.addEventListener("click", () => download(`${name}.json`, JSON.stringify(rows)));
  const table = make("button", { type: "button" }, "CSV");
  table.addEventListener("click", () => download(`${name}.csv`, csv(rows.map((row, i) => [...own(row), ...more(i)]))));
  return [numbers, table];
}

function own(row) {
  const { difficulty, cluster, fields = [], text } = examples[row] ?? {};
  const cells = [["row", row], ["cluster", cluster ?? ""], [page.column, difficulty ?? ""], ...fields];
  return text === undefined ? cells : [...cells, ["shown", text]];
}

function csv(lines) {
  const names = [...new Set(lines.flatMap((line) => line.map(([name]) => name)))];
  // A text that a spreadsheet would take for a formula gets an apostrophe before it.
  const safe = (value) => (typeof value === "string" && /^[=+\-@\t\r]/.test(value) && Number.isNaN(Number(value)) ? `'${value}` : value);
  const cell = (value) => `"${String(safe(value)).replaceAll('"', '""')}"`;
  const body = lines.map((line) => {
    const found = new Map(line);
    return names.map((name) => cell(found.get(name) ?? "")).join(",");
  });
  return [names.map(cell).join(","), ...body, ""].join("\r\n");
}

function download(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
  const link = make("a", { download: name });
  link.href = url;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
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
    { showlegend: false, xaxis: axis("optimiser step", { tickformat: "," }), yaxis: axis("effective fraction", { range: [0, 0.7] }) },
  );
}

function showStep(position) {
  const drawn = schedule.drawn[position];
  const lines = [
    ["Step", `${count(drawn.step)} of ${count(schedule.total_steps)}`, "Optimiser step of the training"],
    ["Effective fraction", short(drawn.fraction), "Share of the rows that as many draws as there are rows visit; uniform: 0.63"],
    ["Temperature", drawn.temperature === null ? "uniform" : rounded(drawn.temperature), "How far the draws reach beyond the first rows; solved from the fraction"],
    ["Mean difficulty", short(drawn.mean), "Of a row that is drawn"],
    ["Half of the draws", `${count(drawn.half)} rows`, "So many rows, those that come first, make half of the draws"],
  ];
  byId("readout").replaceChildren(
    ...lines.map(([name, value, meaning]) => make("div", { title: meaning }, make("dt", {}, name), make("dd", {}, value))),
  );
  byId("now").textContent = `${count(drawn.step)}: ${Math.round(100 * drawn.fraction)} % of the rows`;
  byId("step").setAttribute("aria-valuetext", `step ${drawn.step} of ${schedule.total_steps}`);
  byId("drawn").replaceChildren(...drawn.rows.map(figure));
}

function moveTo(position) {
  const drawn = schedule.drawn[position];
  showStep(position);
  if (page.map) light();
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
  let playing = null;
  const play = byId("play");
  const stop = () => {
    clearInterval(playing);
    playing = null;
    play.setAttribute("aria-pressed", "false");
    play.textContent = "Play";
  };
  play.addEventListener("click", () => {
    if (playing) return stop();
    if (slider.value === slider.max) slider.value = 0;
    play.setAttribute("aria-pressed", "true");
    play.textContent = "Stop";
    playing = setInterval(() => {
      slider.stepUp();
      moveTo(Number(slider.value));
      if (slider.value === slider.max) stop();
    }, 150);
  });
}

// --- clusters --------------------------------------------------------------------------------------------------------

function goTo(id) {
  const section = byId(id);
  if (!section) return;
  open(section);
  section.scrollIntoView();
  section.focus({ preventScroll: true });
}

function plotClusters() {
  const [numbers, rows, means] = [0, 1, 2].map((part) => page.sizes.map((size) => size[part]));
  const text = numbers.map((number, i) => `cluster ${number}<br>${count(rows[i])} rows<br>mean difficulty ${short(means[i])}`);
  plot("sizes-plot", [{ type: "bar", y: rows, hovertext: text, hoverinfo: "text" }], [["marker.color", "accent"]], {
    bargap: 0.15,
    xaxis: axis("clusters, largest first", { showticklabels: false }),
    yaxis: axis("rows", { tickformat: "," }),
  });
  byId("sizes-plot").on("plotly_click", ({ points }) => goTo(`cluster-${numbers[points[0].pointNumber]}`));
  if (!byId("curve-plot")) return;
  const [tried, indices] = [0, 1].map((part) => page.curve.map((point) => point[part]));
  const size = tried.map((number) => (number === page.n_clusters ? 14 : 7)); // none where sqrt(N) was taken instead
  const curve = { mode: "lines+markers", x: tried, y: indices, marker: { size, color: colour("accent") }, hoverinfo: "x+y" };
  plot("curve-plot", [curve], [["line.color", "accent"]], {
    xaxis: axis("number of clusters", { tickformat: "," }),
    yaxis: axis("Davies-Bouldin index"),
  });
}

function end(title, rows) {
  return make("div", {}, make("p", {}, title), make("div", { class: "rows" }, ...rows.map(figure)));
}

function mixture({ mix, rows }) {
  const told = mix.map(([label, size]) => [page.labels.names[label], size]);
  const rest = rows - told.reduce((sum, [, size]) => sum + size, 0);
  if (rest) told.push(["others", rest]);
  const parts = told.map(([name, size], i) => {
    const part = make("span", { title: `${name}: ${count(size)} rows` }, `${name} ${Math.round((100 * size) / rows)} %`);
    part.style.flexGrow = size;
    part.style.borderColor = i < mix.length ? hue(mix[i][0]) : "#888888";
    return part;
  });
  return make("div", { class: "mix", role: "img", "aria-label": "Labels of the cluster" }, ...parts);
}

function fill(section, one) {
  const ends = [end(one.cluster === null ? "Easiest" : "Prototypes", one.easiest)];
  if (one.hardest.length) ends.push(end("Hardest", one.hardest));
  if (one.mix?.length) section.append(mixture(one));
  section.append(make("div", { class: "ends" }, ...ends));
}

function open(section) {
  for (const other of document.querySelectorAll("#extremes .cluster")) other.hidden = other !== section;
  const position = [...byId("extremes").children].indexOf(section);
  if (section.childElementCount === 1) fill(section, page.clusters[position]);
  if (byId("jump")) byId("jump").value = section.id;
}

function listClusters() {
  const sections = page.clusters.map((one) => {
    const name = one.cluster === null ? "All rows" : `Cluster ${one.cluster}`;
    const size = one.rows === 1 ? "1 row" : `${count(one.rows)} rows`;
    const heading = make("h3", {}, `${name} · ${size} · mean difficulty ${short(one.mean)}`);
    return make("section", { class: "cluster", id: `cluster-${one.cluster}`, tabindex: "-1", "aria-label": name }, heading);
  });
  byId("extremes").append(...sections);
  open(sections[0]);
  byId("jump")?.addEventListener("change", ({ target }) => goTo(target.value));
  byId("hardest").append(...listing(page.hardest, "hardest", { first: 12 }));
}

// --- labels ----------------------------------------------------------------------------------------------------------

function beside(row, given, other, titles, prototypes) {
  const shown = [["this row", row, titles[0], given], ["typical", prototypes?.[given], titles[1], given], ["typical", prototypes?.[other], titles[2], other]];
  const cells = shown.map(([, number, title, label]) => {
    const name = make("p", {}, `${title} `, make("b", {}, page.labels.names[label]));
    return make("div", {}, name, ...(number === undefined ? [] : [figure(number)]));
  });
  return make("article", { class: "doubt" }, ...cells);
}

function listLabels() {
  const { names, wrong, given, suggested, prototypes, strangers, own: labels, usual } = page.labels;
  if (wrong?.length) {
    const show = (row, i) => beside(row, given[i], suggested[i], ["labelled", "typical", "looks like"], prototypes);
    const more = (i) => [["given_label", names[given[i]]], ["suggested_label", names[suggested[i]]]];
    byId("wrong").append(...listing(wrong.slice(0, 50), "doubtful-labels", { total: wrong, more, show, first: 6, kind: "doubts" }));
  }
  if (!strangers?.length) return;
  const show = (row, i) => {
    const shown = figure(row);
    shown.lastChild.append(make("div", {}, `most of its cluster: ${names[usual[i]]}`));
    return shown;
  };
  const more = (i) => [["label", names[labels[i]]], ["label_of_most", names[usual[i]]]];
  byId("strangers").append(...listing(strangers, "rare-labels", { more, show, first: 12 }));
}

// --- the map ---------------------------------------------------------------------------------------------------------

const hue = (number) => (number === null ? "#888888" : `hsl(${(number * 137.508) % 360} 65% 52%)`);
const DISTINCT = 24; // values of a column that colours can tell apart
let chosen = -1;
const shown = { values: new Set(), term: "", inside: null };

// What the map can be coloured by: of each, the value of every row, or a number where `scale` is set.
const colourings = new Map();

function findColourings() {
  const rows = page.map.rows.map((row) => examples[row]);
  if (byId("clusters")) colourings.set("cluster", { values: rows.map(({ cluster }) => cluster), tint: hue });
  colourings.set("difficulty", { values: rows.map(({ difficulty }) => difficulty), scale: true });
  rows[0].fields.forEach(([name], i) => {
    const values = rows.map(({ fields }) => fields[i][1]);
    const distinct = [...new Set(values)].sort();
    const numbers = values.every((value) => value === "None" || (value !== "" && Number.isFinite(Number(value))));
    if (colourings.has(name) || distinct.length < 2) return;
    if (distinct.length <= DISTINCT) colourings.set(name, { values, tint: (value) => hue(distinct.indexOf(value)) });
    else if (numbers) colourings.set(name, { values: values.map((value) => (value === "None" ? null : Number(value))), scale: true });
    else return;
    const radio = make("input", { type: "radio", name: "colour" });
    radio.value = name;
    byId("colours").append(make("label", {}, radio, ` ${name}`));
  });
}

const chosenColouring = () => document.querySelector("input[name=colour]:checked").value;

function paint() {
  const name = chosenColouring();
  const { values, tint: tinted, scale } = colourings.get(name);
  shown.values.clear();
  const change = { "marker.color": [scale ? values : values.map(tinted)], "marker.showscale": Boolean(scale) };
  Plotly.restyle("map-plot", { ...change, "marker.colorbar.title.text": name === "difficulty" ? name : "" }, [0]);
  const sizes = new Map();
  if (!scale) for (const value of values) sizes.set(value, (sizes.get(value) ?? 0) + 1);
  const entries = [...sizes].sort((one, other) => other[1] - one[1]).map(([value, size]) => {
    const mark = make("span", { class: "mark" });
    mark.style.background = tinted(value);
    const entry = make("button", { type: "button", "aria-pressed": "false" }, mark, `${value ?? "none"} `, make("small", {}, count(size)));
    entry.addEventListener("click", () => {
      if (!shown.values.delete(value)) shown.values.add(value);
      entry.setAttribute("aria-pressed", String(shown.values.has(value)));
      light();
      list();
    });
    return entry;
  });
  byId("legend").replaceChildren(...entries);
}

const words = new Map();

function holds(i, term) {
  const { fields, text = "" } = examples[page.map.rows[i]];
  if (!words.has(i)) words.set(i, [text, ...fields.map(([, value]) => value)].join("\n").toLowerCase());
  return words.get(i).includes(term);
}

function isShown(i) {
  if (shown.inside && !shown.inside.has(i)) return false;
  if (shown.values.size && !shown.values.has(colourings.get(chosenColouring()).values[i])) return false;
  return !shown.term || holds(i, shown.term);
}

// One throw for each row, spread evenly: of many rows the lit share is their mean chance.
const throws = page.map?.rows.map((_, i) => 100 * ((i * 0.6180339887498949) % 1));

function light() {
  const { chance } = schedule.drawn[Number(byId("step").value)];
  const lights = byId("lit").checked;
  const bright = chance.map((one, i) => !lights || throws[i] < one);
  const opacity = bright.map((lit, i) => (!isShown(i) ? 0.03 : lit ? 0.95 : 0.16));
  Plotly.restyle("map-plot", { "marker.opacity": [opacity], "marker.size": [bright.map((lit) => (lit ? 8 : 5))] }, [0]);
}

function list() {
  const chosenRows = page.map.rows.filter((_, i) => isShown(i));
  const all = chosenRows.length === page.map.rows.length;
  const heading = make("h3", {}, `${count(chosenRows.length)} of ${count(page.map.rows.length)} rows of the map`);
  byId("selection").replaceChildren(...(all ? [] : [heading, ...listing(chosenRows, "selected")]));
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
  findColourings();
  const hidden = { visible: false, fixedrange: false };
  const marker = { colorscale: "Viridis", colorbar: { title: { text: "difficulty" }, thickness: 12 }, line: { width: 0 } };
  const ring = { size: 16, color: "rgba(0,0,0,0)", line: { width: 3 } };
  plot(
    "map-plot",
    [
      { mode: "markers", x: page.map.x, y: page.map.y, hoverinfo: "none", marker },
      { mode: "markers", x: [], y: [], hoverinfo: "skip", marker: ring },
    ],
    [null, ["marker.line.color", "ink"]],
    {
      dragmode: false,
      hovermode: "closest",
      showlegend: false,
      margin: { l: 10, r: 10, t: 10, b: 10 },
      xaxis: axis("", hidden),
      yaxis: axis("", { ...hidden, scaleanchor: "x" }),
    },
  );
  paint();
  light();
  listenToMap();
}

function listenToMap() {
  const map = byId("map-plot");
  for (const event of ["plotly_hover", "plotly_click"]) map.on(event, ({ points }) => choose(points[0].pointNumber));
  map.on("plotly_selected", (event) => {
    if (!event?.range && !event?.lassoPoints) return; // what ends a selection says nothing of rows
    shown.inside = new Set(event.points.filter(({ curveNumber }) => curveNumber === 0).map(({ pointNumber }) => pointNumber));
    Plotly.restyle(map, { selectedpoints: [null] }, [0]); // ours is the light
    light();
    list();
  });
  map.addEventListener("keydown", (event) => {
    if (!/^Arrow(Left|Right|Up|Down)$/.test(event.key)) return;
    event.preventDefault();
    choose(chosen < 0 ? 0 : neighbour(event.key));
  });
  byId("colours").addEventListener("change", () => {
    paint();
    light();
    list();
  });
  byId("lit").addEventListener("change", light);
  byId("search").addEventListener("input", ({ target }) => {
    shown.term = target.value.trim().toLowerCase();
    light();
    list();
  });
  const tools = [...document.querySelectorAll("button[data-tool]")];
  const take = (tool) => {
    for (const button of tools) button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
    Plotly.relayout(map, { dragmode: tool });
  };
  for (const button of tools) button.addEventListener("click", () => take(button.dataset.tool));
  if (!matchMedia("(pointer: coarse)").matches) take("pan"); // a finger scrolls the page until it takes a tool
  byId("clear").addEventListener("click", () => {
    Object.assign(shown, { term: "", inside: null });
    byId("search").value = "";
    Plotly.relayout(map, { selections: [] });
    paint();
    light();
    list();
  });
}

plotSchedule();
if (byId("sizes-plot")) plotClusters();
if (page.map) plotMap();
listClusters();
if (page.labels) listLabels();
listenToSteps();
showStep(0);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", followTheme);
document.documentElement.dataset.ready = "";
