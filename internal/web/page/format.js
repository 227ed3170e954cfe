// How figures, spans and times are written.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const few = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const exact = new Intl.DateTimeFormat("sv", { dateStyle: "short", timeStyle: "medium" });
const clock = new Intl.DateTimeFormat("sv", { timeStyle: "medium" });
const minute = new Intl.DateTimeFormat("sv", { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat("en", { day: "numeric", month: "short" });

export const count = (n) => (n === null || n === undefined ? "–" : whole.format(n));

// figure writes a number that may have a fraction, as short as can be read.
export function figure(n) {
  if (n === null || n === undefined || Number.isNaN(n)) return "–";
  return Math.abs(n) >= 100 || Number.isInteger(n) ? whole.format(n) : few.format(n);
}

export function duration(s) {
  if (s === null || s === undefined) return "–";
  if (s < 0) return "−" + duration(-s);
  if (s === 0) return "0 s";
  if (s < 0.000_999_5) return `${few.format(s * 1e6)} µs`;
  if (s < 0.999_5) return `${few.format(s * 1e3)} ms`;
  if (s < 59.95) return `${few.format(s)} s`;
  const total = Math.round(s);
  if (total < 3600) return two(Math.floor(total / 60), "min", total % 60, "s");
  if (total < 86400) return two(Math.floor(total / 3600), "h", Math.floor((total % 3600) / 60), "min");
  return two(Math.floor(total / 86400), "d", Math.floor((total % 86400) / 3600), "h");
}

const two = (a, unit, b, smaller) => (b === 0 ? `${a} ${unit}` : `${a} ${unit} ${b} ${smaller}`);

function bytes(n) {
  if (n === null || n === undefined) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let i = 0;
  for (; n >= 1000 && i < units.length - 1; i++) n /= 1000;
  return `${i === 0 ? whole.format(n) : few.format(n)} ${units[i]}`;
}

// ago tells how long before now (both in Unix seconds) t was.
export function ago(t, now) {
  const s = now - t;
  if (s < 1 && s > -5) return "just now";
  return s < 0 ? `in ${duration(Math.round(-s))}` : `${duration(Math.round(s))} ago`;
}

export const exactTime = (t) => exact.format(new Date(t * 1000));
export const clockTime = (t) => clock.format(new Date(t * 1000));

// axisTime writes a time for an axis that spans so many seconds.
export function axisTime(t, span) {
  const d = new Date(t * 1000);
  if (span <= 600) return clock.format(d);
  return span <= 2 * 86400 ? minute.format(d) : day.format(d);
}

export const signed = (n) => (n > 0 ? "+" : n < 0 ? "−" : "±") + figure(round(Math.abs(n)));

const round = (n) => Number(n.toPrecision(4));

export const words = (name) => name.replaceAll("_", " ");

// matcher of a filter tells whether all its words stand in some texts, as the server does for history.
export function matcher(filter = "") {
  const wanted = filter.toLowerCase().split(/\s+/).filter(Boolean);
  return (texts) => {
    const text = texts.join("\0").toLowerCase();
    return wanted.every((word) => text.includes(word));
  };
}

// Pair is a measure before and after. It is ordered by how much it has changed.
export class Pair {
  constructor(name, a, b) {
    Object.assign(this, { a, b, change: a === null || b === null ? null : b - a, neutral: name.startsWith("queries") });
  }
  valueOf() {
    return this.change ?? -Infinity;
  }
  toString() {
    return `${figure(this.a)} → ${figure(this.b)}`;
  }
}

// cell says how the value of a column is written: as text, with a title where that says more, right-aligned if it is
// a number. now is the time of the answer.
export function cell(column, value, now) {
  const { name, type } = column;
  if (value === null || value === undefined) return { text: "–", kind: "none" };
  if (/^timestamp/.test(type)) {
    const t = Date.parse(value) / 1000;
    return { text: ago(t, now), title: `${exactTime(t)} (${value})`, kind: "time" };
  }
  if (value instanceof Pair) return { text: String(value), kind: "number" };
  if (typeof value === "boolean") return { text: value ? "yes" : "no", kind: "word" };
  if (typeof value !== "number") return { text: String(value), kind: isNumeric(column) ? "number" : "word" };
  if (name.endsWith("_seconds") || name === "age") return { text: duration(value), title: `${value} s`, kind: "number" };
  if (name.endsWith("_us")) return { text: duration(value / 1e6), title: `${value} µs`, kind: "number" };
  if (/^(received|sent|.*_bytes|.*_received|.*_sent)$/.test(name)) return { text: bytes(value), title: `${value} bytes`, kind: "number" };
  if (isName(name)) return { text: String(value), kind: "number" };
  return { text: figure(value), title: String(value), kind: "number" };
}

// isNumeric tells whether a column's type is one of numbers.
export const isNumeric = (column) => /^(int|bigint|smallint|numeric|double|real|float)/.test(column.type || "");

// isName: numbers that name something get no separators.
const isName = (name) => /(^|_)(id|pid|port|seq|server_pid)$/.test(name);
