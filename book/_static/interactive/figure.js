"use strict";

// What all interactive figures share: sliders, a drawing, its numbers in words, and distributions.
//
// A page says <div data-interactive="name" data-…="numbers">; the script name.js defines
// Interactive.figures.name, which takes those numbers and returns what `show` needs. Without
// scripts the text within the <div> stays, and the figure drawn by matplotlib above it.

const Interactive = { figures: {} };

Interactive.number = (value, digits) => value.toFixed(digits).replace(/^-(0(\.0*)?)$/, "$1").replace("-", "−");

Interactive.range = (from, to, count) => Array.from({ length: count }, (_, i) => from + ((to - from) * i) / (count - 1));

// A rectangle of the drawing with a scale on each side; everything it returns is SVG as text.
Interactive.Plot = class {
  constructor({ left, right, top, bottom, x, y }) {
    Object.assign(this, { left, right, top, bottom, x, y });
  }

  across(x) {
    return this.left + ((x - this.x[0]) / (this.x[1] - this.x[0])) * (this.right - this.left);
  }

  up(y) {
    return this.bottom - ((y - this.y[0]) / (this.y[1] - this.y[0])) * (this.bottom - this.top);
  }

  // Ticks are pairs of a value and what is written beside it.
  axes({ xTicks = [], yTicks = [], xLabel = "", yLabel = "" }) {
    const { left, right, top, bottom } = this;
    const middle = (top + bottom) / 2;
    return [
      `<path class="axis" d="M${left},${top}V${bottom}H${right}"/>`,
      ...xTicks.map(([x, name]) => `<path class="axis" d="M${this.across(x)},${bottom}v5"/>`
        + `<text x="${this.across(x)}" y="${bottom + 20}" text-anchor="middle">${name}</text>`),
      ...yTicks.map(([y, name]) => `<path class="axis" d="M${left},${this.up(y)}h-5"/>`
        + `<text x="${left - 9}" y="${this.up(y) + 5}" text-anchor="end">${name}</text>`),
      `<text x="${(left + right) / 2}" y="${bottom + 42}" text-anchor="middle">${xLabel}</text>`,
      `<text transform="translate(14 ${middle}) rotate(-90)" text-anchor="middle">${yLabel}</text>`,
    ].join("");
  }

  // Points outside of the rectangle are left out.
  line(points, style) {
    const inside = points.filter(([x, y]) => x >= this.x[0] && x <= this.x[1] && y >= this.y[0] && y <= this.y[1]);
    const steps = inside.map(([x, y]) => `${this.across(x).toFixed(2)},${this.up(y).toFixed(2)}`);
    return steps.length ? `<path class="line ${style}" d="M${steps.join("L")}"/>` : "";
  }

  marker(shape, x, y, style) {
    const outline = Interactive.MARKERS[shape];
    const place = `translate(${this.across(x)} ${this.up(y)})`;
    return `<path class="marker ${style}" data-x="${x}" data-y="${y}" transform="${place}" d="${outline}"/>`;
  }

  text(x, y, words, { anchor = "start", dx = 0, dy = 0 } = {}) {
    return `<text x="${this.across(x) + dx}" y="${this.up(y) + dy}" text-anchor="${anchor}">${words}</text>`;
  }

  legend(entries, x, y) {
    return entries.map(([words, style], i) => `<path class="line ${style}" d="M${x},${y + 20 * i}h34"/>`
      + `<text x="${x + 42}" y="${y + 20 * i + 5}">${words}</text>`).join("");
  }
};

Interactive.MARKERS = {
  circle: "M-5,0a5,5 0 1,0 10,0a5,5 0 1,0 -10,0z",
  square: "M-5,-5h10v10h-10z",
  triangle: "M0,-6L6,5H-6z",
  diamond: "M0,-7L6,0L0,7L-6,0z",
};

// log Γ(x) for x > 0: Stirling's series from 10 on, and x Γ(x) = Γ(x + 1) below.
Interactive.logGamma = x => {
  if (x < 10) return Interactive.logGamma(x + 1) - Math.log(x);
  const series = 1 / 12 - (1 / 360 - (1 / 1260 - (1 / 1680 - 1 / (1188 * x * x)) / (x * x)) / (x * x)) / (x * x);
  return (x - 0.5) * Math.log(x) - x + 0.5 * Math.log(2 * Math.PI) + series / x;
};

