"use strict";

// An answer says at once whether it is right, and why; the line above counts.
addEventListener("DOMContentLoaded", () => {
  const quiz = document.getElementById("quiz");
  const boxes = [...quiz.querySelectorAll("fieldset")];
  const first = new Map();
  quiz.addEventListener("change", event => {
    const label = event.target.closest("label");
    const box = label.closest("fieldset");
    const right = label.dataset.right === "yes";
    if (!first.has(box)) first.set(box, right);
    for (const other of box.querySelectorAll("label")) other.className = "";
    label.className = right ? "right" : "wrong";
    box.querySelector(".comment").textContent = `${right ? "Right" : "Not so"}. ${label.dataset.why}`;
    const points = [...first.values()].filter(Boolean).length;
    quiz.querySelector(".score").textContent =
      `${points} right at the first try, of ${first.size} answered and ${boxes.length} in all.`;
  });
});
