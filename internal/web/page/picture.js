// The picture: clients by source on the left, pools in the middle, server sessions on the right, and lines between
// those who are joined.
import { el, svg, keyed, set, setText, describes } from "./dom.js";
import { count, duration, matcher } from "./format.js";

const MAX_SOURCES = 12;
const MAX_POOLS = 10;
const MAX_SQUARES = 100; // in all

const poolKey = (x) => `${x.database}\n${x.user}`;
const sourceKey = (s) => [s.address, s.application, s.user, s.database].join("\n");

// What a server session does: letter and shape say it too, not only the colour.
const STATES = {
  active: { letter: "A", text: "executing" },
  transaction: { letter: "T", text: "idle in a transaction" },
  pinned: { letter: "P", text: "kept by its client" },
  held: { letter: "H", text: "lent" },
  idle: { letter: "", text: "free" },
  opening: { letter: "o", text: "being opened" },
  closing: { letter: "×", text: "being closed" },
};

function stateOf(s) {
  if (s.state === "closing" || s.close_needed === 1) return "closing";
  if (/login|opening/.test(s.state)) return "opening";
  if (!s.client_id && !/^active/.test(s.state)) return "idle";
  if (s.activity === "active" || s.activity === "busy") return "active";
  if (s.pinned) return "pinned";
  if (s.activity === "idle_in_transaction") return "transaction";
  return s.client_id ? "held" : "idle";
}

export function picture() {
  const links = svg("svg", { class: "links", "aria-hidden": "true" });
  const sources = el("div", { class: "sources", role: "list", "aria-label": "Clients by source" });
  const pools = el("div", { class: "pools", role: "list", "aria-label": "Pools and their server sessions" });
  const empty = el("p", { class: "empty", text: "No client is connected yet." });
  const stage = el("div", { class: "stage" }, links, sources, pools);
  const node = el("section", { class: "card picture", "aria-label": "Who is joined to whom" },
    el("div", { class: "heads", "aria-hidden": "true" }, el("h2", { text: "Clients" }), el("div", { class: "poolrow" }, el("h2", { text: "Pools" }), el("h2", { text: "Servers" }))),
    empty, stage, legend());
  let drawn = null;
  const draw = () => drawn && drawLinks(stage, links, drawn);
  new ResizeObserver(draw).observe(stage);
  pools.addEventListener("keydown", moveAmongSquares);
  lightUp(stage, links);
  return {
    node,
    update(now, servers, filter) {
      drawn = select(now, servers, filter);
      empty.hidden = drawn.sources.length + drawn.pools.length > 0;
      stage.hidden = !empty.hidden;
      const most = Math.max(1, ...drawn.sources.map((s) => s.clients));
      keyed(sources, drawn.sources, sourceKey, makeSource, (n, s) => updateSource(n, s, most));
      keyed(pools, drawn.pools, poolKey, makePool, updatePool);
      draw();
    },
  };
}

function select(now, servers, filter) {
  const fits = matcher(filter);
  const all = now.sources.filter((s) => fits([s.address, s.application, s.user, s.database]));
  const sources = all.slice(0, MAX_SOURCES);
  const rest = (now.totals.clients || 0) - now.sources.reduce((sum, s) => sum + s.clients, 0);
  if (!filter && rest > 0) sources.push({ address: "", application: `${count(rest)} more`, user: "", database: "", clients: rest, others: true });
  const joined = new Set(sources.map(poolKey));
  const weight = (p) => 1000 * (p.waiting + p.busy) + p.clients + p.open;
  const pools = now.pools.filter((p) => fits([p.database, p.user]) || joined.has(poolKey(p))).sort((a, b) => weight(b) - weight(a));
  const shown = pools.slice(0, MAX_POOLS);
  shown.sort((a, b) => poolKey(a).localeCompare(poolKey(b)));
  const share = Math.max(4, Math.floor(MAX_SQUARES / Math.max(1, shown.length)));
  const byPool = Map.groupBy(servers, (s) => poolKey({ database: s.database, user: s.pool_user ?? s.user }));
  for (const p of shown) {
    const own = byPool.get(poolKey(p)) || [];
    const known = own.map((s) => ({ ...s, key: String(s.id), doing: stateOf(s) })).sort((a, b) => a.id - b.id);
    p.servers = known.slice(0, share);
    p.hidden = Math.max(0, Math.max(p.open + (p.opening || 0), known.length) - p.servers.length);
  }
  return { sources: bySide(sources, shown), pools: shown };
}

