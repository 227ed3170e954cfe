// A chart of lines over time, with a crosshair that pointer and arrow keys move, and a stretch to zoom into by dragging.
import { el, svg, set, setText } from "./dom.js";
import { figure, axisTime, exactTime } from "./format.js";

const LEFT = 44; // room for the figures of the axis
const BOTTOM = 20;
const TOP = 8;

// chart returns a chart's node. show takes {title, note, times, lines: [{name, kind, values, area}], top, height}; lines
// belong to kinds of colour. group joins charts whose crosshairs move together; zoom is told from and to.
export function chart(group, zoom) {
  const plot = svg("svg", { class: "plot", tabindex: "0", role: "slider", "aria-valuemin": "0", "aria-roledescription": "chart" });
  const title = el("h3");
  const note = el("span", { class: "muted" });
  const values = el("ul", { class: "values" });
  const node = el("article", { class: "card chart" }, el("header", {}, title, note), values, plot);
  const c = { node, plot, group, zoom, values, data: null, at: null, drag: null };
  listen(c);
  group.charts.add(c);
  const resized = new ResizeObserver(() => c.data && c.plot.clientWidth !== c.drawnFor && draw(c));
  resized.observe(plot);
  return {
    node,
    show(data) {
      c.data = data;
      setText(title, data.title);
      setText(note, data.note || "");
      plot.setAttribute("aria-label", `${data.title}: ${data.lines.map((l) => l.name).join(", ")}. Arrow keys read values.`);
      draw(c);
    },
    remove() {
      resized.disconnect();
      group.charts.delete(c);
      node.remove();
    },
  };
}

// chartGroup: cursor is the time that all of them show; null: the last one.
export function chartGroup(onCursor = () => {}) {
  const group = {
    charts: new Set(),
    cursor: null,
    move(t) {
      group.cursor = t;
      onCursor(t);
      for (const c of group.charts) if (c.data) mark(c);
    },
  };
  return group;
}

// roundTop is the end of an axis for values up to most.
export function roundTop(most) {
  if (!(most > 0)) return 1;
  const unit = 10 ** Math.floor(Math.log10(most));
  return [1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10].map((f) => f * unit).find((v) => v >= most * 0.999);
}

export const highest = (lines) => lines.reduce((top, l) => l.values.reduce((m, v) => (v > m ? v : m), top), 0);

function draw(c) {
  const { times, lines, height = 130 } = c.data;
  set(c.plot, { height, data: { height } }); // first: how wide it is may depend on it
  c.drawnFor = c.plot.clientWidth;
  const width = Math.max(200, c.drawnFor);
  const top = c.data.top || roundTop(highest(lines));
  const first = c.data.from ?? times[0] ?? 0;
  const last = Math.max(first + 1, c.data.to ?? times.at(-1) ?? 0);
  const x = (t) => LEFT + ((width - LEFT - 6) * (t - first)) / (last - first);
  const y = (v) => height - BOTTOM - ((height - BOTTOM - TOP) * v) / top;
  Object.assign(c, { x, y, first, last, width, height });
  set(c.plot, { viewBox: `0 0 ${width} ${height}`, "aria-valuemax": Math.max(0, times.length - 1), data: { top } });
  c.cross = svg("line", { class: "cross", y1: TOP, y2: height - BOTTOM, x1: -9, x2: -9 });
  c.dots = lines.map((l) => svg("circle", { class: `dot ${l.kind}`, r: 3, cx: -9 }));
  c.stretch = svg("rect", { class: "stretch", y: TOP, height: height - BOTTOM - TOP, width: 0 });
  const marks = top >= 1 && !Number.isInteger(top / 2) ? [0, top] : [0, top / 2, top];
  const axes = marks.map((v) => svg("g", {}, svg("line", { class: "grid", x1: LEFT, x2: width - 6, y1: y(v), y2: y(v) }),
    svg("text", { class: "tick", x: LEFT - 6, y: y(v) + 4, "text-anchor": "end", text: figure(v) })));
  c.plot.replaceChildren(...axes, ...timeTicks(c), ...lines.flatMap((l) => shapes(l, times, x, y, y(0))), c.stretch, c.cross, ...c.dots);
  mark(c);
}

function timeTicks({ x, first, last, width, height }) {
  const span = last - first;
  const n = Math.max(2, Math.min(6, Math.floor((width - LEFT) / 90)));
  const ticks = [];
  for (let i = 0; i < n; i++) {
    const t = first + (span * i) / (n - 1);
    const anchor = i === 0 ? "start" : i === n - 1 ? "end" : "middle";
    ticks.push(svg("text", { class: "tick", x: x(t), y: height - 5, "text-anchor": anchor, text: axisTime(t, span) }));
  }
  return ticks;
}

