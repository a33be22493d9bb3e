"""This project's library."""

import mmlib

DISTRIBUTION = "mmlib"


def frame(data):
    return data


def fit(task, data):
    return mmlib.lmm(task["formula"], data)


def refit(_task, _data, result):
    return result.refit


def objective(result):
    return result.objective
