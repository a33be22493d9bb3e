"use strict";

// The keys of every presentation turn the slides.
addEventListener("keydown", event => {
  const step = { ArrowRight: 1, PageDown: 1, " ": 1, ArrowLeft: -1, PageUp: -1 }[event.key];
  if (!step || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  const slides = [...document.querySelectorAll(".slide")];
  const here = slides.findLastIndex(slide => slide.getBoundingClientRect().top < innerHeight / 2);
  slides[Math.min(Math.max(here + step, 0), slides.length - 1)].scrollIntoView();
});

// Formulas that are wider than the screen scroll, by the keys too.
const reach = () => {
  for (const formula of document.querySelectorAll(".math"))
    if (formula.scrollWidth > formula.clientWidth) formula.tabIndex = 0;
    else formula.removeAttribute("tabindex");
};
addEventListener("resize", reach);
addEventListener("load", () => window.MathJax?.startup.promise.then(reach));
