"use strict";

// Chapters 1 to 6: a pulp mill whose truth the reader sets, and what the analysis makes of its sheets.
// data-panes: "sheets" and one of the analyses below; data-groups, data-size: the design;
// data-mu, data-between, data-within: the mean and both standard deviations at the start.

// Uniform numbers from a seed (mulberry32), so that an experiment can be run again.
Interactive.uniforms = seed => () => {
  seed = (seed + 0x6d2b79f5) | 0;
  let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
};

// Standard normal numbers from uniform ones (Box and Muller).
Interactive.normals = uniform => () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());

// One experiment, measured from the general mean: sheets of each operator, and what is to be predicted.
Interactive.runMill = ({ groups, size, between, within }, seed) => {
  const normal = Interactive.normals(Interactive.uniforms(seed));
  const effects = Array.from({ length: groups }, () => between * normal());
  const sheets = effects.map(effect => Array.from({ length: size }, () => effect + within * normal()));
  const stranger = between * normal();
  const targets = [0, effects[0], effects[0] + within * normal(), stranger, stranger + within * normal()];
  return { effects, sheets, targets };
};

// The analyses of the chapters in the balanced one-way layout, in closed form.
Interactive.analyseMill = sheets => {
  const { fTail, chi2Tail } = Interactive;
  const mean = values => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [groups, size] = [sheets.length, sheets[0].length];
  const total = groups * size;
  const means = sheets.map(mean);
  const grand = mean(means);
  const ssa = size * means.reduce((sum, value) => sum + (value - grand) ** 2, 0);
  const sse = sheets.reduce((sum, of, i) => sum + of.reduce((part, y) => part + (y - means[i]) ** 2, 0), 0);
  const [df1, df2] = [groups - 1, total - groups];
  const [msa, mse] = [ssa / df1, sse / df2];
  const f = msa / mse;
  const anova = (msa - mse) / size;
  const ml = Math.max((ssa / groups - mse) / size, 0);
  const reml = Math.max(anova, 0);
  const lrt = ml > 0
    ? total * Math.log((ssa + sse) / total) - df2 * Math.log(mse) - groups * Math.log(ssa / groups)
    : 0;
  const pF = fTail(f, df1, df2);
  const resid = reml > 0 ? mse : (ssa + sse) / (total - 1);
  const k = (size * reml) / (size * reml + resid);
  const blups = means.map(value => k * (value - grand));
  const varMu = (size * reml + resid) / total;
  const own = (k * resid) / size + (1 - k) ** 2 * varMu;
  const intervals = [[grand, varMu], [grand + blups[0], own], [grand + blups[0], own + resid],
    [grand, varMu + reml], [grand, varMu + reml + resid]]
    .map(([centre, variance]) => [centre, 1.959964 * Math.sqrt(variance)]);
  return {
    groups, size, means, grand, ssa, sse, msa, mse, f, pF, anova, ml, reml, lrt, resid, k, blups, intervals,
    // The mixture and the exact test give p = 1 to a statistic of zero.
    tests: lrt > 0 ? [chi2Tail(lrt), chi2Tail(lrt) / 2, pF] : [1, 1, 1],
  };
};

// What a thousand experiments leave behind: for each the F ratio, estimates, tests, errors, hits.
Interactive.tallyMill = (values, seed, count) => {
  const tally = { count, f: [], estimates: [0, 0, 0], zeros: [0, 0, 0], significant: [0, 0, 0], squares: [0, 0], hits: [0, 0, 0, 0, 0] };
  for (let i = 0; i < count; i += 1) {
    const experiment = Interactive.runMill(values, seed + i);
    const found = Interactive.analyseMill(experiment.sheets);
    tally.f.push(found.f);
    [found.anova, found.ml, found.reml].forEach((estimate, j) => {
      tally.estimates[j] += estimate / count;
      tally.zeros[j] += (estimate <= 0) / count;
    });
    found.tests.forEach((p, j) => { tally.significant[j] += (p < 0.05) / count; });
    experiment.effects.forEach((effect, j) => {
      const errors = [found.means[j] - found.grand - effect, found.blups[j] - effect];
      errors.forEach((error, which) => { tally.squares[which] += error ** 2 / count / found.groups; });
    });
    found.intervals.forEach(([centre, reach], j) => {
      tally.hits[j] += (Math.abs(experiment.targets[j] - centre) <= reach) / count;
    });
  }
  return tally;
};

