// The page: its sections, what of it the address remembers, and how it keeps up with the pooler.
import { get, post, ApiError, Unreachable } from "./api.js";
import { setClock } from "./clock.js";
import { byId, el, set, setText, button, hideTip, tidyTip } from "./dom.js";
import { clockTime, count } from "./format.js";
import { actions } from "./actions.js";
import { compareSection } from "./compare.js";
import { histogramSection } from "./histograms.js";
import { historySection } from "./history.js";
import { me, showLogin } from "./login.js";
import { nowSection } from "./now.js";
import { VIEWS, viewSection } from "./views.js";

const SECTIONS = [
  { id: "now", title: "Now", make: nowSection },
  { id: "history", title: "History", make: historySection },
  ...["culprits", "clients", "leaks", "pins", "waiting", "events", "establishments", "establishment_rates", "statements", "servers", "pools"].map((id) => ({ id, title: VIEWS[id].title, make: (ctx) => viewSection(ctx, id) })),
  { id: "histograms", title: "Histograms", make: histogramSection },
  { id: "compare", title: "Compare", make: compareSection },
];

// What of the state belongs to all sections; the rest is forgotten when another is chosen.
const SHARED = ["q"];
const FRAME_EVERY = 5; // seconds until the badges are brought up to date, whatever the section does
const badges = { leaks: (t) => t.leaked, pins: (t) => t.pinned, waiting: (t) => t.waiting };

const ctx = {
  state: readState(),
  me: null,
  go,
  actions: actions(() => refresh()),
};
let section = null; // what is shown
let timer = 0;
let due = 0; // when the section is to be brought up to date again, by performance.now()
let round = new AbortController(); // the refresh under way: the next one ends it, so that no late answer overwrites a newer one
let failures = 0;
let failing = null; // since when nothing has answered, in milliseconds

function readState() {
  const [id, query = ""] = location.hash.slice(1).split("?");
  const state = Object.fromEntries(new URLSearchParams(query));
  return { ...state, section: SECTIONS.some((s) => s.id === id) ? id : "now" };
}

// go changes the state and the address with it, so that Back works and a link can be passed on.
function go(part, replace = false) {
  const other = part.section && part.section !== ctx.state.section;
  const kept = other ? Object.fromEntries(SHARED.map((k) => [k, ctx.state[k]])) : ctx.state;
  const next = { ...kept, ...part };
  const query = new URLSearchParams(Object.entries(next).filter(([k, v]) => k !== "section" && v)).toString();
  history[replace ? "replaceState" : "pushState"](null, "", `#${next.section}${query ? `?${query}` : ""}`);
  apply();
}

// apply shows what the address says.
function apply() {
  ctx.state = readState();
  if (section?.id !== ctx.state.section) mount(ctx.state.section);
  const search = byId("search");
  if (document.activeElement !== search) search.value = ctx.state.q || "";
  refresh();
}

