// The choice of a stretch of time: the last so many seconds, or from – to.
import { clockNow } from "./clock.js";
import { el, button } from "./dom.js";

const RANGES = [[300, "5 min"], [3600, "1 h"], [6 * 3600, "6 h"], [86400, "24 h"], [7 * 86400, "7 d"], [30 * 86400, "30 d"]];

// stretch of a state: {from, to} in Unix seconds, and whether it ends now.
export function stretchOf(state, now = clockNow()) {
  if (state.from && state.to) return { from: Number(state.from), to: Number(state.to), live: false };
  return { from: now - (Number(state.range) || 300), to: now, live: true };
}

// timeRange shows the choice; choose is told a part of the state.
export function timeRange(choose) {
  const buttons = RANGES.map(([s, text]) => button(text, () => choose({ range: String(s), from: "", to: "" }), { data: { range: s } }));
  const between = fromTo("", (from, to) => choose({ from, to }));
  const back = button("Back to live", () => choose({ from: "", to: "" }), { class: "quiet", hidden: true });
  const more = el("details", { class: "pop" }, el("summary", { text: "From – to" }), between.node);
  return {
    node: el("div", { class: "ranges" }, el("div", { class: "choice", role: "group", "aria-label": "Time range" }, buttons), more, back),
    show(state) {
      const { from, to, live } = stretchOf(state);
      const chosen = String(Number(state.range) || 300);
      for (const b of buttons) b.setAttribute("aria-pressed", String(live && b.dataset.range === chosen));
      back.hidden = live;
      if (!more.contains(document.activeElement)) between.set(from, to);
    },
  };
}

// fromTo is a form of two times.
export function fromTo(name, choose) {
  const [a, b] = ["From", "To"].map((text) => el("input", { type: "datetime-local", step: "1", required: true, "aria-label": `${name} ${text}`.trim() }));
  const wrong = el("p", { class: "trouble", role: "alert", hidden: true });
  const node = el("form", { class: "fromto", on: { submit: (e) => {
    e.preventDefault();
    const [from, to] = [a, b].map((i) => new Date(i.value).getTime() / 1000);
    wrong.hidden = to > from;
    wrong.textContent = "The end must be after the beginning.";
    if (to > from) choose(String(from), String(to));
  } } }, el("label", {}, "From", a), el("label", {}, "to", b), el("button", { text: "Show" }), wrong);
  return {
    node,
    set(from, to) {
      a.value = local(from);
      b.value = local(to);
    },
  };
}

// local writes a time as an input of that type wants it.
function local(t) {
  const d = new Date(Math.round(t) * 1000);
  return new Date(d.getTime() - d.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}
