// What the page asks the pooler.

// ApiError is an answer that says no, with the server's own words.
export class ApiError extends Error {
  constructor(status, body) {
    super(body.error || `the server answered with status ${status}`);
    this.status = status;
    this.hint = body.hint || "";
    this.sqlstate = body.sqlstate || "";
  }
}

// Unreachable is no answer at all.
export class Unreachable extends Error {}

const PATIENCE = 15_000; // milliseconds, for an answer
const LONG_PATIENCE = 120_000; // for a command: PAUSE waits until transactions have ended

export function address(path, params = {}) {
  const query = new URLSearchParams();
  for (const [k, v] of Object.entries(params)) if (v !== "" && v !== null && v !== undefined) query.set(k, v);
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

// signal, if there is one, ends the wait. The server notices, and ends a command that waits.
export const get = (path, params, signal) => ask(address(path, params), {}, PATIENCE, signal);

export const post = (path, body = {}, signal) =>
  ask(path, { method: "POST", headers: { "Content-Type": "application/json", "X-Pooler": "1" }, body: JSON.stringify(body) }, LONG_PATIENCE, signal);

async function ask(url, options, patience, signal) {
  const ends = [AbortSignal.timeout(patience), signal].filter(Boolean);
  let answer;
  try {
    answer = await fetch(url, { ...options, cache: "no-store", credentials: "same-origin", signal: AbortSignal.any(ends) });
  } catch (err) {
    throw new Unreachable(err.message);
  }
  if (answer.status === 502 || answer.status === 504) throw new Unreachable(`status ${answer.status}`);
  let body = {};
  try {
    body = await answer.json();
  } catch (err) {
    if (answer.ok && err.name !== "SyntaxError") throw new Unreachable(err.message);
  }
  if (!answer.ok) throw new ApiError(answer.status, body);
  return body;
}

export const view = (name, params, signal) => get(`api/show/${encodeURIComponent(name)}`, params, signal);

// records makes objects of a view's rows.
export const records = (answer) =>
  answer.rows.map((row) => Object.fromEntries(answer.columns.map((c, i) => [c.name, row[i]])));
