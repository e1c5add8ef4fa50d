"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const number = (x) => (x === null || x === undefined ? "" : Number(x).toLocaleString("en"));
const short = (x) => (x === null || x === undefined ? "" : Number(x).toPrecision(3).replace(/\.?0+(e|$)/, "$1"));
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
  head.forEach((h, k) => text(line, "th", h, texts.has(k) ? "text" : ""));
  for (const [key, cells, bad] of rows) {
    const row = text(body, "tr", "");
    row.dataset.group = key;
    cells.forEach((c, k) => text(row, "td", c, texts.has(k) ? "text" : bad && bad.has(k) ? "bad" : ""));
    if (click) row.addEventListener("click", () => click(key));
  }
  t.append(top, body);
}

// ---- one selection for everything: a group of instructions ----

function select(k) {
  const c = data.costs[k];
  if (!c) return;
  const box = at("detail");
  box.replaceChildren();
  text(box, "h3", c.name).id = "chosen";
  const parts = data.phases.map((p, i) => `${p} ${(1000 * c.seconds[i]).toFixed(2)} ms`).join(", ");
  text(box, "p", `${c.place ? `at ${c.place}; ` : ""}${number(c.leaves)} leaves, ${number(c.entries)} entries, ` +
    `${number(c.bytes)} bytes of the proof; ${parts}`);
  for (const d of (data.comparison ? data.comparison.tensors : []).filter((d) => c.name.endsWith(` ${d.node}`))) {
    text(box, "p", `${d.tensor}: off by up to ${short(d.error)} (${short(100 * d.relative)} % of its range)` +
      (d.begins ? `, where an error begins: ${d.cause}` : ""));
  }
  for (const e of document.querySelectorAll(".marked")) e.classList.remove("marked");
  const lines = c.lines.map((l) => at(`line-${l}`)).filter(Boolean);
  lines.forEach((e) => e.classList.add("marked"));
  if (lines.length) at("source").scrollTop = lines[0].offsetTop - at("source").offsetTop - 60;
  for (const e of document.querySelectorAll(`tr[data-group="${k}"]`)) e.classList.add("marked");
  const mine = data.tensors.findIndex((t) => t.group === k);
  if (mine >= 0) showTensor(mine);
  mark(k);
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
  "seconds of proving": (c) => sum(c.seconds), "lookup leaves": (c) => c.leaves, "committed entries": (c) => c.entries,
  "contraction work": (c) => c.work, "proof bytes": (c) => c.bytes,
};
for (const name of Object.keys(MEASURES)) text(at("measure"), "option", name);
function treemap() {
  const of = MEASURES[at("measure").value], shown = data.costs.map((c, k) => [c, k]).filter(([c]) => of(c) > 0);
  Plotly.react("treemap", [{
    type: "treemap", branchvalues: "total", ids: ["all", ...shown.map(([, k]) => String(k))],
    labels: [data.program, ...shown.map(([c]) => c.name)], parents: ["", ...shown.map(() => "all")],
    values: [sum(shown.map(([c]) => of(c))), ...shown.map(([c]) => of(c))],
    text: ["", ...shown.map(([c]) => c.place)], textinfo: "label+percent root", tiling: { pad: 1 },
    marker: { colors: ["#fff", ...shown.map(([, k]) => COLOURS[k % COLOURS.length])] },
  }], layout({ margin: { l: 0, r: 0, t: 4, b: 0 } }), plain);
}
treemap();
at("measure").addEventListener("change", treemap);
at("treemap").on("plotly_treemapclick", (e) => { select(Number(e.points[0].id)); return false; });
table("costs", ["", "place", "runs", "leaves", "committed", "work", "bytes", ...data.phases.map((p) => `${p}, ms`)],
  data.costs.map((c, k) => [k, [c.name, c.place, ...[c.executions, c.leaves, c.entries, c.work, c.bytes].map(number),
    ...c.seconds.map((s) => (1000 * s).toFixed(2))]]), new Set([0, 1]), select);

// ---- dataflow ----