// shapes draws a line, with gaps where nothing was recorded, and what is under it if it has an area.
function shapes(line, times, x, y, floor) {
  let over = "";
  let under = "";
  let run = [];
  const flush = () => {
    if (run.length === 0) return;
    const points = run.map(([u, v]) => `${u.toFixed(1)} ${v.toFixed(1)}`);
    if (run.length === 1) points.push(`${(run[0][0] + 0.5).toFixed(1)} ${run[0][1].toFixed(1)}`);
    over += `M${points.join("L")}`;
    under += `M${run[0][0].toFixed(1)} ${floor}L${points.join("L")}V${floor}Z`;
    run = [];
  };
  line.values.forEach((v, i) => {
    if (v === null || v === undefined) flush();
    else run.push([x(times[i]), y(v)]);
  });
  flush();
  const path = svg("path", { class: `line ${line.kind}`, d: over, data: { field: line.name } });
  return line.area ? [svg("path", { class: `area ${line.kind}`, d: under }), path] : [path];
}

// mark moves the crosshair to the group's time, and tells the values there.
function mark(c) {
  const { times, lines } = c.data;
  const i = c.group.cursor === null ? times.length - 1 : nearest(times, c.group.cursor);
  c.at = i;
  const shown = c.group.cursor !== null && i >= 0;
  const u = shown ? c.x(times[i]) : -9;
  set(c.cross, { x1: u, x2: u });
  lines.forEach((l, k) => {
    const v = l.values[i];
    set(c.dots[k], shown && v !== null && v !== undefined ? { cx: u, cy: c.y(v) } : { cx: -9 });
  });
  const said = lines.map((l) => ({ kind: l.kind, name: l.name, text: figure(l.values[i]) }));
  c.values.replaceChildren(...said.map((s) => el("li", {}, el("i", { class: `key ${s.kind}`, "aria-hidden": "true" }), `${s.name} `, el("b", { text: s.text }))));
  set(c.plot, { "aria-valuenow": Math.max(0, i), "aria-valuetext": i < 0 ? "no data" : `${exactTime(times[i])}: ${said.map((s) => `${s.name} ${s.text}`).join(", ")}` });
}

export function nearest(times, t) {
  let low = 0;
  let high = times.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] < t) low = middle + 1;
    else high = middle;
  }
  return low > 0 && t - times[low - 1] < times[low] - t ? low - 1 : low;
}

function listen(c) {
  const timeAt = (e) => {
    const u = e.clientX - c.plot.getBoundingClientRect().left;
    const share = (u - LEFT) / Math.max(1, c.width - LEFT - 6);
    return c.first + Math.min(1, Math.max(0, share)) * (c.last - c.first);
  };
  set(c.plot, {
    on: {
      pointerdown(e) {
        if (!c.data || !c.zoom || e.button !== 0) return;
        c.drag = timeAt(e);
        c.plot.setPointerCapture(e.pointerId);
      },
      pointermove(e) {
        if (!c.data) return;
        const t = timeAt(e);
        c.group.move(t);
        if (c.drag !== null) stretch(c, c.drag, t);
      },
      pointerup(e) {
        const from = c.drag;
        c.drag = null;
        if (from === null) return;
        stretch(c, 0, 0);
        zoomTo(c, from, timeAt(e));
      },
      pointercancel: () => endDrag(c),
      pointerleave: () => c.drag === null && c.group.move(null),
      blur: () => (endDrag(c), c.group.move(null)),
      keydown: (e) => onKey(c, e),
    },
  });
}

function stretch(c, from, to) {
  const [a, b] = [c.x(Math.min(from, to)), c.x(Math.max(from, to))];
  set(c.stretch, { x: a, width: b - a });
}

function endDrag(c) {
  c.drag = null;
  if (c.stretch) set(c.stretch, { width: 0 });
}

function zoomTo(c, from, to) {
  const [a, b] = [Math.min(from, to), Math.max(from, to)];
  if (c.x(b) - c.x(a) > 8) c.zoom(Math.floor(a), Math.ceil(b));
}

// onKey: arrows move, Enter marks one end and then the other, Escape forgets it.
function onKey(c, e) {
  const times = c.data?.times || [];
  if (times.length === 0) return;
  const now = c.group.cursor === null ? times.length - 1 : c.at;
  const step = e.shiftKey ? 10 : 1;
  const goal = { ArrowLeft: now - step, ArrowRight: now + step, PageDown: now - 50, PageUp: now + 50, Home: 0, End: times.length - 1 }[e.key];
  if (goal !== undefined) {
    c.group.move(times[Math.max(0, Math.min(times.length - 1, goal))]);
    if (c.drag !== null) stretch(c, c.drag, c.group.cursor);
  } else if (e.key === "Enter" && c.zoom) {
    if (c.drag === null) {
      c.drag = times[now];
    } else {
      const from = c.drag;
      endDrag(c);
      zoomTo(c, from, times[now]);
    }
  } else if (e.key === "Escape" && c.drag !== null) {
    endDrag(c);
  } else {
    return;
  }
  e.preventDefault();
}
