// The section "Compare": two stretches of time side by side, as before and after a fix.
import { get, address } from "./api.js";
import { clockNow } from "./clock.js";
import { el, set, setText, button } from "./dom.js";
import { Pair, exactTime, duration, axisTime } from "./format.js";
import { chart, chartGroup, roundTop, highest } from "./charts.js";
import { fromTo } from "./timerange.js";
import { clientsMeasure, linesOf, totalOf } from "./history.js";
import { table } from "./tables.js";

// A preset: how long both stretches are, and how long before B (which ends now) A ended. Without a file for history a day
// is kept.
const PRESETS = [
  { text: "10 min ↔ 10 min before", long: 600, before: 600 },
  { text: "Now ↔ an hour ago", long: 600, before: 3600 },
  { text: "Now ↔ a day ago", long: 3600, before: 23 * 3600 },
  { text: "Now ↔ a week ago", long: 3600, before: 7 * 86400 },
];

const ALL = "(all)"; // the server's name of all sources together
const ALL_ANYWAY = "(all, without the filter)";

const preset = (p) => {
  const now = Math.floor(clockNow());
  return { a: `${now - p.long - p.before}-${now - p.before}`, b: `${now - p.long}-${now}`, preset: String(PRESETS.indexOf(p)) };
};

// paired puts each measure's three columns together in one. What all sources did does not go by the filter.
function paired({ columns, rows }, filter) {
  const at = new Map(columns.map((c, i) => [c.name, i]));
  const some = columns.filter((c) => !/_(b|change)$/.test(c.name) || !at.has(c.name.replace(/_(b|change)$/, "_a")));
  const places = some.map((c) => {
    const base = c.name.replace(/_a$/, "");
    return at.has(`${base}_b`) ? { name: base, type: c.type, of: (row) => new Pair(base, row[at.get(c.name)], row[at.get(`${base}_b`)]) } : { ...c, of: (row) => (filter && row[0] === ALL ? ALL_ANYWAY : row[at.get(c.name)]) };
  });
  return { columns: places.map(({ name, type }) => ({ name, type })), rows: rows.map((row) => places.map((p) => p.of(row))) };
}

// windowOf reads "from-to".
function windowOf(text) {
  const m = /^(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)$/.exec(text || "");
  return m && Number(m[2]) > Number(m[1]) ? { from: Number(m[1]), to: Number(m[2]) } : null;
}

export function compareSection(ctx) {
  const group = { a: chartGroup(), b: chartGroup() };
  const charts = { a: chart(group.a), b: chart(group.b) };
  const presets = PRESETS.map((p) => button(p.text, () => ctx.go(preset(p)), { data: { preset: PRESETS.indexOf(p) } }));
  const forms = Object.fromEntries(["a", "b"].map((side) => [side, fromTo(side.toUpperCase(), (from, to) => ctx.go({ [side]: `${from}-${to}`, preset: "" }))]));
  const heads = { a: el("p", { class: "muted" }), b: el("p", { class: "muted" }) };
  const rows = table({ name: "compare", first: ["application", "address", "connected_mean", "connected_max", "active_mean", "waiting_mean", "leaked_max", "connects_per_minute", "queries_per_second", "server_seconds_per_minute"] });
  const trouble = el("p", { class: "trouble", role: "alert", hidden: true });
  const links = ["csv", "json"].map((format) => el("a", { class: "button quiet", href: "#", text: format.toUpperCase(), data: { format } }));
  const side = (name, text) => el("div", { class: "side" }, el("h2", {}, el("b", { class: `window ${name}`, text: name.toUpperCase() }), ` ${text}`), heads[name], el("details", { class: "pop" }, el("summary", { text: "Choose from – to" }), forms[name].node));
  return {
    every: 0,
    node: el("div", {}, el("div", { class: "sectionhead" }, el("h1", { text: "Compare" }), el("p", { class: "muted", text: "Two stretches of time side by side, as before and after a fix. B against A." })),
      el("div", { class: "tools" }, el("div", { class: "choice wrap", role: "group", "aria-label": "Presets" }, presets), el("span", { class: "gap" }), links),
      el("div", { class: "sides" }, side("a", "before"), side("b", "after")), trouble,
      el("div", { class: "charts two" }, charts.a.node, charts.b.node), rows.node),
    async update({ now, signal }) {
      await now; // which has told the time
      const fallback = preset(PRESETS[0]);
      const chosen = windowOf(ctx.state.a) && windowOf(ctx.state.b) ? ctx.state : { ...fallback, q: ctx.state.q };
      const [a, b] = [windowOf(chosen.a), windowOf(chosen.b)];
      for (const p of presets) p.setAttribute("aria-pressed", String(p.dataset.preset === chosen.preset));
      describe(heads.a, forms.a, a);
      describe(heads.b, forms.b, b);
      const query = { a_from: a.from, a_to: a.to, b_from: b.from, b_to: b.to, filter: ctx.state.q };
      for (const l of links) set(l, { href: address("api/compare", { ...query, format: l.dataset.format }), download: `compare.${l.dataset.format}` });
      const past = (w) => get("api/series", { kind: "sources", from: w.from, to: w.to, filter: ctx.state.q, fields: clientsMeasure.fields.map(([f]) => f).join() }, signal);
      try {
        const [found, before, after] = await Promise.all([get("api/compare", query, signal), past(a), past(b)]);
        trouble.hidden = true;
        draw(charts, [before, after], [a, b]);
        rows.show(paired(found, ctx.state.q), { now: b.to });
      } catch (err) {
        if (!err.status || err.status === 401) throw err;
        trouble.hidden = false;
        setText(trouble, [err.message, err.hint].filter(Boolean).join(" — "));
      }
    },
  };
}

function describe(head, form, w) {
  setText(head, `${exactTime(w.from)} – ${w.to - w.from <= 86400 ? exactTime(w.to).slice(11) : exactTime(w.to)} (${duration(w.to - w.from)})`);
  if (!form.node.contains(document.activeElement)) form.set(w.from, w.to);
}

// draw puts both on the same scale.
function draw(charts, answers, windows) {
  const lines = answers.map((answer) => linesOf(clientsMeasure, answer, totalOf(answer)).filter((l, i) => i < 2 || l.values.some((v) => v > 0)));
  const top = roundTop(Math.max(...lines.map(highest)));
  ["a", "b"].forEach((side, i) => charts[side].show({
    title: side === "a" ? "A · before" : "B · after", note: `from ${axisTime(windows[i].from, 600)}`,
    times: answers[i].times, from: windows[i].from, to: windows[i].to, lines: lines[i], top, height: 120,
  }));
}