Interactive.TARGETS = ["mean of all operators", "mean of operator a", "new sheet of operator a", "mean of a new operator", "new sheet of a new operator"];

// Each pane draws below the sheets and says what it shows; `top` is where it may begin.
Interactive.millPanes = {
  sheets: null,

  anova: {
    height: 190,
    draw: ({ found, tally }, { left, right, top }) => {
      const { Plot, range, number } = Interactive;
      const most = 12;
      const plot = new Plot({ left, right, top: top + 24, bottom: top + 140, x: [0, most], y: [0, 1] });
      const bins = range(0, most - 0.5, 24).map(from => (tally ? tally.f.filter(f => f >= from && f < from + 0.5).length / tally.count : 0));
      const tallest = Math.max(...bins, 1e-9);
      const bars = bins.map((share, i) => `<rect class="bars" x="${plot.across(i / 2)}" y="${plot.up(share / tallest)}"`
        + ` width="${(right - left) / 24 - 1}" height="${plot.bottom - plot.up(share / tallest)}"/>`);
      return plot.axes({ xTicks: range(0, most, 5).map(x => [x, number(x, 0)]), xLabel: "F" })
        + (tally ? bars.join("") : "")
        + plot.line([[1, 0], [1, 1]], "thin")
        + plot.marker("diamond", Math.min(found.f, most), 0.5, "style-1")
        + `<text x="4" y="${top + 14}">diamond: F of this experiment</text>`;
    },
    describe: ({ found, tally }, { number }) => `F = ${number(found.f, 2)}, p = ${number(found.pF, 4)}. `
      + `Intraclass correlation estimated as ${number(found.reml / (found.reml + found.resid), 2)}.`
      + (tally ? ` Of ${tally.count} experiments, ${number(100 * tally.significant[2], 1)}% had p below 0.05.` : ""),
  },

  estimates: {
    height: 200,
    draw: ({ found, tally, values }, { left, right, top }) => {
      const { Plot, number, range } = Interactive;
      const truth = values.between ** 2;
      const most = Math.max(4 * truth, 0.4 * values.within ** 2, 1e-6);
      const plot = new Plot({ left: left + 10, right, top: top + 26, bottom: top + 146, x: [-most / 4, most], y: [0, 4] });
      const rows = [["ANOVA", found.anova, "circle"], ["ML", found.ml, "square"], ["REML", found.reml, "triangle"]];
      const clamp = x => Math.max(-most / 4, Math.min(most, x));
      return plot.axes({ xTicks: range(0, most, 3).map(x => [x, number(x, 3)]), yTicks: rows.map(([name], i) => [3 - i, name]), xLabel: "estimate of the variance between operators" })
        + plot.line([[truth, 0], [truth, 4]], "thin")
        + (tally ? tally.estimates.map((mean, i) => plot.line([[clamp(mean), 2.6 - i], [clamp(mean), 3.4 - i]], "style-1 spike")).join("") : "")
        + rows.map(([, estimate, shape], i) => plot.marker(shape, clamp(estimate), 3 - i, "style-0")).join("")
        + `<text x="4" y="${top + 14}">dashed: the truth${tally ? "; bars: averages" : ""}</text>`;
    },
    describe: ({ found, tally, values }, { number }) => `True variance between operators ${number(values.between ** 2, 4)}. `
      + `ANOVA ${number(found.anova, 4)}, ML ${number(found.ml, 4)}, REML ${number(found.reml, 4)}.`
      + (tally ? ` Averages of ${tally.count} experiments: ${tally.estimates.map(mean => number(mean, 4)).join(", ")}; `
        + `zero or below in ${tally.zeros.map(share => `${number(100 * share, 0)}%`).join(", ")}.` : ""),
  },

  tests: {
    height: 200,
    draw: ({ found, tally }, { left, right, top }) => {
      const { Plot, number } = Interactive;
      const plot = new Plot({ left: left + 22, right, top: top + 26, bottom: top + 146, x: [0, 1], y: [0, 4] });
      const rows = [["χ²", "circle"], ["mixture", "square"], ["exact", "triangle"]];
      return plot.axes({ xTicks: [0, 0.25, 0.5, 0.75, 1].map(x => [x, number(x, 2)]), yTicks: rows.map(([name], i) => [3 - i, name]), xLabel: tally ? "p-value; share of p < 0.05" : "p-value" })
        + plot.line([[0.05, 0], [0.05, 4]], "thin")
        + (tally ? tally.significant.map((share, i) => plot.line([[0, 2.75 - i], [share, 2.75 - i]], "style-1 spike")).join("") : "")
        + rows.map(([, shape], i) => plot.marker(shape, found.tests[i], 3 - i, "style-0")).join("")
        + `<text x="4" y="${top + 14}">dashed: 0.05${tally ? "; bars: shares below 0.05" : ""}</text>`;
    },
    describe: ({ found, tally }, { number }) => `T = ${number(found.lrt, 4)}. p-values: χ² ${number(found.tests[0], 4)}, `
      + `mixture ${number(found.tests[1], 4)}, exact ${number(found.tests[2], 4)}.`
      + (tally ? ` Of ${tally.count} experiments, p was below 0.05 in ${tally.significant.map(share => `${number(100 * share, 1)}%`).join(", ")}.` : ""),
  },

  blups: {
    height: 250,
    draw: ({ found, effects, values }, { left, right, top }) => {
      const { Plot, number } = Interactive;
      const most = 3 * Math.max(values.between, values.within / Math.sqrt(found.size), 0.05);
      const clamp = y => Math.max(-most, Math.min(most, y));
      const plot = new Plot({ left, right, top: top + 26, bottom: top + 210, x: [0, found.groups + 1], y: [-most, most] });
      const drawn = effects.map((effect, i) => plot.line([[i + 0.6, clamp(effect)], [i + 1.4, clamp(effect)]], "style-2")
        + plot.marker("circle", i + 0.9, clamp(found.means[i] - found.grand), "style-0 own")
        + plot.marker("square", i + 1.1, clamp(found.blups[i]), "style-1 blup"));
      return plot.axes({ yTicks: [-most, 0, most].map(y => [y, number(y, 2)]), yLabel: "deviation" })
        + plot.line([[0, 0], [found.groups + 1, 0]], "thin") + drawn.join("")
        + `<text x="4" y="${top + 14}">circle: own mean, square: BLUP, bar: truth</text>`;
    },
    describe: ({ found, tally }, { number }) => `Shrinkage factor estimated as ${number(found.k, 3)}.`
      + (tally ? ` Root mean squared error in ${tally.count} experiments: own means ${number(Math.sqrt(tally.squares[0]), 4)}, BLUPs ${number(Math.sqrt(tally.squares[1]), 4)}.` : ""),
  },

  intervals: {
    height: 250,
    draw: ({ found, targets, values }, { left, right, top }) => {
      const { Plot, number } = Interactive;
      const most = 4.2 * Math.hypot(values.between, values.within);
      const clamp = x => Math.max(-most, Math.min(most, x));
      const plot = new Plot({ left, right, top: top + 26, bottom: top + 206, x: [-most, most], y: [0, 6] });
      const drawn = found.intervals.map(([centre, reach], i) => {
        const hit = Math.abs(targets[i] - centre) <= reach;
        return plot.line([[clamp(centre - reach), 5 - i], [clamp(centre + reach), 5 - i]], hit ? "style-0 spike" : "miss spike")
          + plot.marker(hit ? "circle" : "diamond", clamp(targets[i]), 5 - i, hit ? "style-2" : "style-1")
          + plot.text(-most, 5.35 - i, Interactive.TARGETS[i], { dx: 6 });
      });
      return plot.axes({ xTicks: [-most, 0, most].map(x => [x, number(x, 1)]), xLabel: "deviation from the general mean" })
        + plot.line([[0, 0], [0, 6]], "thin") + drawn.join("")
        + `<text x="4" y="${top + 14}">circle: target hit, diamond: missed</text>`;
    },
    describe: ({ found, targets, tally }, { number }) => {
      const missed = Interactive.TARGETS.filter((_, i) => Math.abs(targets[i] - found.intervals[i][0]) > found.intervals[i][1]);
      return (missed.length ? `Missed: ${missed.join(", ")}.` : "All five intervals hit their targets.")
        + (tally ? ` Coverage in ${tally.count} experiments: ${tally.hits.map((share, i) => `${Interactive.TARGETS[i]} ${number(100 * share, 1)}%`).join(", ")}.` : "");
    },
  },
};

