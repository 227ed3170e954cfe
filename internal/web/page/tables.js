// A table of whatever columns a view has: sorted by a click on a heading, filtered, with the details of a row below it.
import { el, keyed, set, setText, button, download } from "./dom.js";
import { Pair, cell, count, words, figure, isNumeric, matcher, signed } from "./format.js";

const PAGE = 200; // rows at first

// table makes one. first names the columns that are shown unless all are asked for; actions(record) gives a row's
// buttons; bars names columns that are shares.
export function table({ name, first = [], actions = () => [], bars = [] }) {
  const t = {
    name, first, actions, bars, sort: null, all: false, limit: PAGE, answer: null, q: "", open: new Set(), rows: [],
    head: el("tr"), body: el("tbody"), summary: el("span", { class: "muted" }),
  };
  t.columnsButton = button("All columns", () => { t.all = !t.all; render(t); }, { class: "quiet", "aria-pressed": "false" });
  t.more = button("", () => { t.limit += 5 * PAGE; render(t); }, { class: "more", hidden: true });
  t.box = el("div", { class: "tablebox card", tabindex: "0", role: "region", "aria-label": words(name) }, el("table", {}, el("thead", {}, t.head), t.body));
  t.node = el("div", { class: "tablepart" }, el("div", { class: "tablehead" }, t.summary, el("span", { class: "gap" }), t.columnsButton), t.box, t.more);
  return {
    node: t.node,
    // show takes an answer and the filter; cut: it has only the first rows.
    show(answer, { q = "", now, cut = false }) {
      Object.assign(t, { answer, q, now, cut });
      // A text that somebody is marking would slip away.
      if (!(getSelection()?.type === "Range" && t.body.contains(getSelection().anchorNode))) render(t);
    },
    sort: () => t.sort,
    save: (format) => save(t, format),
  };
}

function render(t) {
  const { columns, rows } = t.answer;
  const names = columns.map((c) => c.name);
  const chosen = t.first.filter((n) => names.includes(n));
  const some = chosen.length > 0 && chosen.length < names.length;
  const visible = (some && !t.all ? chosen : names).map((n) => names.indexOf(n));
  const records = rows.map((values, i) => ({ values, i, of: Object.fromEntries(names.map((n, k) => [n, values[k]])) }));
  const fits = matcher(t.q);
  t.rows = records.filter((r) => fits(r.values));
  if (t.sort) sortRows(t.rows, names.indexOf(t.sort.by), t.sort.down);
  t.columnsButton.hidden = !some;
  t.columnsButton.setAttribute("aria-pressed", String(t.all));
  setText(t.summary, summaryOf(t));
  const withActions = t.rows.some((r) => t.actions(r.of).length > 0);
  heads(t, visible, withActions);
  const page = t.rows.slice(0, t.limit);
  const key = keyMaker(names);
  keyed(t.body, page.flatMap((r) => {
    r.key = key(r);
    return t.open.has(r.key) ? [r, { ...r, key: `${r.key}\ndetail`, detail: true }] : [r];
  }), (r) => r.key, (r) => makeRow(t, r), (node, r) => fillRow(t, node, r, visible, withActions));
  t.more.hidden = t.rows.length <= t.limit;
  setText(t.more, `Show more of ${count(t.rows.length)} rows`);
  t.box.hidden = t.rows.length === 0;
}

function summaryOf({ answer, rows, q, cut }) {
  const fetched = answer.rows.length;
  const part = q.trim() ? `${count(rows.length)} of ` : "";
  if (cut) return `${part}the first ${count(fetched)} rows, and there are more: narrow them down with WHERE.`;
  return part ? part + count(fetched) : fetched === 1 ? "1 row" : `${count(fetched)} rows`;
}

// keyMaker: a row is the same as before if its names are. Like ones are told apart by their order.
function keyMaker(names) {
  const own = ["seq", "id", "ptr"].find((n) => names.includes(n));
  const texts = names.map((n, i) => (/^(addr|address|application|user|database|class|phase|statement|name|setting|time|what|kind|list|upper_seconds)$/.test(n) ? i : -1)).filter((i) => i >= 0);
  const seen = new Map();
  return (r) => {
    const base = own ? String(r.of[own]) : texts.length ? texts.map((i) => r.values[i]).join("\t") : String(r.i);
    const n = seen.get(base) || 0;
    seen.set(base, n + 1);
    return n ? `${base}\t#${n}` : base;
  };
}

function sortRows(rows, at, down) {
  if (at < 0) return;
  const order = (a, b) => {
    if (a === b) return 0;
    if (a === null) return 1; // what is not known comes last, whichever way
    if (b === null) return -1;
    const c = typeof a !== "string" && typeof b !== "string" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
    return down ? -c : c;
  };
  rows.sort((a, b) => order(a.values[at], b.values[at]) || a.i - b.i);
}