// The incomplete beta ratio I_x(p, q), by its continued fraction (DLMF 8.17.22) from the far end.
Interactive.betaRatio = (x, p, q) => {
  if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
  if (x > (p + 1) / (p + q + 2)) return 1 - Interactive.betaRatio(1 - x, q, p);
  let fraction = 1;
  for (let m = 300; m >= 1; m -= 1) {
    const even = (m * (q - m) * x) / ((p + 2 * m - 1) * (p + 2 * m));
    const odd = (-(p + m - 1) * (p + q + m - 1) * x) / ((p + 2 * m - 2) * (p + 2 * m - 1));
    fraction = 1 + odd / (1 + even / fraction);
  }
  const { logGamma } = Interactive;
  const front = logGamma(p + q) - logGamma(p) - logGamma(q) + p * Math.log(x) + q * Math.log1p(-x);
  return Math.exp(front) / (p * fraction);
};

// P(F ≥ f), by way of SSE / (SSA + SSE), which has a beta distribution.
Interactive.fTail = (f, df1, df2) => Interactive.betaRatio(df2 / (df2 + df1 * f), df2 / 2, df1 / 2);

Interactive.fDensity = (f, df1, df2) => {
  const { logGamma } = Interactive;
  const constant = logGamma((df1 + df2) / 2) - logGamma(df1 / 2) - logGamma(df2 / 2) + (df1 / 2) * Math.log(df1 / df2);
  return Math.exp(constant + (df1 / 2 - 1) * Math.log(f) - ((df1 + df2) / 2) * Math.log1p((df1 * f) / df2));
};

// P(χ² ≥ t) with 1 df: twice the upper tail of the normal, by its series.
Interactive.chi2Tail = t => {
  const z = Math.sqrt(t);
  let [term, sum] = [z, z];
  for (let i = 1; i < 100; i += 1) {
    term *= t / (2 * i + 1);
    sum += term;
  }
  return 1 - Math.sqrt(2 / Math.PI) * Math.exp(-t / 2) * sum;
};

Interactive.chi2Density = t => Math.exp(-t / 2) / Math.sqrt(2 * Math.PI * t);

// Builds one figure: `sliders` say what can be moved, `draw(values, width)` returns {height, svg},
// and `describe(values)` says in words what the drawing shows. `actions` are further buttons, and
// `changed(back)` hears that a slider was moved, or everything put back.
Interactive.show = (host, { title, alt, sliders, draw, describe, back = "Back to the pulp", actions = [], changed = () => {} }) => {
  const id = name => `${host.dataset.interactive}-${name}`;
  host.setAttribute("role", "group");
  host.setAttribute("aria-label", title);
  host.innerHTML = `<p class="title">${title}</p>
    <div class="controls">${sliders.map(({ name, label, min, max, start }) => `
      <div><label for="${id(name)}">${label}</label> <b aria-hidden="true"></b>
      <input type="range" id="${id(name)}" min="${min}" max="${max}" step="1" value="${start}"></div>`).join("")}
      <div class="buttons"><button type="button">${back}</button>
      ${actions.map(({ label }) => `<button type="button">${label}</button>`).join("")}</div></div>
    <svg role="img"></svg>
    <p class="words" aria-live="polite"></p>`;
  const inputs = [...host.querySelectorAll("input")];
  const svg = host.querySelector("svg");
  svg.setAttribute("aria-label", alt);

  const update = () => {
    const values = {};
    inputs.forEach((input, i) => {
      const { name, value, text } = sliders[i];
      values[name] = value(Number(input.value));
      const shown = text(values[name]);
      input.setAttribute("aria-valuetext", shown);
      input.previousElementSibling.textContent = shown;
    });
    // Drawn in the pixels of the page, so that its letters are never smaller than the text's.
    const width = Math.max(280, Math.min(640, host.querySelector(".controls").clientWidth));
    const { height, svg: drawing } = draw(values, width);
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("width", width);
    svg.setAttribute("height", height);
    svg.innerHTML = drawing;
    const words = describe(values);
    const box = host.querySelector(".words");
    if (box.textContent !== words) box.textContent = words;
  };

  for (const input of inputs) {
    input.addEventListener("input", () => {
      changed(false);
      update();
    });
  }
  const [start, ...others] = host.querySelectorAll("button");
  start.addEventListener("click", () => {
    inputs.forEach((input, i) => { input.value = sliders[i].start; });
    changed(true);
    update();
  });
  others.forEach((button, i) => button.addEventListener("click", () => {
    const values = inputs.map((input, k) => [sliders[k].name, sliders[k].value(Number(input.value))]);
    actions[i].act(Object.fromEntries(values));
    update();
  }));
  addEventListener("resize", update);
  update();
};

addEventListener("DOMContentLoaded", () => {
  for (const host of document.querySelectorAll("[data-interactive]")) {
    Interactive.show(host, Interactive.figures[host.dataset.interactive](host.dataset));
  }
});
