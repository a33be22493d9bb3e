"use strict";

// Pages opened from disk may not read each other, so search shows titles without excerpts there.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// Formulas are not as long as their source: the text waits for them, or it would jump.
const waiting = document.documentElement.classList;
if (window.MathJax) waiting.add("maths-pending");
addEventListener("DOMContentLoaded", async () => {
  await Promise.race([window.MathJax?.startup?.promise, new Promise(done => setTimeout(done, 3000))]);
  waiting.remove("maths-pending");
});

// What scrolls sideways can be reached by keyboard; what is wide depends on the window.
const SCROLLERS = "pre, mjx-container[display], .cell_output, .text_html, .admonition, .pst-scrollable-table-container";

function letScrollersBeReached() {
  for (const element of document.querySelectorAll(SCROLLERS)) {
    const scrolls = getComputedStyle(element).overflowX !== "visible" && element.scrollWidth > element.clientWidth;
    if (scrolls) element.tabIndex = 0;
    else element.removeAttribute("tabindex");
  }
}

addEventListener("load", async () => {
  await window.MathJax?.startup?.promise;
  letScrollersBeReached();
  addEventListener("resize", letScrollersBeReached);
  // What a closed dropdown holds has no width until it is opened.
  document.addEventListener("toggle", letScrollersBeReached, true);
});

// On paper nothing is closed: code of figures and solutions are printed, and closed again.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const box of opened) box.open = true;
});
addEventListener("afterprint", () => {
  for (const box of opened) box.open = false;
});
