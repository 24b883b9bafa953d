// Before the first paint: what was chosen last. "auto" is what the system says, by the style sheet alone.
(() => {
  const KEY = "modeldist.theme";
  const read = () => {
    try {
      return localStorage.getItem(KEY) || "auto";
    } catch {
      return "auto"; // no storage is no reason for no page
    }
  };
  const show = (theme) => {
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    dispatchEvent(new Event("themechange"));
  };
  show(read());
  addEventListener("DOMContentLoaded", () => {
    const choice = document.getElementById("theme");
    choice.value = read();
    choice.addEventListener("change", () => {
      try {
        localStorage.setItem(KEY, choice.value);
      } catch {
        // it lasts as long as this page then
      }
      show(choice.value);
    });
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => show(read()));
})();
