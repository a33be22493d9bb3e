"use strict";

// Chapter "What is operator b like?": deviations as fixed effects, and as predicted random effects.
// data-names, data-deviations: operators and their deviations; data-size: sheets of each;
// data-ratio: the estimate of σ_α²/σ².

// k = nσ_α² / (nσ_α² + σ²), written with the ratio σ_α²/σ².
Interactive.shrinkageFactor = (ratio, size) => (size * ratio) / (size * ratio + 1);

Interactive.figures.shrinkage = data => {
  const { number, Plot, shrinkageFactor } = Interactive;
  const names = data.names.split(" ");
  const deviations = data.deviations.split(" ").map(Number);
  const shapes = ["circle", "square", "triangle", "diamond"];
  const least = -40;
  const low = deviations.indexOf(Math.min(...deviations));

  const draw = ({ ratio, size }, width) => {
    const k = shrinkageFactor(ratio, size);
    const plot = new Plot({ left: 70, right: width - 12, top: 34, bottom: 290, x: [-0.35, 1.45], y: [-0.4, 0.4] });
    const axes = plot.axes({
      xTicks: [[0, "fixed effect"], [1, "random effect"]],
      yTicks: [-0.4, -0.2, 0, 0.2, 0.4].map(y => [y, number(y, 1)]),
      yLabel: "deviation from the mean",
    });
    const operators = deviations.map((deviation, i) => plot.line([[0, deviation], [1, k * deviation]], `style-${i}`)
      + plot.marker(shapes[i % 4], 0, deviation, `style-${i} fixed`)
      + plot.marker(shapes[i % 4], 1, k * deviation, `style-${i} random`)
      + plot.text(0, deviation, names[i], { anchor: "end", dx: -14, dy: 5 }));
    // Where random effects nearly meet, their numbers would cover each other.
    const apart = Math.min(...deviations.map((d, i) => Math.min(...deviations.slice(i + 1).map(e => Math.abs(d - e)))));
    const labels = deviations.map(d => plot.text(1, k * d, number(k * d, 2), { dx: 14, dy: 5 }));
    return {
      height: 320,
      svg: axes + plot.line([[-0.35, 0], [1.45, 0]], "thin") + operators.join("")
        + (k * apart > 0.045 ? labels.join("") : "")
        + `<text x="${width / 2 + 30}" y="20" text-anchor="middle">shrinkage factor k = ${number(k, 3)}</text>`,
    };
  };

  const describe = ({ ratio, size }) => {
    const k = shrinkageFactor(ratio, size);
    const b = deviations[low];
    const pooled = "Every operator is predicted by the mean of all: complete pooling.";
    const moved = `Operator ${names[low]} moves from ${number(b, 3)} to ${number(k * b, 3)}, and every fixed effect `
      + `is ${number(1 / k, 4)} times the random effect.`;
    const sheets = size === 1 ? "1 sheet" : `${size} sheets`;
    return `With a variance ratio of ${text(ratio)} and ${sheets} of each operator the shrinkage factor is ${number(k, 3)}. `
      + (k > 0 ? moved : pooled);
  };

  const text = ratio => (ratio === 0 ? "0" : number(ratio, ratio < 0.1 ? 3 : ratio < 10 ? 2 : 0));

  return {
    title: "Move the variances",
    alt: "Each operator's deviation as a fixed effect on the left, joined by a line to its predicted random effect on the right.",
    sliders: [
      {
        name: "ratio",
        label: "Variance between operators, as a multiple of the variance within: σ<sub>α</sub>² / σ² =",
        // Twenty steps for a factor of ten, the estimate in the middle, zero at the left end.
        min: least, max: 40, start: 0,
        value: step => (step === least ? 0 : Number(data.ratio) * 10 ** (step / 20)),
        text,
      },
      { name: "size", label: "Sheets of each operator: n =", min: 1, max: 30, start: Number(data.size), value: Number, text: String },
    ],
    draw,
    describe,
  };
};
