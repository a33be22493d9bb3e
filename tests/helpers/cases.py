"""The fits of R's cases, each made once, and what R calls their coefficients."""

import re
from functools import cache

import numpy as np

import mmlib as mm
from tests.helpers import oracle


@cache
def fitted(case_id, criterion):
    """Return the fit of a case; the ML fit reuses the design of the REML one."""
    if criterion == "ML":
        return fitted(case_id, "REML").refit(reml=False)
    case = oracle.load_case(case_id)
    return mm.lmm(case.formula, case.data, weights=case.weights, offset=case.offset)


def r_column(name, data):
    """Return R's name of a column, its factors sorted: ``B[T.b]:x`` is called ``Bb:x``."""
    parts = re.split(r":(?![^(\[]*[)\]])", name)
    return ":".join(sorted(r_factor(part, data) for part in parts))


def r_factor(name, data):
    if name == "Intercept":
        return "(Intercept)"
    coded = re.fullmatch(r"(?:C\((\w+), [\w.]+\)|(\w+))\[(T\.|S\.)?(.*)\]", name)
    if coded is None:
        return name
    column, coding, level = coded[1] or coded[2], coded[3], coded[4]
    if coding == "S.":  # R numbers the columns of a sum contrast
        level = 1 + list(data[column].cat.categories.astype(str)).index(level)
    return f"{column}{level}"


def sorted_parts(name):
    return ":".join(sorted(name.split(":")))


def in_our_order(fit, names, data):
    """Return where each of our fixed effects stands among R's."""
    places = {sorted_parts(name): place for place, name in enumerate(names)}
    return [places[r_column(name, data)] for name in fit.design.fixed_names]


def coefficients_and_r(case_id, key, ddf):
    """Return a REML fit, its t tests, and R's entry `key` about them, in our order."""
    case, fit = oracle.load_case(case_id), fitted(case_id, "REML")
    r_table = dict(case[key])
    order = in_our_order(fit, r_table.pop("names"), case.data)
    return fit, fit.coef_table(ddf=ddf), {k: np.array(v)[order] for k, v in r_table.items()}
