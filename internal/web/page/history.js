// The section "History": charts over time, the total on top and then one for each source or pool.
import { get, address } from "./api.js";
import { clockNow } from "./clock.js";
import { el, set, setText, button } from "./dom.js";
import { exactTime } from "./format.js";
import { chart, chartGroup, roundTop, highest } from "./charts.js";
import { stretchOf, timeRange } from "./timerange.js";
import { table } from "./tables.js";

const FIRST = 12; // charts at first

// What can be drawn: fields that share a unit. per: counters are drawn per so many seconds; gauges as they are.
const MEASURES = {
  sources: {
    clients: { text: "Clients", area: true, fields: [["connected", "green"], ["active", "red"], ["idle_in_transaction", "blue"], ["waiting", "amber"], ["pinned", "violet"], ["leaked", "leak"]] },
    connects: { text: "Connects per minute", per: 60, fields: [["connects", "green"], ["disconnects", "blue"], ["refused", "red"]] },
    queries: { text: "Queries per second", per: 1, fields: [["queries", "red"], ["reuses", "blue"]] },
    seconds: { text: "Server seconds per second", per: 1, fields: [["server_seconds", "red"]] },
  },
  pools: {
    sessions: { text: "Server sessions", area: true, fields: [["open", "green"], ["busy", "red"], ["waiting", "amber"]] },
    requests: { text: "Requests per second", per: 1, fields: [["requests", "green"], ["hits", "blue"], ["misses", "violet"], ["waits", "amber"]] },
    waits: { text: "Seconds waited per second", per: 1, fields: [["wait_seconds", "amber"]] },
    changes: { text: "Opened, retired per minute", per: 60, fields: [["opened", "green"], ["retired", "red"], ["timeouts", "amber"]] },
  },
};

const kindOf = (state) => (state.kind === "pools" ? "pools" : "sources");
const measureOf = (state) => MEASURES[kindOf(state)][state.measure] || Object.values(MEASURES[kindOf(state)])[0];

// linesOf makes a chart's lines of an answer's fields. values is indexed by field, then by time.
export function linesOf(measure, answer, values) {
  return measure.fields.map(([field, kind], i) => {
    const at = answer.fields.indexOf(field);
    const raw = at < 0 ? [] : values[at] || [];
    const rate = (v, t) => (v === null ? null : (v * measure.per) / recordedOf(answer, t));
    return { name: field.replaceAll("_", " "), field, kind, area: measure.area && i < 2, values: measure.per ? raw.map(rate) : raw };
  });
}

// recordedOf a step is how many of its seconds were recorded: fewer than all of the one that is not over.
const recordedOf = (answer, t) => answer.samples?.[t] || answer.step;

// totalOf sums over all lines; null where none has anything.
export function totalOf(answer) {
  return answer.fields.map((_, f) => answer.times.map((_, t) => answer.lines.reduce((sum, l) => {
    const v = l.values[f][t];
    return v === null ? sum : (sum ?? 0) + v;
  }, null)));
}

export const clientsMeasure = MEASURES.sources.clients;

