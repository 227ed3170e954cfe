// The section "Now": figures, and the picture of who is joined to whom.
import { view, records } from "./api.js";
import { el, svg, keyed, set, setText, describes } from "./dom.js";
import { count, figure, duration } from "./format.js";
import { picture } from "./picture.js";

const KEPT = 60; // samples of a sparkline

const FIGURES = [
  { id: "clients", name: "Clients", kind: "green", of: (t) => t.clients, note: (t) => `${count(t.idle)} idle · ${count(t.idle_in_transaction)} in transactions` },
  { id: "active", name: "Active", kind: "red", of: (t) => t.active, note: () => "PostgreSQL works for them" },
  { id: "waiting", name: "Waiting", kind: "amber", of: (t) => t.waiting, note: (t, now) => (t.waiting ? `longest ${duration(longestWait(now))}` : "nobody waits"), goes: "waiting" },
  { id: "pinned", name: "Pinned", kind: "violet", of: (t) => t.pinned, note: () => "keep a server session", goes: "pins" },
  { id: "leaked", name: "Leaked", kind: "leak", of: (t) => t.leaked, note: () => "suspiciously long", goes: "leaks" },
  { id: "servers", name: "Server sessions", kind: "blue", of: (t) => t.servers, note: (t) => `${count(t.servers_busy)} busy`, goes: "servers" },
  { id: "multiplex", name: "Multiplex", kind: "plain", of: (t) => t.multiplex, write: (v) => (v === null || v === undefined ? "–" : `${figure(v)} ×`), note: () => "clients per server session" },
  { id: "queries", name: "Queries/s", kind: "plain", of: (t) => t.queries_per_second, note: (t) => `${figure(t.transactions_per_second)} transactions/s` },
];

const longestWait = (now) => Math.max(0, ...now.pools.map((p) => p.longest_wait_seconds || 0));

export function nowSection(ctx) {
  const past = [];
  const figures = el("div", { class: "figures", role: "list", "aria-label": "Figures" });
  const pic = picture();
  const trouble = el("p", { class: "trouble", role: "alert", hidden: true });
  return {
    every: 2,
    node: el("div", {}, el("h1", { class: "unseen", text: "Now" }), figures, trouble, pic.node),
    async update(look) {
      const [now, servers] = await Promise.all([look.now, serverSessions(look.signal)]);
      past.push(now.totals);
      if (past.length > KEPT) past.shift();
      showFigures(figures, now, past, ctx);
      if (past.length === 1) performance.mark("figures"); // how quickly that comes is tested
      setText(trouble, servers.error);
      trouble.hidden = !servers.error;
      pic.update(now, servers.rows, ctx.state.q);
    },
  };
}

// serverSessions: the picture can do without them.
async function serverSessions(signal) {
  try {
    return { rows: records(await view("servers", { limit: 400 }, signal)) };
  } catch (err) {
    if (err.status && err.status !== 401) return { rows: [], error: `Server sessions are not shown: ${err.message}` };
    throw err;
  }
}

function showFigures(parent, now, past, ctx) {
  keyed(parent, FIGURES, (f) => f.id, (f) => makeFigure(f, ctx), (node, f) => {
    const value = f.of(now.totals);
    const [, number, note, spark] = node.children;
    setText(number, f.write ? f.write(value) : figure(value));
    setText(note, f.note(now.totals, now));
    node.classList.toggle("zero", !value);
    drawSpark(spark, past.map(f.of));
  });
}

function makeFigure(f, ctx) {
  const parts = [
    el("span", { class: "name", text: f.name }),
    el("span", { class: "value", data: { figure: f.id } }),
    el("span", { class: "note" }),
    svg("svg", { class: "spark", viewBox: "0 0 100 24", preserveAspectRatio: "none", "aria-hidden": "true" }, svg("path", { class: "under" }), svg("path", { class: "over" })),
  ];
  const node = f.goes
    ? el("a", { class: `figure ${f.kind}`, href: `#${f.goes}`, on: { click: (e) => { e.preventDefault(); ctx.go({ section: f.goes }); } } }, parts)
    : el("div", { class: `figure ${f.kind}` }, parts);
  node.setAttribute("role", "listitem");
  return f.goes ? describes(node, () => [`${f.name}: show who they are`]) : node;
}

function drawSpark(node, values) {
  const top = Math.max(1e-9, ...values.map((v) => v || 0));
  const step = 100 / (Math.max(values.length, KEPT / 4) - 1);
  const from = 100 - (values.length - 1) * step;
  const points = values.map((v, i) => `${(from + i * step).toFixed(1)} ${(22 - (20 * (v || 0)) / top).toFixed(1)}`);
  const line = points.length > 1 ? `M${points.join("L")}` : "";
  set(node.children[1], { d: line });
  set(node.children[0], { d: line && `${line}L100 24L${from.toFixed(1)} 24Z` });
}