function heads(t, visible, withActions) {
  const { columns } = t.answer;
  const wanted = visible.map((i) => columns[i].name).join() + withActions;
  if (t.headed !== wanted) {
    t.headed = wanted;
    t.head.replaceChildren(...visible.map((i) => {
      const c = columns[i];
      const b = button(heading(c), () => {
        t.sort = t.sort?.by !== c.name ? { by: c.name, down: isNumeric(c) } : t.sort.down === isNumeric(c) ? { by: c.name, down: !isNumeric(c) } : null;
        render(t);
      }, { class: "sort", title: "Sort" });
      return el("th", { scope: "col", class: isNumeric(c) ? "number" : "", data: { column: c.name } }, b);
    }), ...(withActions ? [el("th", { scope: "col" }, el("span", { class: "unseen", text: "Actions" }))] : []));
  }
  for (const th of t.head.children) {
    if (th.dataset.column) th.setAttribute("aria-sort", t.sort?.by === th.dataset.column ? (t.sort.down ? "descending" : "ascending") : "none");
  }
}

// heading: cells have their units with them.
const heading = (c) => words(c.name.replace(/_(us|percent)$/, "").replace("_per_minute", "/min").replace("_per_second", "/s"));

function makeRow(t, r) {
  if (r.detail) return el("tr", { class: "detail" }, el("td", {}));
  const tr = el("tr", { tabindex: "0", "aria-expanded": "false" });
  const toggle = () => {
    const key = tr.dataset.key;
    if (!t.open.delete(key)) t.open.add(key);
    render(t);
  };
  tr.addEventListener("click", (e) => {
    if (!e.target.closest("button, a") && getSelection()?.type !== "Range") toggle();
  });
  tr.addEventListener("keydown", (e) => {
    const other = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[e.key];
    if (e.target !== tr) return;
    if (e.key === "Enter" || e.key === " ") toggle();
    else if (other) tr[other]?.focus();
    else return;
    e.preventDefault();
  });
  return tr;
}

function fillRow(t, tr, r, visible, withActions) {
  const { columns } = t.answer;
  if (r.detail) {
    const td = tr.firstElementChild;
    td.colSpan = visible.length + (withActions ? 1 : 0);
    td.replaceChildren(el("dl", {}, columns.map((c, i) => {
      const w = cell(c, r.values[i], t.now);
      return el("div", {}, el("dt", { text: words(c.name) }), el("dd", { text: w.text, title: w.title }));
    })));
    return;
  }
  tr.setAttribute("aria-expanded", String(t.open.has(r.key)));
  const cells = visible.map((i) => ({ column: columns[i], value: r.values[i] }));
  while (tr.children.length > cells.length + (withActions ? 1 : 0)) tr.lastElementChild.remove();
  while (tr.children.length < cells.length + (withActions ? 1 : 0)) tr.append(el("td"));
  cells.forEach(({ column, value }, i) => fillCell(t, tr.children[i], column, value));
  if (withActions) {
    const td = tr.lastElementChild;
    const buttons = t.actions(r.of);
    const wanted = buttons.map((b) => `${b.text} ${b.label}`).join();
    td.className = "actions";
    if (td.dataset.for !== wanted) {
      td.dataset.for = wanted;
      td.replaceChildren(...buttons.map((b) => button(b.text, b.run, { class: "small", "aria-label": b.label, title: b.label })));
    }
  }
}

function fillCell(t, td, column, value) {
  if (value instanceof Pair) {
    fillPair(td, value);
    return;
  }
  const w = cell(column, value, t.now);
  if (t.bars.includes(column.name) && typeof value === "number") {
    const text = `${figure(Math.round(value * 10) / 10)} %`;
    td.className = "share";
    if (td.children.length !== 2) td.replaceChildren(el("span"), el("i", {}, el("b")));
    setText(td.firstChild, text);
    set(td.lastChild.firstChild, { css: { width: `${Math.min(100, value)}%` } });
    return;
  }
  td.className = `${w.kind}${/statement|comment/.test(column.name) ? " code" : ""}`;
  setText(td, w.text);
  td.title = w.title || (w.text.length > 30 ? w.text : "");
}

// fillPair tells what was, what is, and the change by sign and colour: red where more is worse.
function fillPair(td, pair) {
  td.className = "number pair";
  const kind = !pair.change ? "same" : pair.neutral ? "changed" : pair.change > 0 ? "up" : "down";
  if (td.children.length !== 2) td.replaceChildren(el("span", { class: "muted" }), el("b"));
  setText(td.firstChild, String(pair));
  setText(td.lastChild, pair.change === null ? "" : signed(pair.change));
  td.lastChild.className = kind;
}

// save hands over exactly the rows and the order that are shown, with all columns.
function save(t, format) {
  const names = t.answer.columns.map((c) => c.name);
  if (format === "json") {
    download(`${t.name}.json`, "application/json", JSON.stringify({ view: t.name, columns: t.answer.columns, rows: t.rows.map((r) => r.values) }, null, 1));
    return;
  }
  const quoted = (v) => {
    if (v === null || v === undefined) return "";
    const text = typeof v === "string" ? harmless(v) : String(v);
    return /[",\r\n]|^\s|\s$|^$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const lines = [names, ...t.rows.map((r) => r.values)].map((row) => row.map(quoted).join(","));
  download(`${t.name}.csv`, "text/csv", lines.join("\r\n") + "\r\n");
}

// harmless keeps spreadsheets from taking for a formula what a client has chosen as its name.
const harmless = (text) => (/^[=+\-@\t\r]/.test(text) ? `'${text}` : text);
