// The theme's search dialog has no name, and its wide tables cannot be scrolled from the keyboard.
document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
document$.subscribe(() =>
  setTimeout(() => document.querySelectorAll(".md-typeset__scrollwrap, pre").forEach((region) => (region.tabIndex = 0)), 300),
);
