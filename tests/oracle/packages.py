"""Fit the same three models with every Python package that fits linear mixed models, and with lme4.

    python -m tests.oracle.packages

writes `mmlib/data/packages.csv`, a row for each package. The other packages run in the environment
of `tabs/` (`python -m tools.book.tabs --run` with a script of Python makes it), lmerTest in R. All
fits are by REML.
"""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import pandas as pd

DATA = Path(__file__).parents[2] / "mmlib" / "data"
PULP = "bright ~ 1 + (1 | operator)"
ASSAY = "diameter ~ 1 + (1 | plate) + (1 | sample)"
SLEEP = "Reaction ~ Days + (Days | Subject)"
GROUPS = ("operator", "plate", "sample", "Subject")


def read(name: str) -> pd.DataFrame:
    """Return a data set whose groups are text."""
    data = pd.read_csv(DATA / f"{name}.csv")
    return data.assign(**{g: data[g].astype(str) for g in GROUPS if g in data})


def row(operator, plate, sample, covariance, criterion, df):
    """Name what a package gives; variances become standard deviations."""
    (intercept, between), (_, slope) = covariance
    return {
        "sd_operator": operator**0.5,
        "sd_plate": plate**0.5,
        "sd_sample": sample**0.5,
        "sd_intercept": intercept**0.5,
        "sd_slope": slope**0.5,
        "correlation": between / (intercept * slope) ** 0.5,
        "criterion": criterion,
        "df_slope": df,
    }


def with_mmlib(pulp, assay, sleep):
    import mmlib as mm

    crossed, slopes = mm.lmm(ASSAY, assay), mm.lmm(SLEEP, sleep)
    df = slopes.coef_table(ddf="satterthwaite").loc["Days", "df"]
    variances = [mm.lmm(PULP, pulp).varcorr().sd("operator") ** 2]
    variances += [crossed.varcorr().sd(name) ** 2 for name in ("plate", "sample")]
    return row(*variances, slopes.varcorr().terms[0].covariance, -2 * slopes.loglik, df)


def with_statsmodels(pulp, assay, sleep):
    from statsmodels.formula.api import mixedlm

    one = mixedlm("bright ~ 1", pulp, groups="operator").fit()
    components = {name: f"0 + C({name})" for name in ("plate", "sample")}
    together = [1] * len(assay)
    crossed = mixedlm("diameter ~ 1", assay, groups=together, vc_formula=components).fit()
    slopes = mixedlm("Reaction ~ Days", sleep, groups="Subject", re_formula="Days").fit()
    return row(one.cov_re.iloc[0, 0], *crossed.vcomp, slopes.cov_re.values, -2 * slopes.llf, None)


def with_glmm(pulp, assay, sleep):
    import glmm

    slopes = glmm.fit(sleep, SLEEP)
    a, b, c = slopes.varcorr[0]
    (operator,), (plate,), (sample,) = glmm.fit(pulp, PULP).varcorr + glmm.fit(assay, ASSAY).varcorr
    return row(operator, plate, sample, [[a, b], [b, c]], -2 * slopes.loglik, slopes.coef_df[1])


def with_lme_python(pulp, assay, sleep):
    import lme_python
    import polars

    frames = [polars.from_dict(d.to_dict("list")) for d in (pulp, assay, sleep)]
    formulas = (PULP, ASSAY, SLEEP)
    fits = [lme_python.lmer(f, data=d, reml=True) for f, d in zip(formulas, frames, strict=True)]
    (operator,), (plate, sample), (a, c) = map(_variances, fits)
    slopes = fits[2]
    slopes.with_satterthwaite(frames[2])
    between = slopes.theta[0] * slopes.theta[1] * slopes.sigma2
    df = slopes.anova("satterthwaite").den_df[0]
    return row(operator, plate, sample, [[a, between], [between, c]], slopes.reml_criterion, df)


def _variances(fit):
    """Return the variances, from theta: one for each term, or two with a slope."""
    theta = list(fit.theta)
    if fit.formula == SLEEP:
        theta = [theta[0], (theta[1] ** 2 + theta[2] ** 2) ** 0.5]
    return [value**2 * fit.sigma2 for value in theta]


def with_mixedlm(pulp, assay, sleep):
    import mixedlm

    crossed, slopes = mixedlm.lmer(ASSAY, assay), mixedlm.lmer(SLEEP, sleep)
    operator, plate, sample, subject = (
        fit.VarCorr().groups[name].cov
        for fit, name in (
            (mixedlm.lmer(PULP, pulp), "operator"),
            (crossed, "plate"),
            (crossed, "sample"),
            (slopes, "Subject"),
        )
    )
    df = mixedlm.anova_type3(slopes).den_df[0]
    return row(operator[0, 0], plate[0, 0], sample[0, 0], subject, slopes.REMLcrit(), df)


PEERS = {
    "statsmodels": with_statsmodels,
    "glmm": with_glmm,
    "lme-python": with_lme_python,
    "mixedlm": with_mixedlm,
}

R = f"""
suppressPackageStartupMessages(library(lmerTest))
read <- function(name) read.csv(file.path("{DATA}", paste0(name, ".csv")))
fit <- lmer({SLEEP}, read("sleepstudy"))
crossed <- VarCorr(lmer({ASSAY}, read("penicillin_assay")))
subject <- VarCorr(fit)$Subject
cat(jsonlite::toJSON(digits = NA, auto_unbox = TRUE, list(
  package = "lme4 (R)", version = as.character(packageVersion("lme4")),
  variances = c(VarCorr(lmer({PULP}, read("pulp")))$operator, crossed$plate, crossed$sample),
  covariance = matrix(subject, 2), criterion = REMLcrit(fit),
  df = summary(fit)$coefficients["Days", "df"])))
"""


def with_lme4():
    """Return the row of lme4, with the degrees of freedom of lmerTest."""
    done = subprocess.run(["Rscript", "-e", R], capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    about = {name: said[name] for name in ("package", "version")}
    return about | row(*said["variances"], said["covariance"], said["criterion"], said["df"])


def peers() -> list[dict]:
    """Return the rows of the other Python packages."""
    warnings.simplefilter("ignore")
    data = [read(name) for name in ("pulp", "penicillin_assay", "sleepstudy")]
    return [{"package": p, "version": version(p)} | fit(*data) for p, fit in PEERS.items()]


def main() -> None:
    """Run all, and write the table and its checksum."""
    from tools.book.datasets import write_checksums
    from tools.book.tabs import PYTHON

    data = [read(name) for name in ("pulp", "penicillin_assay", "sleepstudy")]
    ours = {"package": "mmlib", "version": version("mmlib")} | with_mmlib(*data)
    done = subprocess.run([PYTHON, __file__, "peers"], capture_output=True, text=True, check=True)
    table = pd.DataFrame([with_lme4(), ours, *json.loads(done.stdout)])
    table.round(6).to_csv(DATA / "packages.csv", index=False)
    write_checksums(DATA)


if __name__ == "__main__":
    if sys.argv[1:] == ["peers"]:
        print(json.dumps(peers()))
    else:
        main()
