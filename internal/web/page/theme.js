// Before the first paint, so that a page that is to be dark never flashes light: what was chosen here, else the system's
// choice, also when that changes.
(function () {
  "use strict";
  const dark = matchMedia("(prefers-color-scheme: dark)");
  function show() {
    let kept = null;
    try {
      kept = localStorage.getItem("pooler-theme");
    } catch {
      // Storage may be forbidden; then nothing was chosen.
    }
    const chosen = kept === "light" || kept === "dark";
    document.documentElement.dataset.theme = chosen ? kept : dark.matches ? "dark" : "light";
  }
  dark.addEventListener("change", show);
  show();
})();
