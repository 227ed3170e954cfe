// The login form, and who is logged in.
import { get, post, ApiError } from "./api.js";
import { el, byId, setText } from "./dom.js";

// me tells who is logged in; null: nobody.
export async function me() {
  try {
    return await get("api/me");
  } catch (err) {
    if (err instanceof ApiError && err.status === 401) return null;
    throw err;
  }
}

// showLogin asks for a user until somebody is let in, and tells entered who that is.
export function showLogin(entered) {
  const place = byId("login");
  if (!place.hidden) return;
  const user = el("input", { name: "user", autocomplete: "username", required: true, autocapitalize: "none", spellcheck: "false", id: "user" });
  const password = el("input", { name: "password", type: "password", autocomplete: "current-password", id: "password" });
  const wrong = el("p", { class: "trouble", role: "alert", id: "login-error", hidden: true });
  const submit = el("button", { class: "main", text: "Log in" });
  const form = el("form", { class: "card", on: { submit: async (e) => {
    e.preventDefault();
    submit.disabled = true;
    wrong.hidden = true;
    try {
      const who = await post("api/login", { user: user.value, password: password.value });
      place.hidden = true;
      place.replaceChildren();
      entered(who);
    } catch (err) {
      setText(wrong, err instanceof ApiError ? [err.message, err.hint].filter(Boolean).join(". ") : "The pooler does not answer. Try again.");
      wrong.hidden = false;
      password.select();
      password.focus();
    }
    submit.disabled = false;
  } } }, el("h1", { text: "pooler" }), el("p", { class: "muted", text: "Log in as a user of admin_users or stats_users: the same as for the console." }),
  el("label", { for: "user", text: "User" }), user, el("label", { for: "password", text: "Password" }), password, wrong, submit);
  place.replaceChildren(form);
  place.hidden = false;
  user.focus();
}
