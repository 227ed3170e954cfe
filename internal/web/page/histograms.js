// The section "Histograms": how long things took, by pool and phase, on a logarithmic axis.
import { view, address, records } from "./api.js";
import { el, svg, keyed, set, setText, describes } from "./dom.js";
import { count, duration, matcher } from "./format.js";
import { table } from "./tables.js";
import { timeOf } from "./views.js";

const HEIGHT = 110;
const FLOOR = HEIGHT - 18;
const PHASES = { wait: "Wait for a server session", query: "Query", transaction: "Transaction", server: "Server session held" };

const keyOf = (h) => `${h.database}\n${h.user}\n${h.phase}`;

export function histogramSection(ctx) {
  const cards = el("div", { class: "charts" });
  const none = el("p", { class: "empty", text: "Nothing has been measured yet.", hidden: true });
  const trouble = el("p", { class: "trouble", role: "alert", hidden: true });
  const rows = table({ name: "histograms" });
  const links = ["csv", "json"].map((format) => el("a", { class: "button quiet", text: format.toUpperCase(), download: `histograms.${format}`,
    href: address("api/show/histogram_buckets", { format }), title: "All buckets" }));
  return {
    every: 10,
    node: el("div", {}, el("div", { class: "sectionhead" }, el("h1", { text: "Histograms" }), el("p", { class: "muted", text: "How long things took since the start, by pool and phase. The axis is logarithmic." })),
      el("div", { class: "tools" }, el("span", { class: "gap" }), links), trouble, none, cards, rows.node),
    async update({ signal }) {
      let answers;
      try {
        answers = await Promise.all([view("histograms", {}, signal), view("histogram_buckets", {}, signal)]);
      } catch (err) {
        if (!err.status || err.status === 401) throw err;
        trouble.hidden = false;
        setText(trouble, [err.message, err.hint].filter(Boolean).join(" — "));
        return;
      }
      trouble.hidden = true;
      const fits = matcher(ctx.state.q);
      const buckets = Map.groupBy(records(answers[1]), keyOf);
      const some = records(answers[0]).filter((h) => h.count > 0 && fits([h.database, h.user, h.phase, PHASES[h.phase]]))
        .map((h) => ({ ...h, buckets: (buckets.get(keyOf(h)) || []).toSorted((a, b) => a.upper_seconds - b.upper_seconds) }));
      some.sort((a, b) => `${a.database}\n${a.user}`.localeCompare(`${b.database}\n${b.user}`));
      none.hidden = some.length > 0;
      keyed(cards, some, keyOf, make, update);
      rows.show(answers[0], { q: ctx.state.q, now: timeOf(answers[0]) });
    },
  };
}

function make() {
  const node = el("article", { class: "card chart" }, el("header", {}, el("h3"), el("span", { class: "muted" })),
    svg("svg", { class: "plot histogram", height: HEIGHT, role: "img", tabindex: "0" }), el("ul", { class: "values" }));
  describes(node.children[1], () => node.lines);
  return node;
}

function update(node, h) {
  const [head, plot, values] = node.children;
  setText(head.firstChild, PHASES[h.phase] || h.phase);
  setText(head.lastChild, `${h.database} · ${h.user}`);
  const marks = [["p50", h.p50_us], ["p90", h.p90_us], ["p99", h.p99_us]].filter(([, us]) => us !== null);
  values.replaceChildren(el("li", {}, "count ", el("b", { text: count(h.count) })), ...marks.map(([name, us]) => el("li", {}, `${name} `, el("b", { text: duration(us / 1e6) }))));
  node.lines = [`${PHASES[h.phase] || h.phase}: ${count(h.count)}`, ...h.buckets.slice(0, 40).map((b) => `up to ${duration(b.upper_seconds)}: ${count(b.count)}`)];
  set(plot, { "aria-label": `${h.phase} of ${h.database}, ${h.user}: ${count(h.count)} measured, ${marks.map(([n, us]) => `${n} ${duration(us / 1e6)}`).join(", ")}` });
  const width = Math.max(200, plot.clientWidth);
  set(plot, { viewBox: `0 0 ${width} ${HEIGHT}` });
  plot.replaceChildren(...shapes(h, marks, width));
}

// shapes: bars as wide as a bucket is on the logarithmic axis, a line for each rank.
function shapes(h, marks, width) {
  const used = h.buckets.filter((b) => b.count > 0 && b.upper_seconds > 0);
  if (used.length === 0) return [];
  const bottom = Math.log10(used[0].upper_seconds) - 0.15;
  const span = Math.max(0.6, Math.log10(used.at(-1).upper_seconds) - bottom);
  const x = (s) => 4 + ((width - 8) * (Math.log10(s) - bottom)) / span;
  const most = Math.max(...used.map((b) => b.count));
  const bars = used.map((b) => {
    const at = h.buckets.indexOf(b);
    const from = at > 0 ? Math.max(4, x(h.buckets[at - 1].upper_seconds)) : x(b.upper_seconds) - 8;
    const tall = Math.max(1.5, ((FLOOR - 12) * b.count) / most);
    return svg("rect", { class: "bucket", x: from.toFixed(1), y: (FLOOR - tall).toFixed(1), width: Math.max(1, x(b.upper_seconds) - from - 1).toFixed(1), height: tall.toFixed(1), data: { count: b.count } });
  });
  const ranks = marks.map(([name, us], i) => svg("g", { class: "rank" }, svg("line", { x1: x(us / 1e6), x2: x(us / 1e6), y1: 10 + 8 * i, y2: FLOOR }),
    svg("text", { x: Math.min(width - 22, x(us / 1e6) + 2), y: 10 + 8 * i, text: name })));
  const ticks = [];
  for (let e = Math.ceil(bottom); e <= bottom + span; e++) ticks.push(svg("text", { class: "tick", x: x(10 ** e), y: HEIGHT - 4, "text-anchor": x(10 ** e) < 20 ? "start" : x(10 ** e) > width - 20 ? "end" : "middle", text: duration(10 ** e) }));
  return [svg("line", { class: "grid", x1: 4, x2: width - 4, y1: FLOOR, y2: FLOOR }), ...bars, ...ranks, ...ticks];
}