const where = new Map(data.graph.nodes.map(([k, x, y]) => [k, [x, y]]));
const edges = { x: [], y: [] };
for (const [a, b] of data.graph.edges) {
  edges.x.push(where.get(a)[0], where.get(b)[0], null);
  edges.y.push(where.get(a)[1], where.get(b)[1], null);
}
const heavy = Math.max(...data.costs.map((c) => sum(c.seconds)), 1e-12);
const nodes = data.graph.nodes.map(([k]) => k);
const bad = new Map((data.comparison ? data.comparison.tensors : []).map((d) => [d.node, d]));
const off = (k) => [...bad].some(([n, d]) => d.begins && data.costs[k].name.endsWith(` ${n}`));
const cut = new Set(data.tensors.filter((t) => t.saturated).map((t) => t.group));
function draw(chosen) {
  Plotly.react("graph", [
    { type: "scatter", mode: "lines", ...edges, hoverinfo: "skip", line: { color: "#c3cad4", width: 1 } },
    {
      type: "scatter", mode: nodes.length > 80 ? "markers" : "markers+text", x: nodes.map((k) => where.get(k)[0]),
      y: nodes.map((k) => where.get(k)[1]), customdata: nodes, text: nodes.map((k) => data.costs[k].name),
      textposition: "middle right", hovertemplate: "%{text}<extra></extra>",
      marker: {
        size: nodes.map((k) => 9 + 22 * Math.sqrt(sum(data.costs[k].seconds) / heavy)),
        color: nodes.map((k) => (off(k) || cut.has(k) ? "#c44e52" : "#4c72b0")),
        line: { color: "#e5a50a", width: nodes.map((k) => (k === chosen ? 5 : 0)) },
      },
    },
  ], layout({ showlegend: false, margin: { l: 6, r: 6, t: 6, b: 6 }, hovermode: "closest", xaxis: { visible: false },
    yaxis: { visible: false, autorange: "reversed" }, uirevision: 1 }), plain);
}
const mark = (k) => draw(k);
draw(-1);
at("graph").on("plotly_click", (e) => { if (e.points[0].customdata !== undefined) select(e.points[0].customdata); });

// ---- time ----

const threads = [...new Set(data.pieces.map((p) => p[1]))].sort((a, b) => (b === "phases") - (a === "phases"));
const kinds = [...new Set(data.pieces.map((p) => p[0]))];
Plotly.react("timeline", kinds.map((kind, i) => {
  const mine = data.pieces.filter((p) => p[0] === kind);
  return {
    type: "bar", orientation: "h", name: kind, y: mine.map((p) => p[1]), base: mine.map((p) => 1000 * p[2]),
    x: mine.map((p) => 1000 * (p[3] - p[2])), marker: { color: COLOURS[i % COLOURS.length] },
    hovertemplate: `${kind}: %{x:.3f} ms<extra></extra>`,
  };
}), layout({ barmode: "overlay", xaxis: { title: { text: "ms" } }, margin: { l: 110, r: 16, t: 10, b: 40 },
  yaxis: { categoryorder: "array", categoryarray: threads.reverse() } }), plain);

// ---- tensors ----

data.tensors.forEach((t, k) => {
  text(at("tensor"), "option", `${t.register}${t.tensor ? ` (${t.tensor})` : ""}`).value = k;
});
function showTensor(k) {
  const t = data.tensors[k], n = t.counts.length, [lo, hi] = t.values;
  if (!t) return;
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
  table("comparison", ["node", "operator", "tensor", "lowest", "highest", "error", "mean", "% of range", "cut off", ""],
    data.comparison.tensors.map((d) => [group(d), [d.node, d.op, d.tensor, short(d.lo), short(d.hi), short(d.error),
      short(d.mean), short(100 * d.relative), d.saturated ? number(d.saturated) : "", d.begins ? d.cause : ""],
      d.begins ? new Set([5, 7, 8, 9]) : null]), new Set([0, 1, 2, 9]), select);
} else at("comparison-part").remove();

// ---- soundness ----

const terms = data.soundness.filter(([, bits]) => bits !== null);
Plotly.react("budget", [{
  type: "bar", orientation: "h", y: terms.map(([n]) => n), x: terms.map(([, b]) => b),
  marker: { color: "#55a868" }, hovertemplate: "%{y}: %{x:.1f} bits<extra></extra>",
}], layout({ xaxis: { title: { text: "bits" } }, yaxis: { automargin: true, autorange: "reversed" } }), plain);
