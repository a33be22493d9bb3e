"use strict";

// Chapter "How big are the two variances?": both profiled objectives as the operators' means move.
// data-groups, data-size: the balanced design; data-ssa, data-sse: its sums of squares.

// Minus twice the profiled log-likelihood at θ, less its value at θ = 0. In a balanced layout, with
// λ = 1 + nθ² and r² = SSE + SSA/λ: a log λ + N log r² for ML, (a − 1) log λ + (N − 1) log r² for REML.
Interactive.profiledObjective = (theta, { ssa, sse, groups, size, reml }) => {
  const lambda = 1 + size * theta ** 2;
  const lost = reml ? 1 : 0;
  const gain = (groups * size - lost) * Math.log((sse + ssa / lambda) / (sse + ssa));
  return (groups - lost) * Math.log(lambda) + gain;
};

// Its lowest point: λ = (SSA / a) / MSE for ML and MSA / MSE for REML, but never below 1.
Interactive.bestTheta = ({ ssa, sse, groups, size, reml }) => {
  const mse = sse / (groups * (size - 1));
  const lambda = ssa / (groups - (reml ? 1 : 0)) / mse;
  return Math.sqrt(Math.max(lambda - 1, 0) / size);
};

Interactive.figures.likelihood = data => {
  const { number, range, Plot, profiledObjective, bestTheta } = Interactive;
  const [groups, size, sse] = [data.groups, data.size, data.sse].map(Number);
  const layout = (spread, reml) => ({ ssa: Number(data.ssa) * spread ** 2, sse, groups, size, reml });
  const ratio = spread => layout(spread).ssa / (groups - 1) / (sse / (groups * (size - 1)));
  const curves = [["ML", false, "circle"], ["REML", true, "square"]];

  const draw = ({ spread }, width) => {
    const plot = new Plot({ left: 58, right: width - 12, top: 40, bottom: 290, x: [0, 2.5], y: [-11, 8] });
    const axes = plot.axes({
      xTicks: range(0, 2.5, 6).map(x => [x, number(x, 1)]),
      yTicks: [-10, -5, 0, 5].map(y => [y, number(y, 0)]),
      xLabel: "θ = σ<tspan dy='4' font-size='80%'>α</tspan><tspan dy='-4'> / σ</tspan>",
      yLabel: "objective, less that at θ = 0",
    });
    const drawn = curves.map(([, reml, shape], i) => {
      const at = layout(spread, reml);
      const best = bestTheta(at);
      const points = range(0, 2.5, 251).map(theta => [theta, profiledObjective(theta, at)]);
      return plot.line(points, `style-${i}`) + plot.marker(shape, best, profiledObjective(best, at), `style-${i}`);
    });
    const legend = curves.map(([name], i) => plot.legend([[name, `style-${i}`]], 80 + 110 * i, 16)).join("");
    return { height: 340, svg: axes + plot.line([[0, 0], [2.5, 0]], "thin") + drawn.join("") + legend };
  };

  const describe = ({ spread }) => {
    const [ml, reml] = [false, true].map(which => layout(spread, which));
    const tell = at => {
      const best = bestTheta(at);
      const depth = -profiledObjective(best, at);
      return best > 0 ? `lowest at θ = ${number(best, 4)}, ${number(depth, 4)} below its start` : "lowest at θ = 0, the boundary";
    };
    return `MSA / MSE is ${number(ratio(spread), 2)}. Maximum likelihood: ${tell(ml)}. REML: ${tell(reml)}.`;
  };

  return {
    title: "Move the operators’ means",
    alt: "Two curves over theta that start level at zero: minus twice the log-likelihood and the REML criterion. A circle and a square mark their lowest points.",
    sliders: [
      {
        name: "spread",
        label: "Distance of the operators’ means from the overall mean, in per cent of what was observed:",
        min: 0, max: 150, start: 100,
        value: percent => percent / 100,
        text: spread => `${Math.round(100 * spread)} %`,
      },
    ],
    draw,
    describe,
  };
};