// bySide puts sources in the order of their pools, so that few lines cross.
function bySide(sources, pools) {
  const place = new Map(pools.map((p, i) => [poolKey(p), i]));
  return sources.sort((a, b) => (a.others || false) - (b.others || false) || (place.get(poolKey(a)) ?? 99) - (place.get(poolKey(b)) ?? 99) || b.clients - a.clients);
}

function makeSource(s) {
  const node = el("div", { class: "source", role: "listitem", tabindex: "0", data: { pool: poolKey(s), source: sourceKey(s) } },
    el("div", { class: "row" }, el("span", { class: "label" }), el("b", { class: "number" })),
    el("div", { class: "row small" }, el("span", { class: "label muted" })),
    el("div", { class: "bar" }, ...["active", "transaction", "waiting", "idle"].map((k) => el("i", { class: k }))),
    el("div", { class: "bar pins" }, el("i", { class: "pinned" })));
  return describes(node, () => node.lines);
}

function updateSource(node, s, most) {
  const [top, below, bar, pins] = node.children;
  setText(top.firstChild, s.application || "(no name)");
  setText(top.lastChild, count(s.clients));
  setText(below.firstChild, s.others ? "further sources" : `${s.address} · ${s.user}`);
  const idle = Math.max(0, s.clients - (s.active || 0) - (s.waiting || 0) - (s.idle_in_transaction || 0));
  const parts = [s.active, s.idle_in_transaction, s.waiting, idle];
  parts.forEach((n, i) => setShare(bar.children[i], n, most));
  setShare(pins.firstChild, s.pinned, most);
  node.lines = s.others
    ? [`${count(s.clients)} more clients`, "of sources with fewer connections: see History or Culprits"]
    : [s.application || "(no application_name)", `from ${s.address}, user ${s.user}, database ${s.database}`,
      `${count(s.clients)} connected: ${count(s.active)} active, ${count(s.idle_in_transaction)} idle in a transaction, ${count(s.waiting)} waiting, ${count(idle)} idle`,
      `${count(s.pinned)} pinned`];
  node.setAttribute("aria-label", node.lines.join(". "));
}

function setShare(node, n, all) {
  node.hidden = !n;
  set(node, { css: { width: `${(100 * (n || 0)) / all}%` } });
}

function makePool(p) {
  const pool = el("div", { class: "pool", tabindex: "0", data: { pool: poolKey(p) } },
    el("div", { class: "row" }, el("span", { class: "label" })),
    el("div", { class: "row small" }, el("span", { class: "label muted" }), el("b", { class: "badge", hidden: true })),
    el("div", { class: "bar" }, el("i", { class: "active" }), el("i", { class: "idle" }), el("i", { class: "opening" })),
    el("div", { class: "row small" }, el("span", { class: "label" }), el("b", { class: "queue" })));
  describes(pool, () => pool.lines);
  return el("div", { class: "poolrow", role: "listitem" }, pool, el("div", { class: "servers", role: "group" }));
}

const orders = (p) => [p.stopped && "stopped", p.paused && "paused", p.disabled && "disabled"].filter(Boolean);

function updatePool(node, p) {
  const [pool, servers] = node.children;
  const [top, below, bar, numbers] = pool.children;
  setText(top.firstChild, p.database);
  setText(below.lastChild, orders(p).join(", "));
  below.lastChild.hidden = orders(p).length === 0;
  setText(below.firstChild, `${p.user} · ${count(p.clients)} clients`);
  const size = Math.max(1, p.size, p.open);
  [p.busy, p.idle, p.opening].forEach((n, i) => setShare(bar.children[i], n, size));
  setText(numbers.firstChild, `${count(p.busy)} / ${count(p.size)} busy`);
  setText(numbers.lastChild, p.waiting ? `${count(p.waiting)} wait` : "");
  pool.lines = [`${p.database} / ${p.user}`, `${count(p.open)} server sessions open of at most ${count(p.size)}: ${count(p.busy)} busy, ${count(p.idle)} free`,
    p.waiting ? `${count(p.waiting)} ${p.waiting === 1 ? "client waits" : "clients wait"}, the longest for ${duration(p.longest_wait_seconds)}` : "nobody waits", ...orders(p)];
  pool.setAttribute("aria-label", pool.lines.join(". "));
  servers.setAttribute("aria-label", `Server sessions of ${p.database} / ${p.user}: ${count(p.open)}`);
  const squares = p.hidden > 0 ? [...p.servers, { key: "more", more: p.hidden }] : p.servers;
  keyed(servers, squares, (s) => s.key, makeSquare, updateSquare);
  if (!servers.querySelector("[tabindex='0']")) servers.querySelector(".server")?.setAttribute("tabindex", "0");
}

