"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const number = (x) => (x === null || x === undefined ? "" : Number(x).toLocaleString("en"));
const short = (x) => (x === null || x === undefined ? "" : Number(x).toPrecision(3).replace(/\.?0+(e|$)/, "$1"));
// Plotly takes text for markup, links among it: what a name holds is escaped
const safe = (x) => String(x).replaceAll("&", "&amp;").replaceAll("<", "&lt;");
const sum = (xs) => xs.reduce((a, b) => a + b, 0);
const layout = (more) => ({ margin: { l: 50, r: 16, t: 10, b: 40 }, font: { family: "system-ui", size: 12 }, ...more });
const plain = { responsive: true, displaylogo: false };
const COLOURS = ["#4c72b0", "#dd8452", "#55a868", "#8172b3", "#c44e52", "#64b5cd", "#937860", "#da8bc3"];

function text(parent, kind, value, name) {
  const e = document.createElement(kind);
  e.textContent = value;
  if (name) e.className = name;
  parent.append(e);
  return e;
}

function table(id, head, rows, texts, click) {
  const t = at(id), top = document.createElement("thead"), body = document.createElement("tbody");
  const line = text(top, "tr", "");
  head.forEach((h, k) => { text(line, "th", h, texts.has(k) ? "text" : "").scope = "col"; });
  for (const [key, cells, bad] of rows) {
    const row = text(body, "tr", "");
    row.dataset.group = key;
    cells.forEach((c, k) => text(row, "td", c, texts.has(k) ? "text" : bad && bad.has(k) ? "bad" : ""));
    if (!click) continue;
    row.tabIndex = 0;
    row.addEventListener("click", () => click(key));
    row.addEventListener("keydown", (e) => { if (e.key === "Enter") click(key); });
  }
  t.append(top, body);
}

// ---- one selection for everything: groups of instructions, one or those of a box of the graph ----

const select = (k) => data.costs[k] && show(data.costs[k].name, data.costs[k].place, [k]);
const openBox = (j) => {
  const [, , name, groups] = data.graph.nodes[j];
  show(name, groups.length > 1 ? "" : data.costs[groups[0]].place, groups);
};
function show(name, place, groups) {
  const costs = groups.map((k) => data.costs[k]), all = (of) => sum(costs.map(of));
  const box = at("detail");
  box.replaceChildren();
  text(box, "h3", name).id = "chosen";
  const parts = data.phases.map((p, i) => `${p} ${(1000 * all((c) => c.seconds[i])).toFixed(2)} ms`).join(", ");
  text(box, "p", `${place ? `at ${place}; ` : ""}${number(all((c) => c.leaves))} leaves, ` +
    `${number(all((c) => c.entries))} entries, ${number(all((c) => c.bytes))} bytes of the proof; ${parts}`);
  if (groups.length > 1) {
    const most = [...costs].sort((a, b) => sum(b.seconds) - sum(a.seconds)).slice(0, 5);
    text(box, "p", `${number(groups.length)} in one box; most: ` +
      most.map((c) => `${c.name} (${(1000 * sum(c.seconds)).toFixed(2)} ms)`).join(", "));
  }
  const here = (d) => costs.some((c) => c.name.endsWith(` ${d.node}`));
  for (const d of (data.comparison ? data.comparison.tensors : []).filter(here)) {
    text(box, "p", `${d.tensor}: off by up to ${short(d.error)} (${short(100 * d.relative)} % of its range)` +
      (d.begins ? `, where an error begins: ${d.cause}` : ""));
  }
  for (const e of document.querySelectorAll(".marked")) e.classList.remove("marked");
  const numbers = [...new Set(costs.flatMap((c) => c.lines))].sort((a, b) => a - b);
  const lines = numbers.map((l) => at(`line-${l}`)).filter(Boolean);
  lines.forEach((e) => e.classList.add("marked"));
  if (lines.length) at("source").scrollTop = lines[0].offsetTop - at("source").offsetTop - 60;
  const chosen = new Set(groups);
  for (const e of document.querySelectorAll("tr[data-group]")) {
    if (chosen.has(Number(e.dataset.group))) e.classList.add("marked");
  }
  const mine = data.tensors.findIndex((t) => chosen.has(t.group));
  if (mine >= 0) showTensor(mine);
  draw(boxOf.get(groups[0]));
}

// ---- summary, source ----

at("title").textContent = data.program;
for (const [name, value] of Object.entries(data.summary)) {
  const d = text(at("summary"), "div", "");
  text(d, "dt", name);
  text(d, "dd", number(value));
}
data.source.forEach((s, i) => {
  const e = text(at("source"), "div", s || " ");
  e.id = `line-${i + 1}`;
  e.dataset.line = i + 1;
});
if (!data.source.length) text(at("source"), "div", "the program has no source text");

// ---- cost ----

