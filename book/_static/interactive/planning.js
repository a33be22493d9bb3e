"use strict";

// Chapter "Planning": power of the t test of a mean slope, for any number of subjects and days.
// data-effect, data-slopes, data-sigma: the slope to detect, the standard deviations of slopes and
// of measurements; data-subjects, data-days: the earlier study.

// P(F ≥ f) for noncentrality λ: the central tails, weighted by a Poisson distribution of mean λ/2.
Interactive.noncentralTail = (f, df1, df2, noncentrality) => {
  const { logGamma, betaRatio } = Interactive;
  const mean = noncentrality / 2;
  if (mean === 0) return Interactive.fTail(f, df1, df2);
  const y = df2 / (df2 + df1 * f);
  const most = Math.ceil(mean + 12 * Math.sqrt(mean) + 40);
  let sum = 0;
  for (let j = 0; j <= most; j += 1) {
    const weight = Math.exp(j * Math.log(mean) - mean - logGamma(j + 1));
    if (weight > 1e-16) sum += weight * betaRatio(y, df2 / 2, df1 / 2 + j);
  }
  return sum;
};

Interactive.fCritical = (alpha, df1, df2) => {
  let [low, high] = [0, 1];
  while (Interactive.fTail(high, df1, df2) > alpha) high *= 2;
  for (let i = 0; i < 80; i += 1) {
    const middle = (low + high) / 2;
    if (Interactive.fTail(middle, df1, df2) > alpha) low = middle;
    else high = middle;
  }
  return high;
};

// Days 0, 1, …: the sum of squares around their mean is n(n² − 1)/12.
Interactive.slopePower = ({ effect, slopes, sigma }, subjects, days) => {
  const variance = (slopes ** 2 + (12 * sigma ** 2) / (days * (days ** 2 - 1))) / subjects;
  const critical = Interactive.fCritical(0.05, 1, subjects - 1);
  return Interactive.noncentralTail(critical, 1, subjects - 1, effect ** 2 / variance);
};

Interactive.figures.planning = data => {
  const { number, range, Plot, slopePower } = Interactive;
  const most = 40;
  const sizes = range(3, most, most - 2);
  const earlier = { subjects: Number(data.subjects), days: Number(data.days) };
  const given = effect => ({ effect, slopes: Number(data.slopes), sigma: Number(data.sigma) });
  const percent = power => `${number(100 * power, 0)}%`;

  const draw = ({ subjects, days, effect }, width) => {
    const plot = new Plot({ left: 70, right: width - 12, top: 60, bottom: 300, x: [2, most], y: [0, 1] });
    const axes = plot.axes({
      xTicks: [10, 20, 30, 40].map(size => [size, String(size)]),
      yTicks: [0, 0.2, 0.4, 0.6, 0.8, 1].map(power => [power, number(power, 1)]),
      xLabel: "subjects",
      yLabel: "power",
    });
    const curve = on => sizes.map(size => [size, slopePower(given(effect), size, on)]);
    const power = slopePower(given(effect), subjects, days);
    return {
      height: 350,
      svg: axes + plot.line([[2, 0.8], [most, 0.8]], "thin")
        + plot.line(curve(days), "style-0") + plot.line(curve(earlier.days), "style-1")
        + plot.marker("circle", subjects, power, "style-0")
        + plot.legend([[`${days} days each`, "style-0"], [`${earlier.days} days, as before`, "style-1"]], 80, 16),
    };
  };

  const describe = ({ subjects, days, effect }) => {
    const power = (size, on) => percent(slopePower(given(effect), size, on));
    const more = Math.round(subjects / days);
    const others = `${more} more ${more === 1 ? "subject" : "subjects"} (${more * days} nights) to ${power(subjects + more, days)}`;
    return `With ${subjects} subjects, each measured on ${days} days, the power to detect a slope of ${number(effect, 1)} ms a day `
      + `is ${power(subjects, days)}. One more day for each subject (${subjects} nights) would bring it to `
      + power(subjects, days + 1) + (more ? `, and ${others}.` : ".");
  };

  return {
    title: "Plan the study",
    back: "Back to the earlier study",
    alt: "Power against the number of subjects: a solid curve for the chosen number of days, with a dot at the chosen study,  "
      + "a dashed curve for the days of the earlier study, and a thin line at 0.8.",
    sliders: [
      { name: "subjects", label: "Subjects: S =", min: 3, max: most, start: earlier.subjects, value: Number, text: String },
      { name: "days", label: "Days for each subject: n =", min: 2, max: 20, start: earlier.days, value: Number, text: String },
      {
        name: "effect",
        label: "Slope that must not be missed: β<sub>1</sub> =",
        min: 2, max: 24, start: 2 * Number(data.effect),
        value: step => step / 2,
        text: effect => `${number(effect, 1)} ms a day`,
      },
    ],
    draw,
    describe,
  };
};
