"""glmm, a Rust core; it has no refit. The inference it adds to a fit is switched off."""

import glmm

DISTRIBUTION = "glmm"


def frame(data):
    return data


def fit(task, data):
    return glmm.fit(data, task["formula"], satterthwaite=False, anova_test="Wald")


def objective(result):
    return -2 * result.loglik


def satterthwaite(task, data):
    """It comes with a fit and cannot be had without: the fit is timed with it."""

    def run():
        model = glmm.fit(data, task["formula"], satterthwaite=True)
        at = model.names.index(task["term"])
        return {"F": (model.beta[at] / model.se[at]) ** 2, "df": model.coef_df[at]}

    return run