export function historySection(ctx) {
  const time = el("time", { class: "muted cursor" });
  const group = chartGroup((t) => setText(time, t === null ? "" : exactTime(t)));
  const range = timeRange((part) => ctx.go(part));
  const kinds = ["sources", "pools"].map((k) => button(k === "sources" ? "By source" : "By pool", () => ctx.go({ kind: k, measure: "" }), { data: { kind: k } }));
  const measures = el("select", { "aria-label": "What to draw", on: { change: () => ctx.go({ measure: measures.value }) } });
  const asTable = button("Table", () => ctx.go({ as: ctx.state.as === "table" ? "" : "table" }), { class: "quiet" });
  const links = ["csv", "json"].map((format) => el("a", { class: "button quiet", text: format.toUpperCase(), href: "#" }));
  const charts = el("div", { class: "charts" });
  const trouble = el("p", { class: "empty", hidden: true });
  const more = button("", () => { shown += FIRST; render(); }, { class: "more", hidden: true });
  const rows = table({ name: "history", columns: [], actions: () => [] });
  const all = []; // charts in use
  let answer = null;
  let shown = FIRST;

  function render() {
    const asRows = ctx.state.as === "table";
    charts.hidden = asRows;
    rows.node.hidden = !asRows;
    asTable.setAttribute("aria-pressed", String(asRows));
    const sets = answer ? series(answer, ctx.state) : [];
    trouble.hidden = sets.length > 0 && answer.times.length > 0;
    setText(trouble, ctx.state.q ? "Nothing was recorded then that fits the filter." : "Nothing was recorded then.");
    if (asRows) {
      rows.show(answer ? tabular(answer, ctx.state) : { columns: [], rows: [] }, { q: "", now: clockNow() });
      more.hidden = true;
      return;
    }
    const some = sets.slice(0, shown + 1);
    while (all.length > some.length) all.pop().remove();
    while (all.length < some.length) {
      const c = chart(group, (from, to) => ctx.go({ from: String(from), to: String(to) }));
      all.push(c);
      charts.append(c.node);
    }
    some.forEach((s, i) => all[i].show(s));
    more.hidden = some.length === sets.length;
    setText(more, `Show ${Math.min(FIRST, sets.length - some.length)} more of ${sets.length - some.length}`);
  }

  return {
    get every() { return refreshOf(ctx.state); },
    node: el("div", {}, el("h1", { class: "unseen", text: "History" }),
      el("div", { class: "tools" }, el("div", { class: "choice", role: "group", "aria-label": "Charts by" }, kinds), measures, range.node, time, asTable, links),
      charts, trouble, rows.node, more),
    async update({ now, signal }) {
      await now; // which has told the time
      range.show(ctx.state);
      for (const b of kinds) b.setAttribute("aria-pressed", String(b.dataset.kind === kindOf(ctx.state)));
      showMeasures(measures, ctx.state);
      const { from, to } = stretchOf(ctx.state);
      const query = { kind: kindOf(ctx.state), from: from.toFixed(3), to: to.toFixed(3), filter: ctx.state.q, fields: measureOf(ctx.state).fields.map(([f]) => f).join() };
      links.forEach((a, i) => set(a, { href: address("api/series", { ...query, format: ["csv", "json"][i] }), download: i === 0 ? "history.csv" : "history.json" }));
      try {
        answer = await get("api/series", query, signal);
      } catch (err) {
        if (!err.status || err.status === 401) throw err;
        while (all.length > 0) all.pop().remove();
        trouble.hidden = false;
        setText(trouble, [err.message, err.hint].filter(Boolean).join(" — "));
        return;
      }
      render();
    },
  };
}

function refreshOf(state) {
  const { from, to, live } = stretchOf(state);
  if (!live) return 0;
  return to - from <= 300 ? 2 : to - from <= 3600 ? 10 : 60;
}

function showMeasures(select, state) {
  const all = Object.entries(MEASURES[kindOf(state)]);
  if (select.dataset.kind !== kindOf(state)) {
    select.dataset.kind = kindOf(state);
    select.replaceChildren(...all.map(([value, m]) => el("option", { value, text: m.text })));
  }
  select.value = MEASURES[kindOf(state)][state.measure] ? state.measure : all[0][0];
}

// series makes the charts' data: the total, then each line by its peak.
function series(answer, state) {
  const measure = measureOf(state);
  const of = (title, note, values, height) => {
    const lines = linesOf(measure, answer, values).filter((l, i) => i < 2 || l.values.some((v) => v > 0));
    const peak = highest(lines);
    return { title, note, times: answer.times, from: answer.times[0], to: answer.times.at(-1), lines, height, peak, top: roundTop(peak) };
  };
  const singles = answer.lines.map((l) => of(...nameOf(answer, l.key), l.values, 120));
  singles.sort((a, b) => b.peak - a.peak || a.title.localeCompare(b.title));
  if (answer.lines.length === 0) return [];
  const total = of(state.q ? `All that fits “${state.q}”` : "All together", measure.text, totalOf(answer), 210);
  return [total, ...singles];
}

// nameOf is a line's title and note.
function nameOf(answer, key) {
  const by = Object.fromEntries(answer.key_names.map((name, i) => [name, key[i]]));
  if (!("application" in by)) return [by.database ?? key[0], by.user ?? key.slice(1).join(" · ")];
  return [by.application || "(no name)", [by.address ?? by.addr, by.user, by.database].filter(Boolean).join(" · ")];
}

// tabular: the same as rows, the newest first.
function tabular(answer, state) {
  const measure = measureOf(state);
  const columns = [{ name: "time", type: "timestamp with time zone" }, ...answer.key_names.map((name) => ({ name, type: "text" })),
    ...measure.fields.filter(([f]) => answer.fields.includes(f)).map(([f]) => ({ name: measure.per ? `${f} per ${measure.per === 60 ? "minute" : "second"}` : f, type: "float8" }))];
  const rows = [];
  const lines = answer.lines.map((l) => ({ key: l.key, values: linesOf(measure, answer, l.values).filter((s) => answer.fields.includes(s.field)) }));
  for (let t = answer.times.length - 1; t >= 0; t--) {
    const time = new Date(answer.times[t] * 1000).toISOString();
    for (const l of lines) if (l.values.some((s) => s.values[t] !== null)) rows.push([time, ...l.key, ...l.values.map((s) => s.values[t])]);
  }
  return { columns, rows };
}
