"""mixedlm, Python with a Rust core."""

import mixedlm

DISTRIBUTION = "mixedlm"


def frame(data):
    return data


def fit(task, data):
    return mixedlm.lmer(task["formula"], data)


def refit(_task, _data, result):
    return result.refit


def objective(result):
    return result.REMLcrit()
