// The sections that are a table of one of the console's views.
import { view, address } from "./api.js";
import { clockNow } from "./clock.js";
import { el, set, setText, button } from "./dom.js";
import { table } from "./tables.js";

// first: the columns that are shown unless all are asked for. act: which buttons a row gets.
export const VIEWS = {
  culprits: { title: "Culprits", about: "Who holds most, by address: the first row is where to look first.",
    first: ["addr", "share_percent", "connections", "application", "active", "idle", "in_transaction", "waiting", "pinned", "leaked", "connects_per_minute", "server_seconds", "oldest", "last_statement"],
    bars: ["share_percent"], act: ["idle"], example: "connections > 20", empty: "Nobody is connected." },
  clients: { title: "Clients", about: "Everybody who is connected, what they do and what they hold.",
    first: ["id", "application_name", "user", "database", "addr", "activity", "activity_seconds", "held_seconds", "transaction_seconds", "pinned", "statement"], act: ["client"], empty: "Nobody is connected.", example: "activity = 'active' AND held_seconds > 1" },
  leaks: { title: "Leaks", about: "Clients that hold something for suspiciously long, and where they come from.",
    first: ["kind", "application", "addr", "user", "idle_seconds", "comment", "why", "first_statement", "statement", "id"], act: ["client"], empty: "Nothing looks like a leak." },
  pins: { title: "Pins", about: "Clients whose server session cannot leave them, why, and whom that keeps waiting.",
    first: ["application", "user", "database", "addr", "reason", "pinned_seconds", "keeps_waiting", "activity", "statement", "id"], act: ["client"], empty: "No server session is pinned." },
  waiting: { title: "Waiting", about: "Clients that wait for a server session, why, and who has held one for longest.",
    first: ["position", "application", "user", "database", "waited_seconds", "why", "holder_application", "holder_state", "held_seconds", "holder_statement", "holder_id", "id"], act: ["client", "holder"], empty: "Nobody waits." },
  events: { title: "Events", about: "What the pooler did to somebody, the latest first.",
    first: ["time", "kind", "reason", "count", "application", "addr", "user", "database", "detail"], empty: "Nothing has happened to anybody." },
  establishments: { title: "Establishments", about: "Connects, reuses, closes and refusals: network connects are not connections.",
    first: ["time", "side", "action", "application", "addr", "user", "database", "cause", "age_seconds", "client_id", "server_id"], empty: "Nobody has come or gone." },
  establishment_rates: { title: "Connect rates", about: "The same by where they come from, and how often: who makes many connections in a short time.",
    first: [], example: "connects_per_minute > 60", empty: "Nobody has come or gone." },
  statements: { title: "Statements", about: "Statements without their literals, those that took most time first.",
    first: ["percent", "total_seconds", "calls", "avg_seconds", "longest_seconds", "pins", "last_call", "statement"], bars: ["percent"], example: "calls > 100", empty: "No statement has run." },
  servers: { title: "Servers", about: "Server sessions, and who holds them.",
    first: ["id", "database", "user", "activity", "activity_seconds", "age_seconds", "uses", "client_id", "application_name", "client_addr", "pinned", "statement", "remote_pid"], example: "age_seconds > 3600", empty: "No server session is open." },
  pools: { title: "Pools", about: "Pools by database and user: clients, server sessions, waiting.",
    first: ["database", "user", "status", "cl_active", "cl_waiting", "sv_active", "sv_idle", "pool_size", "maxwait", "cl_pinned", "requests", "hits", "waits", "wait_seconds", "pool_boundary"], act: ["pool"], example: "cl_waiting > 0", empty: "No pool is in use." },
};

const MOST = 5000; // rows fetched

export function viewSection(ctx, name) {
  const { title, about, first, bars, act = [], empty, example = "application = 'web'" } = VIEWS[name];
  const where = el("input", { class: "where", placeholder: example, "aria-label": "WHERE condition", autocomplete: "off", spellcheck: "false" });
  const form = el("form", { class: "whereform", on: { submit: (e) => { e.preventDefault(); ctx.go({ where: where.value.trim() }); } } },
    el("label", { class: "muted", text: "WHERE" }), where, el("button", { class: "quiet", text: "Apply" }));
  const rows = table({ name, first, bars, actions: (record) => (ctx.me?.right === "admin" ? act.flatMap((kind) => ctx.actions.rowActions(kind, record)) : []) });
  const links = ["csv", "json"].map((format) => el("a", { class: "button quiet", href: "#", text: format.toUpperCase(), title: `What is shown, as ${format.toUpperCase()}`, data: { format },
    on: { click: (e) => { if (ctx.state.q || rows.sort()) { e.preventDefault(); rows.save(format); } } } }));
  const idle = button("Kill idle …", () => ctx.actions.killIdle({}), { class: "quiet", hidden: true });
  const trouble = el("p", { class: "trouble", role: "alert", hidden: true });
  const none = el("p", { class: "empty", hidden: true });
  return {
    every: 5,
    node: el("div", {}, el("div", { class: "sectionhead" }, el("h1", { text: title }), el("p", { class: "muted", text: about })),
      el("div", { class: "tools" }, form, el("span", { class: "gap" }), idle, links), trouble, none, rows.node),
    async update({ signal }) {
      idle.hidden = !(ctx.me?.right === "admin" && act.some((a) => a === "client" || a === "idle"));
      if (document.activeElement !== where) where.value = ctx.state.where || "";
      const { where: condition } = ctx.state;
      for (const a of links) set(a, { href: address(`api/show/${name}`, { where: condition, format: a.dataset.format }), download: `${name}.${a.dataset.format}` });
      try {
        const answer = await view(name, { where: condition, limit: MOST + 1 }, signal); // one more tells that there are more
        const cut = answer.rows.length > MOST;
        if (cut) answer.rows.length = MOST;
        trouble.hidden = true;
        rows.node.hidden = answer.rows.length === 0;
        none.hidden = answer.rows.length > 0;
        setText(none, ctx.state.where ? "Nothing fits the condition." : empty);
        rows.show(answer, { q: ctx.state.q, now: timeOf(answer), cut });
      } catch (err) {
        if (!err.status || err.status === 401) throw err;
        trouble.hidden = false;
        setText(trouble, err.hint ? `${err.message} — ${err.hint}` : err.message);
        none.hidden = rows.node.hidden = true;
      }
    },
  };
}

// timeOf an answer, in Unix seconds: "3 min ago" is by the pooler's clock.
export function timeOf(answer) {
  const t = typeof answer.time === "string" ? Date.parse(answer.time) / 1000 : answer.time;
  return t || clockNow();
}