Interactive.figures.mill = data => {
  const { number, range, Plot, runMill, analyseMill, tallyMill, millPanes } = Interactive;
  const mu = Number(data.mu);
  const pane = millPanes[data.panes.split(" ")[1]];
  const start = { between: Math.round(100 * Number(data.between)), within: Math.round(100 * Number(data.within)) };
  const state = { seed: 1, tally: null };

  const look = values => {
    const experiment = runMill(values, state.seed);
    return { ...experiment, values, tally: state.tally, found: analyseMill(experiment.sheets) };
  };

  const draw = (values, width) => {
    const seen = look(values);
    const { sheets, effects, found } = seen;
    const most = 3.2 * Math.hypot(values.between, values.within);
    const clamp = y => Math.max(-most, Math.min(most, y));
    const [left, right] = [58, width - 20];
    const plot = new Plot({ left, right, top: 26, bottom: 190, x: [0, found.groups + 1], y: [-most, most] });
    const points = sheets.map((of, i) => of.map((y, j) => `<circle class="sheet" r="3"`
      + ` cx="${plot.across(i + 1 + (0.5 * (j + 1)) / (found.size + 1) - 0.25).toFixed(1)}" cy="${plot.up(clamp(y)).toFixed(1)}"/>`).join(""));
    const bars = effects.map((effect, i) => plot.line([[i + 0.6, clamp(found.means[i])], [i + 1.4, clamp(found.means[i])]], "style-0")
      + plot.line([[i + 0.6, clamp(effect)], [i + 1.4, clamp(effect)]], "style-2"));
    const upper = plot.axes({ yTicks: range(-most, most, 5).map(y => [y, number(mu + y, 1)]), yLabel: "brightness" })
      + plot.line([[0, 0], [found.groups + 1, 0]], "thin") + points.join("") + bars.join("")
      + `<text x="4" y="14">solid: means, dash-dotted: the truth</text>`
      + `<text x="${(left + right) / 2}" y="210" text-anchor="middle">operators</text>`;
    return { height: 226 + pane.height, svg: upper + pane.draw(seen, { left, right, top: 226 }) };
  };

  const describe = values => {
    const seen = look(values);
    return `Experiment ${state.seed}: ${values.groups} operators, ${values.size} sheets of each, `
      + `standard deviations ${number(values.between, 2)} and ${number(values.within, 2)}. ${pane.describe(seen, Interactive)}`;
  };

  return {
    title: "The mill: set the truth, run the experiment",
    alt: "Above, the sheets of each operator as dots, with the operator's mean and the operator's true mean as bars. Below, what the analysis of this chapter makes of them.",
    sliders: [
      { name: "groups", label: "Operators: a =", min: 2, max: 30, start: Number(data.groups), value: Number, text: String },
      { name: "size", label: "Sheets of each: n =", min: 2, max: 20, start: Number(data.size), value: Number, text: String },
      { name: "between", label: "Standard deviation between operators:", min: 0, max: 100, start: start.between, value: step => step / 100, text: sd => number(sd, 2) },
      { name: "within", label: "Standard deviation between sheets:", min: 5, max: 100, start: start.within, value: step => step / 100, text: sd => number(sd, 2) },
    ],
    actions: [
      { label: "Run the experiment", act: () => { state.seed += 1; state.tally = null; } },
      { label: "Run 1,000", act: values => { state.tally = tallyMill(values, state.seed + 1, 1000); state.seed += 1000; } },
    ],
    changed: back => {
      state.tally = null;
      if (back) state.seed = 1;
    },
    draw,
    describe,
  };
};