const MEASURES = {
  "seconds of proving": (c) => sum(c.seconds), "lookup leaves": (c) => c.leaves, "committed entries, padded": (c) => c.entries,
  "contraction work": (c) => c.work, "proof bytes": (c) => c.bytes,
};
for (const name of Object.keys(MEASURES)) text(at("measure"), "option", name);
const boxOf = new Map(data.graph.nodes.flatMap(([, , , groups], j) => groups.map((k) => [k, j])));
const wide = data.graph.nodes.map(([, , name, groups], j) => ({ name, j, groups })).filter((b) => b.groups.length > 1);
const inside = new Set(wide.map((b) => b.j));  // boxes that hold several: one more level of the tree
function treemap() {
  const of = MEASURES[at("measure").value], shown = data.costs.map((c, k) => [c, k]).filter(([c]) => of(c) > 0);
  const boxes = wide.map((b) => ({ ...b, value: sum(b.groups.map((k) => of(data.costs[k]))) })).filter((b) => b.value > 0);
  Plotly.react("treemap", [{
    type: "treemap", branchvalues: "total", maxdepth: wide.length ? 2 : -1,
    ids: ["all", ...boxes.map((b) => `box ${b.j}`), ...shown.map(([, k]) => String(k))],
    labels: [data.program, ...boxes.map((b) => b.name), ...shown.map(([c]) => c.name)].map(safe),
    parents: ["", ...boxes.map(() => "all"),
      ...shown.map(([, k]) => (inside.has(boxOf.get(k)) ? `box ${boxOf.get(k)}` : "all"))],
    values: [sum(shown.map(([c]) => of(c))), ...boxes.map((b) => b.value), ...shown.map(([c]) => of(c))],
    text: ["", ...boxes.map((b) => `${number(b.groups.length)} in one box`), ...shown.map(([c]) => safe(c.place))],
    textinfo: "label+percent root", tiling: { pad: 1 },
    marker: { colors: ["#fff", ...boxes.map((b) => COLOURS[b.j % COLOURS.length]),
      ...shown.map(([, k]) => COLOURS[k % COLOURS.length])] },
  }], layout({ margin: { l: 0, r: 0, t: 4, b: 0 } }), plain);
}
treemap();
at("measure").addEventListener("change", treemap);
at("treemap").on("plotly_treemapclick", (e) => {  // into a box that holds several, else to where it comes from
  const id = String(e.points[0].id), j = Number(id.replace("box ", ""));
  if (id === "all") return true;
  (id.startsWith("box ") ? openBox : select)(j);
  return id.startsWith("box ");
});
table("costs", ["name", "place", "runs", "leaves", "committed", "work", "bytes", ...data.phases.map((p) => `${p}, ms`)],
  data.costs.map((c, k) => [k, [c.name, c.place, ...[c.executions, c.leaves, c.entries, c.work, c.bytes].map(number),
    ...c.seconds.map((s) => (1000 * s).toFixed(2))]]), new Set([0, 1]), select);

// ---- dataflow ----

const nodes = data.graph.nodes.map(([x, y, name, groups]) => ({
  x, y, name, groups, seconds: sum(groups.map((k) => sum(data.costs[k].seconds))) }));
const edges = { x: [], y: [] };
for (const [a, b] of data.graph.edges) {
  edges.x.push(nodes[a].x, nodes[b].x, null);
  edges.y.push(nodes[a].y, nodes[b].y, null);
}
at("graph-text").textContent = data.graph.collapsed && `Of the graph's instructions or nodes ${data.graph.collapsed}.`;
const heavy = nodes.reduce((most, n) => Math.max(most, n.seconds), 1e-12);
const bad = new Map((data.comparison ? data.comparison.tensors : []).map((d) => [d.node, d]));
const off = (k) => [...bad].some(([n, d]) => d.begins && data.costs[k].name.endsWith(` ${n}`));
const cut = new Set(data.tensors.filter((t) => t.saturated).map((t) => t.group));
function draw(chosen) {
  Plotly.react("graph", [
    { type: "scatter", mode: "lines", ...edges, hoverinfo: "skip", line: { color: "#8a94a3", width: 1 } },
    {
      type: "scatter", mode: nodes.length > 80 ? "markers" : "markers+text", x: nodes.map((n) => n.x),
      y: nodes.map((n) => n.y), customdata: nodes.map((_, j) => j), text: nodes.map((n) => safe(n.name)),
      textposition: "middle right", hovertemplate: "%{text}<extra></extra>",
      marker: {
        size: nodes.map((n) => 9 + 22 * Math.sqrt(n.seconds / heavy)),
        color: nodes.map((n) => (n.groups.some((k) => off(k) || cut.has(k)) ? "#c44e52" : "#4c72b0")),
        line: { color: "#e5a50a", width: nodes.map((_, j) => (j === chosen ? 5 : 0)) },
      },
    },
  ], layout({ showlegend: false, margin: { l: 6, r: 6, t: 6, b: 6 }, hovermode: "closest", xaxis: { visible: false },
    yaxis: { visible: false, autorange: "reversed" }, uirevision: 1 }), plain);
}
draw(-1);
at("graph").on("plotly_click", (e) => { if (e.points[0].customdata !== undefined) openBox(e.points[0].customdata); });