function makeSquare(s) {
  if (s.more) return el("span", { class: "more muted" });
  const node = el("span", { class: "server", role: "img", tabindex: "-1" });
  return describes(node, () => node.lines);
}

function updateSquare(node, s) {
  if (s.more) {
    setText(node, `+${count(s.more)}`);
    return;
  }
  const state = STATES[s.doing];
  setText(node, state.letter);
  set(node, { data: { state: s.doing } });
  node.classList.toggle("pinned", Boolean(s.pinned));
  const who = s.client_id ? [`for client ${s.client_id}: ${s.application_name || "(no name)"} from ${s.client_addr || "unknown"}, ${s.client_user || ""}`] : [];
  const long = s.activity_seconds !== null && s.activity_seconds !== undefined ? ` for ${duration(s.activity_seconds)}` : "";
  node.lines = [`Server session ${s.id}: ${state.text}${long}`, ...who,
    ...(s.pinned ? [`pinned because of ${s.pinned}`] : []), ...(s.statement ? [s.statement] : []), ...(s.remote_pid ? [`PostgreSQL process ${s.remote_pid}`] : [])];
  node.setAttribute("aria-label", node.lines.join(". "));
}

// moveAmongSquares: one stop of the Tab key for all squares of a pool, arrow keys within.
function moveAmongSquares(e) {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[e.key];
  if (!step || !e.target.classList.contains("server")) return;
  const all = [...e.target.parentNode.querySelectorAll(".server")];
  const next = all[all.indexOf(e.target) + step];
  if (!next) return;
  e.preventDefault();
  e.target.setAttribute("tabindex", "-1");
  next.setAttribute("tabindex", "0");
  next.focus();
}

function drawLinks(stage, links, { sources, pools }) {
  const box = stage.getBoundingClientRect();
  if (box.width === 0) return;
  set(links, { viewBox: `0 0 ${box.width} ${box.height}`, width: box.width, height: box.height });
  const at = (node, right) => {
    const r = node.getBoundingClientRect();
    return [(right ? r.right : r.left) - box.left, r.top + r.height / 2 - box.top];
  };
  const cards = new Map([...stage.querySelectorAll(".pool")].map((n) => [n.dataset.pool, n]));
  const lines = [];
  stage.querySelectorAll(".source").forEach((node, i) => {
    const s = sources[i];
    const pool = cards.get(poolKey(s));
    if (pool) lines.push({ key: sourceKey(s), pool: poolKey(s), from: at(node, true), to: at(pool, false), kind: kindOf(s), width: 1 + Math.log2(1 + s.clients) / 2 });
  });
  stage.querySelectorAll(".poolrow").forEach((node, i) => {
    const p = pools[i];
    if (p.servers.length) lines.push({ key: `${poolKey(p)}\nservers`, pool: poolKey(p), from: at(node.firstChild, true), to: at(node.lastChild, false), kind: p.busy ? "active" : "idle", width: 1 + Math.log2(1 + p.busy) / 2 });
  });
  keyed(links, lines, (l) => l.key, () => svg("path"), (path, l) => {
    const [x, y] = l.from;
    const [u, v] = l.to;
    const middle = (x + u) / 2;
    set(path, { d: `M${x} ${y}C${middle} ${y} ${middle} ${v} ${u} ${v}`, class: l.kind, "stroke-width": l.width.toFixed(1), data: { pool: l.pool } });
  });
}

const kindOf = (s) => (s.waiting ? "waiting" : s.active ? "active" : s.idle_in_transaction ? "transaction" : s.pinned ? "pinned" : "idle");

// lightUp sets off the lines of what is pointed at.
function lightUp(stage, links) {
  const mark = (e) => {
    const { source, pool } = e.target.closest("[data-pool]")?.dataset || {};
    for (const path of links.children) path.classList.toggle("lit", source ? path.dataset.key === source : Boolean(pool) && path.dataset.pool === pool);
    links.classList.toggle("some", Boolean(source || pool));
  };
  set(stage, { on: { pointerover: mark, focusin: mark, pointerleave: () => links.classList.remove("some"), focusout: () => links.classList.remove("some") } });
}

function legend() {
  const item = (kind, text) => el("li", {}, el("i", { class: `key ${kind}`, "aria-hidden": "true" }), text);
  const square = (state) => el("li", {}, el("span", { class: "server", data: { state }, "aria-hidden": "true", text: STATES[state].letter }), STATES[state].text);
  return el("ul", { class: "legend", "aria-label": "Legend" }, item("idle", "idle"), item("active", "executing"), item("transaction", "idle in a transaction"),
    item("waiting", "waiting"), item("pinned", "pinned"), square("active"), square("transaction"), square("pinned"), square("idle"));
}
