"""glmm, a Rust core; it has no refit. The inference it adds to a fit is switched off."""

import glmm

DISTRIBUTION = "glmm"


def frame(data):
    return data


def fit(task, data):
    return glmm.fit(data, task["formula"], satterthwaite=False, anova_test="Wald")


def objective(result):
    return -2 * result.loglik
