"""statsmodels' MixedLM, which has formulas of its own kind."""

import numpy as np
from statsmodels.formula.api import mixedlm

DISTRIBUTION = "statsmodels"


def frame(data):
    return data


def fit(task, data):
    arguments = dict(task["statsmodels"])
    formula, groups = arguments.pop("formula"), arguments.pop("groups")
    if groups is None:
        groups = np.ones(len(data))
    return mixedlm(formula, data, groups=groups, **arguments).fit(reml=True)


def objective(result):
    return -2 * result.llf
