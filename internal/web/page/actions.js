// What an administrator can do from the page. Each action says first what will happen, and then what the pooler answers.
import { post, ApiError } from "./api.js";
import { clockNow } from "./clock.js";
import { byId, el, button, setText } from "./dom.js";
import { count } from "./format.js";
import { table } from "./tables.js";

// quoted writes a name so that the console takes it as it is, whatever is in it.
export const quoted = (name) => `"${String(name).replaceAll('"', '""')}"`;

// actions: changed is called when something was done.
export function actions(changed) {
  const ask = (options) => confirmation({ ...options, changed });
  const killClient = (id, who) => ask({
    title: `End client ${id}?`, danger: true, confirm: "End the client",
    text: [`${who} loses its connection at once. A transaction it has open is rolled back.`],
    command: () => `KILL_CLIENT ${Number(id)}`,
  });
  const onDatabase = (word, name, text, confirm) => ask({ title: `${word} ${name}?`, text, confirm, danger: word === "PAUSE", command: () => `${word} ${quoted(name)}` });
  const resize = (name, size) => {
    const input = el("input", { type: "number", min: "1", step: "1", required: true, value: size ?? "", id: "pool-size" });
    ask({
      title: `Resize the pools of ${name}`, confirm: "Resize",
      text: ["Each user's pool of this database may have so many server sessions. It holds at once, until the next reload or restart."],
      body: [el("label", { for: "pool-size", text: "Server sessions at most" }), input],
      command: () => `ALTER POOL ${quoted(name)} SET maxsize = ${Math.trunc(Number(input.value))}`,
    });
  };
  const killIdle = (preset) => killIdleDialog(preset, changed);
  return {
    killIdle,
    rowActions(kind, r) {
      const name = r.application_name ?? r.application;
      const who = `${name || "A client without a name"} (${[r.addr ?? r.address, r.user].filter(Boolean).join(", ")})`;
      if (kind === "client" && r.id) return [{ text: "End", label: `End client ${r.id}`, run: () => killClient(r.id, who) }];
      if (kind === "holder" && r.holder_id) return [{ text: "End holder", label: `End client ${r.holder_id}, which holds a server session`, run: () => killClient(r.holder_id, r.holder_application || "A client without a name") }];
      if (kind === "idle" && (r.addr ?? r.address)) {
        const from = r.addr ?? r.address;
        return [{ text: "Kill idle …", label: `Kill idle clients from ${from}`, run: () => killIdle({ from }) }];
      }
      return kind === "pool" ? poolActions(r, onDatabase, resize) : [];
    },
  };
}

function poolActions(r, onDatabase, resize) {
  const name = r.database;
  if (!name || r.pool_size === undefined || r.pool_size === null) return [];
  const pause = r.status === "PAUSED"
    ? { text: "Resume", label: `Resume ${name}`, run: () => onDatabase("RESUME", name, ["Clients that wait go on."], "Resume") }
    : { text: "Pause", label: `Pause ${name}`, run: () => onDatabase("PAUSE", name, ["Open transactions end, then the server sessions are closed. Until RESUME clients wait; new ones too.", "It takes as long as the open transactions do. Cancel, or closing this, takes the pause back until then."], "Pause") };
  return [pause,
    { text: "Reconnect", label: `Reconnect ${name}`, run: () => onDatabase("RECONNECT", name, ["Each server session is replaced as soon as it is free. Clients do not notice."], "Reconnect") },
    { text: "Resize …", label: `Resize the pools of ${name}`, run: () => resize(name, r.pool_size) }];
}

let closed = new AbortController(); // of the dialog opened last

// open shows the dialog, which keeps the focus and closes with Escape. It returns a signal that it was closed: a command
// that still waits then ends, as with a console that hangs up.
function open(title, ...content) {
  const dialog = byId("dialog");
  closed.abort();
  const mine = (closed = new AbortController());
  // The event comes a little later: it may be of the dialog before, when this one is open.
  dialog.addEventListener("close", () => dialog.open || mine.abort(), { signal: mine.signal });
  dialog.replaceChildren(el("h2", { id: "dialog-title", text: title }), ...content);
  dialog.showModal();
  return mine.signal;
}

const close = () => byId("dialog").close();

