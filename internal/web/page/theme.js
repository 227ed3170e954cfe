// Before the first paint, so that a page that is to be dark never flashes light.
(function () {
  "use strict";
  let kept = null;
  try {
    kept = localStorage.getItem("pooler-theme");
  } catch {
    // Storage may be forbidden; then the system's choice holds.
  }
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
})();