// ---- time ----

const threads = [...new Set(data.pieces.map((p) => p[1]))].sort((a, b) => (b === "phases") - (a === "phases"));
const kinds = [...new Set(data.pieces.map((p) => p[0]))];
Plotly.react("timeline", kinds.map((kind, i) => {
  const mine = data.pieces.filter((p) => p[0] === kind);
  return {
    type: "bar", orientation: "h", name: safe(kind), y: mine.map((p) => safe(p[1])), base: mine.map((p) => 1000 * p[2]),
    x: mine.map((p) => 1000 * (p[3] - p[2])), marker: { color: COLOURS[i % COLOURS.length] },
    hovertemplate: `${safe(kind)}: %{x:.3f} ms<extra></extra>`,
  };
}), layout({ barmode: "overlay", xaxis: { title: { text: "ms" } }, margin: { l: 110, r: 16, t: 10, b: 40 },
  yaxis: { categoryorder: "array", categoryarray: threads.map(safe).reverse() } }), plain);
const phase = (p, i) => `${p} ${(1000 * sum(data.costs.map((c) => c.seconds[i]))).toFixed(2)} ms`;
at("timeline").setAttribute("aria-label", `What each thread did when; ${data.phases.map(phase).join(", ")}`);

// ---- tensors ----

data.tensors.forEach((t, k) => {
  text(at("tensor"), "option", `${t.register}${t.tensor ? ` (${t.tensor})` : ""}`).value = k;
});
function showTensor(k) {
  const t = data.tensors[k], n = t.counts.length, [lo, hi] = t.values;
  const scale = t.scale === null ? 1 : t.scale, step = (Math.max(hi, lo + 1) - lo) / n;
  at("tensor").value = String(k);
  at("tensor-text").textContent = `${t.op}, ${t.type}; values ${number(lo)} to ${number(hi)}, interval ` +
    `${number(t.interval[0])} to ${number(t.interval[1])}` +
    (t.scale === null ? "" : `; one unit is ${short(t.scale)}: ${short(lo * scale)} to ${short(hi * scale)}`) +
    (t.saturated ? `; ${number(t.saturated)} values were cut off` : "");
  Plotly.react("histogram", [{
    type: "bar", x: t.counts.map((_, i) => scale * (lo + (i + 0.5) * step)), y: t.counts, width: scale * step,
    marker: { color: t.saturated ? "#c44e52" : "#4c72b0" },
  }], layout({ bargap: 0.02, yaxis: { type: "log", title: { text: "entries" } },
    xaxis: { title: { text: t.scale === null ? "integer" : "real" } } }), plain);
}
at("tensor").addEventListener("change", (e) => showTensor(Number(e.target.value)));
table("tensors", ["register", "tensor", "op", "type", "lowest", "highest", "one unit", "cut off"],
  data.tensors.map((t) => [t.group, [t.register, t.tensor || "", t.op, t.type, number(t.values[0]), number(t.values[1]),
    short(t.scale), t.saturated ? number(t.saturated) : ""], t.saturated ? new Set([7]) : null]),
  new Set([0, 1, 2, 3]), select);
if (data.tensors.length) showTensor(0);

// ---- beside the float model ----

if (data.comparison) {
  const first = data.comparison.first;
  at("comparison-text").textContent = first ? `The error begins at ${first.node}: ${first.cause}.`
    : `Every tensor is within ${data.comparison.tolerance} of its range.`;
  const group = (d) => data.costs.findIndex((c) => c.name.endsWith(` ${d.node}`));
  table("comparison", ["node", "operator", "tensor", "lowest", "highest", "error", "mean", "% of range", "cut off", "begins"],
    data.comparison.tensors.map((d) => [group(d), [d.node, d.op, d.tensor, short(d.lo), short(d.hi), short(d.error),
      short(d.mean), short(100 * d.relative), d.saturated ? number(d.saturated) : "", d.begins ? d.cause : ""],
      d.begins ? new Set([5, 7, 8, 9]) : null]), new Set([0, 1, 2, 9]), select);
} else at("comparison-part").remove();

// ---- soundness ----

const terms = data.soundness.filter(([, bits]) => bits !== null);
Plotly.react("budget", [{
  type: "bar", orientation: "h", y: terms.map(([n]) => safe(n)), x: terms.map(([, b]) => b),
  marker: { color: "#55a868" }, hovertemplate: "%{y}: %{x:.1f} bits<extra></extra>",
}], layout({ xaxis: { title: { text: "bits" } }, yaxis: { automargin: true, autorange: "reversed" } }), plain);
at("budget").setAttribute("aria-label", terms.map(([n, b]) => `${n}: ${b.toFixed(1)} bits`).join(", "));

// ---- on paper ----

const charts = document.querySelectorAll(".chart");
const drawn = (size) => charts.forEach((e) => Plotly.relayout(e, size));
window.addEventListener("beforeprint", () => drawn({ autosize: false, width: 660 }));  // of A4 and of Letter
window.addEventListener("afterprint", () => drawn({ autosize: true, width: null }));