function mount(id) {
  hideTip();
  section = { id, ...describeSection(SECTIONS.find((s) => s.id === id).make(ctx)) };
  byId("main").replaceChildren(section.node);
  set(byId("main"), { "aria-labelledby": `tab-${id}` });
  for (const tab of byId("tabs").children) {
    const chosen = tab.id === `tab-${id}`;
    set(tab, { "aria-selected": String(chosen), tabindex: chosen ? "0" : "-1" });
    if (chosen) tab.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
  document.title = `${SECTIONS.find((s) => s.id === id).title} · pooler`;
}

// describeSection keeps `every` a question: it changes with the state.
const describeSection = (made) => ({ node: made.node, update: (look) => made.update(look), every: () => made.every });

// refresh brings the page up to date; with onlyFrame, what is around the section.
async function refresh(onlyFrame = false) {
  stop();
  if (!ctx.me || document.hidden) return;
  const { signal } = (round = new AbortController());
  try {
    const now = get("api/now", {}, signal);
    await Promise.all([now.then(saw), onlyFrame || section.update({ now, signal })]);
    if (signal.aborted) return;
    tidyTip();
    answered();
    const every = section.every();
    if (!onlyFrame) due = performance.now() + 1000 * (every || Infinity) - 100; // a timer may be a little early
    timer = setTimeout(() => refresh(performance.now() < due), 1000 * Math.min(every || FRAME_EVERY, FRAME_EVERY));
  } catch (err) {
    if (!signal.aborted) failed(err);
  }
}

// stop ends what is under way and what is planned.
function stop() {
  clearTimeout(timer);
  round.abort();
}

function answered() {
  failures = 0;
  failing = null;
  byId("banner").hidden = true;
}

// failed: somebody must log in, or the pooler is away and is asked again, less and less often.
function failed(err) {
  if (err instanceof ApiError && err.status === 401) {
    leave();
    return;
  }
  if (!(err instanceof ApiError) && !(err instanceof Unreachable)) {
    console.error(err);
  }
  failing ??= Date.now();
  const wait = Math.min(30, 2 ** failures++);
  const what = err instanceof Unreachable ? `The pooler has not answered since ${clockTime(failing / 1000)}` : `It did not work: ${[err.message, err.hint].filter(Boolean).join(". ")}`;
  byId("banner").replaceChildren(`${what}. What you see is from before. Trying again in ${wait} s. `, button("Now", retry));
  byId("banner").hidden = false;
  clearTimeout(timer);
  timer = setTimeout(retry, 1000 * wait);
}

const retry = () => (ctx.me ? refresh() : start());

function saw(now) {
  setClock(now.time);
  setText(byId("version"), now.version);
  for (const [id, of] of Object.entries(badges)) {
    const n = of(now.totals);
    const badge = byId(`tab-${id}`).lastChild;
    setText(badge, n ? count(n) : "");
    badge.hidden = !n;
  }
}

function enter(who) {
  ctx.me = who;
  setText(byId("who"), who.right === "admin" ? `${who.user} · admin` : who.user);
  byId("logout").hidden = false;
  byId("frame").hidden = false;
  section = null;
  apply();
}

function leave() {
  ctx.me = null;
  stop();
  if (byId("dialog").open) byId("dialog").close();
  byId("frame").hidden = true;
  byId("logout").hidden = true;
  byId("banner").hidden = true;
  setText(byId("who"), "");
  showLogin(enter);
}

async function logout() {
  try {
    await post("api/logout");
    leave();
  } catch (err) {
    failed(err);
  }
}

function makeTabs() {
  const tabs = byId("tabs");
  tabs.append(...SECTIONS.map((s) => el("button", { type: "button", role: "tab", id: `tab-${s.id}`, "aria-controls": "main", tabindex: "-1", on: { click: () => go({ section: s.id }) } },
    el("span", { text: s.title }), el("b", { class: "badge", hidden: true }))));
  tabs.addEventListener("keydown", (e) => {
    const all = [...tabs.children];
    const at = all.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowRight: at + 1, ArrowUp: at - 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[e.key];
    if (to === undefined) return;
    e.preventDefault();
    const tab = all[(to + all.length) % all.length];
    tab.focus();
    tab.click();
  });
}

function listen() {
  const search = byId("search");
  let typing = 0;
  search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => go({ q: search.value }, true), 150);
  });
  addEventListener("keydown", (e) => {
    if (e.key === "Escape") hideTip();
    if (e.key !== "/" || e.ctrlKey || e.metaKey || e.altKey || byId("dialog").open || /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName)) return;
    e.preventDefault();
    search.focus();
    search.select();
  });
  byId("skip").addEventListener("click", (e) => {
    e.preventDefault();
    byId("main").focus();
  });
  byId("logout").addEventListener("click", logout);
  byId("theme").addEventListener("click", changeTheme);
  addEventListener("popstate", () => ctx.me && apply());
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : retry()));
}

function changeTheme() {
  const root = document.documentElement;
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
  try {
    localStorage.setItem("pooler-theme", root.dataset.theme);
  } catch {
    // It holds until the page is closed, then.
  }
}

async function start() {
  try {
    const who = await me();
    answered();
    if (who) enter(who);
    else leave();
  } catch (err) {
    failed(err);
  }
}

makeTabs();
listen();
start();
