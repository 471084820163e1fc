// SPDX-License-Identifier: Apache-2.0
// Dark or light as the system says, or as was chosen. No module, so that it runs before anything is painted.

(() => {
  const key = "sightline-theme";
  const system = matchMedia("(prefers-color-scheme: light)");
  const stored = () => {
    try {
      return localStorage.getItem(key);
    } catch {
      return null;
    }
  };
  const apply = () => {
    const theme = stored() ?? (system.matches ? "light" : "dark");
    document.documentElement.dataset.theme = theme;
  };
  window.toggleTheme = () => {
    const next = document.documentElement.dataset.theme === "light" ? "dark" : "light";
    try {
      localStorage.setItem(key, next);
    } catch {
      // without storage the choice lasts until the page is left
    }
    document.documentElement.dataset.theme = next;
    return next;
  };
  system.addEventListener("change", apply);
  apply();
})();
