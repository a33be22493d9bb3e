"use strict";

// Chapter "Is there any difference between operators at all?": the exact null distribution of the
// likelihood-ratio statistic T in a balanced layout, χ² with 1 df, and the mixture.
// data-groups, data-size: the design; data-statistic: the observed T.

// The null distribution of T: T rises with F from F = a / (a − 1) on and is zero below.
Interactive.nullDistribution = (groups, size) => {
  const total = groups * size;
  const [df1, df2] = [groups - 1, total - groups];
  const threshold = groups / (groups - 1);
  // Equation of the chapter, with x = SSA / SSE = F (a − 1) / (N − a).
  const statistic = f => {
    const x = (f * df1) / df2;
    if (f <= threshold) return 0;
    return total * Math.log((1 + x) / total) + df2 * Math.log(df2) - groups * Math.log(x / groups);
  };
  const slope = f => total / (df2 / df1 + f) - groups / f; // dT / dF
  const ratio = t => { // the F that gives T = t > 0
    let [low, high] = [threshold, 2 * threshold];
    while (statistic(high) < t) high *= 2;
    for (let i = 0; i < 100; i += 1) {
      const middle = (low + high) / 2;
      if (statistic(middle) < t) low = middle;
      else high = middle;
    }
    return high;
  };
  return {
    statistic,
    massAtZero: 1 - Interactive.fTail(threshold, df1, df2),
    tail: t => (t > 0 ? Interactive.fTail(ratio(t), df1, df2) : 1),
    density: t => {
      const f = ratio(t);
      return Interactive.fDensity(f, df1, df2) / slope(f); // the density of F, transformed
    },
  };
};

Interactive.figures["null-distribution"] = data => {
  const { number, range, Plot, nullDistribution, chi2Tail, chi2Density } = Interactive;
  const observed = Number(data.statistic);
  const largest = 8;
  // Densities grow without bound towards zero: more points there.
  const grid = range(0.1, Math.sqrt(largest), 150).map(root => root ** 2);
  const names = ["exact", "χ², 1 df", "mixture"];

  const draw = ({ groups, size, statistic }, width) => {
    const exact = nullDistribution(groups, size);
    const [left, right] = [70, width - 12];
    const x = [-0.8, largest];
    const upper = new Plot({ left, right, top: 12, bottom: 190, x, y: [0, 1] });
    const lower = new Plot({ left, right, top: 216, bottom: 410, x, y: [-4, 0] });
    const densities = [exact.density, chi2Density, t => chi2Density(t) / 2];
    const tails = [exact.tail, chi2Tail, t => chi2Tail(t) / 2];
    const zero = exact.massAtZero;
    // What lies at zero is drawn as bars, side by side to the left of it.
    const spikes = [[-0.5, 0.5, 2], [-0.2, zero, 0]]
      .map(([at, mass, i]) => upper.line([[at, 0], [at, mass]], `style-${i} spike`));
    const marks = tails.map((tail, i) => {
      const height = statistic > 0 ? Math.log10(tail(statistic)) : 0;
      return lower.marker(["triangle", "circle", "square"][i], statistic, height, `style-${i}`);
    });
    return {
      height: 460,
      svg: upper.axes({ yTicks: [0, 0.2, 0.4, 0.6, 0.8, 1].map(y => [y, number(y, 1)]), yLabel: "density, mass at 0" })
        + lower.axes({
          xTicks: range(0, largest, 5).map(t => [t, number(t, 0)]),
          yTicks: [-4, -3, -2, -1, 0].map(y => [y, number(10 ** y, -y)]),
          xLabel: "likelihood-ratio statistic T",
          yLabel: "probability of T or more",
        })
        + spikes.join("")
        + densities.map((density, i) => upper.line(grid.map(t => [t, density(t)]), `style-${i}`)).join("")
        + tails.map((tail, i) => lower.line(grid.map(t => [t, Math.log10(tail(t))]), `style-${i}`)).join("")
        + `<path class="axis" d="M${upper.across(statistic)},${upper.top}V${lower.bottom}"/>`
        + marks.join("")
        + upper.legend(names.map((name, i) => [name, `style-${i}`]), width - 135, 24)
          + `<text x="${width - 93}" y="89">bars: T = 0</text>`,
    };
  };

  const describe = ({ groups, size, statistic }) => {
    const exact = nullDistribution(groups, size);
    const p = tail => number(statistic > 0 ? tail(statistic) : 1, 4);
    return `${groups} operators with ${size} sheets each. The statistic is zero with probability ${number(exact.massAtZero, 4)}; `
      + `the mixture says 0.5. For T = ${number(statistic, 4)} the exact p is ${p(exact.tail)}; `
      + `the mixture says ${p(t => chi2Tail(t) / 2)}, and χ² ${p(chi2Tail)}.`;
  };

  return {
    title: "Move the design and the statistic",
    alt: "Above, three densities of the statistic with their masses at zero as vertical bars; below, the probability of a statistic at least as large, where three marks show the p values of the observed one.",
    sliders: [
      { name: "groups", label: "Operators: a =", min: 2, max: 60, start: Number(data.groups), value: Number, text: String },
      { name: "size", label: "Sheets of each: n =", min: 2, max: 30, start: Number(data.size), value: Number, text: String },
      {
        name: "statistic",
        label: "Observed statistic: T =",
        min: 0, max: 75, start: 25, // the observed one at step 25
        value: step => (observed * step) / 25,
        text: statistic => number(statistic, 2),
      },
    ],
    draw,
    describe,
  };
};
