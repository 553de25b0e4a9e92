"use strict";
// Three comforts; the page says everything without them.
(() => {
  // The theme button: until it is pressed the system's own setting holds.
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const say = () => {
    button.setAttribute("aria-pressed", String(dark()));
  };
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    say();
  });
  system.addEventListener("change", say);
  button.hidden = false;
  say();

  // The contents mark the section that is being read.
  const links = new Map();
  for (const link of document.querySelectorAll("nav a")) {
    links.set(decodeURIComponent(link.hash.slice(1)), link);
  }
  const seen = new Set();
  const watch = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (entry.isIntersecting) seen.add(entry.target.id);
        else seen.delete(entry.target.id);
      }
      let current = null;
      for (const [id, link] of links) {
        link.removeAttribute("aria-current");
        if (current === null && seen.has(id)) current = link;
      }
      if (current) current.setAttribute("aria-current", "true");
    },
    { rootMargin: "-15% 0px -55% 0px" },
  );
  for (const id of links.keys()) {
    const target = document.getElementById(id);
    if (target) watch.observe(target);
  }

  // On paper nothing can be unfolded.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const one of folded) one.open = true;
  });
  addEventListener("afterprint", () => {
    for (const one of folded) one.open = false;
  });
})();
