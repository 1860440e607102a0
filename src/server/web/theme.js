// Runs before the first paint, so that a chosen theme does not flash: not a module.
(() => {
  try {
    const theme = localStorage.getItem("upg.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // Storage may be forbidden; the system's theme then holds.
  }
})();