function confirmation({ title, text, body = [], confirm, danger, command, changed }) {
  const said = el("div", { class: "said", role: "status" });
  const cancel = button("Cancel", close, { autofocus: body.length === 0 });
  const go = el("button", { class: danger ? "danger" : "main", text: confirm });
  const shown = el("code");
  const form = el("form", { on: {
    input: () => setText(shown, command()),
    submit: async (e) => {
      e.preventDefault();
      go.disabled = true;
      if (await run(command(), said, gone)) {
        go.hidden = true;
        setText(cancel, "Close");
        cancel.focus();
        changed();
      }
      go.disabled = false;
    },
  } }, text.map((t) => el("p", { text: t })), body, el("p", { class: "muted" }, "Command: ", shown), said, el("div", { class: "buttons" }, cancel, go));
  setText(shown, command());
  const gone = open(title, form);
}

// run gives a command and shows the answer's notices, or its error. It returns the answer; null: it failed.
async function run(command, said, gone) {
  said.replaceChildren(el("p", { class: "muted", text: "…" }));
  try {
    const answer = await post("api/do", { command }, gone);
    const lines = (answer.notices || []).map((n) => (typeof n === "string" ? n : [n.message, n.hint].filter(Boolean).join(". ")));
    said.replaceChildren(el("p", { class: "done", text: `Done: ${answer.tag}` }), ...lines.map((text) => el("p", { text })));
    return answer;
  } catch (err) {
    const what = err instanceof ApiError ? err.message : `The pooler did not answer: ${err.message}`;
    said.replaceChildren(el("p", { class: "trouble", role: "alert", text: what }), err.hint ? el("p", { text: err.hint }) : "");
    return null;
  }
}

// killIdleDialog tries it first: only a command that was tried can be given. It ends those who are idle by then.
function killIdleDialog(preset, changed) {
  const field = (label, id, value, props = {}) => {
    const input = el("input", { id, value: value ?? "", spellcheck: "false", autocapitalize: "none", ...props });
    return { input, node: el("div", { class: "field" }, el("label", { for: id, text: label }), input) };
  };
  const older = field("Idle for longer than", "idle-older", preset.older ?? "10 min");
  const from = field("From address or network", "idle-from", preset.from, { placeholder: "any" });
  const names = ["application", "user", "database"].map((name) => ({ name, ...field(`${name[0].toUpperCase()}${name.slice(1)} (* stands for anything)`, `idle-${name}`, preset[name], { placeholder: "any" }) }));
  const shown = el("code");
  const said = el("div", { class: "said", role: "status" });
  const victims = table({ name: "idle", first: ["application", "application_name", "addr", "user", "database", "idle_seconds", "pinned", "killed", "id"] });
  const attempt = el("button", { class: "main", text: "Try (dry run)" });
  const end = button("End them", () => finish(), { class: "danger", disabled: true });
  let tried = ""; // the command that would have hit somebody
  const cancel = button("Cancel", close);
  const command = () => {
    const clauses = [older.input.value.trim() && `OLDER THAN '${older.input.value.trim().replaceAll("'", "''")}'`, from.input.value.trim() && `FROM ${quoted(from.input.value.trim())}`,
      ...names.map((n) => n.input.value && `${n.name.toUpperCase()} ${quoted(n.input.value)}`)];
    return ["KILL IDLE", ...clauses.filter(Boolean)].join(" ");
  };
  victims.node.hidden = true;
  const refresh = () => {
    setText(shown, command());
    end.disabled = command() !== tried;
  };
  const show = (answer) => {
    victims.node.hidden = !answer?.rows?.length;
    if (answer?.rows) victims.show(answer, { now: clockNow() });
  };
  const give = async (what) => {
    tried = "";
    end.disabled = attempt.disabled = true;
    const answer = await run(what, said, gone);
    attempt.disabled = false;
    return answer;
  };
  async function finish() {
    const answer = await give(tried);
    if (!answer) return;
    show(answer);
    attempt.disabled = true;
    attempt.hidden = end.hidden = true;
    setText(cancel, "Close");
    changed();
  }
  const form = el("form", { class: "wide", on: { input: refresh, submit: async (e) => {
    e.preventDefault();
    const what = command(); // which may be changed before the answer comes
    const answer = await give(`${what} DRY RUN`);
    if (!answer) return;
    const n = answer.rows?.length ?? 0;
    said.replaceChildren(el("p", { text: n === 0 ? "It would hit nobody." : `It would end ${count(n)} ${n === 1 ? "client" : "clients"} now:` }));
    show(answer);
    tried = n === 0 ? "" : what;
    refresh();
  } } }, el("p", { text: "Ends clients that are idle and have no transaction open. Try it first: it shows whom it would hit now. “End them” then ends those who are idle by then." }),
  el("div", { class: "fields" }, older.node, from.node, names.map((n) => n.node)), el("p", { class: "muted" }, "Command: ", shown), said, victims.node,
  el("div", { class: "buttons" }, cancel, attempt, end));
  setText(shown, command());
  const gone = open("Kill idle clients", form);
}

