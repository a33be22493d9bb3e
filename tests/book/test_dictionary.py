"""Chapter 10 says the same in R and here: each row on the complete data, and on unbalanced ones.

`tests/oracle/R/dictionary.R` ran R's side of each row as the chapter prints it; the other side is
run here, as it is printed. A row without R's numbers fails.
"""

import ast
import re

import numpy as np
import pytest

import mmlib as mm
from tests.helpers import dictionary
from tests.helpers.dictionary import STRUCTURES, incomplete

ROWS = dictionary.rows()
FIGURES = dictionary.rows("draw")
TABLES = dictionary.tables()
R = dictionary.load_numbers()
DATA = ("complete", "incomplete")
WITHOUT_NUMBERS = {
    "The data": "names of data sets; test_datasets.py compares the files",
    "From a fit": "what lme4 prints, in words; a hidden cell finds each line in our summary",
    "Where R's packages are known to be off": "what later versions of R's packages do",
}
"""The tables of words, by their heading, and why R has no numbers for them."""
PROFILE = 1e-3  # R interpolates
NLME_INTERVALS = 2e-3  # of the width: nlme's second derivatives are numerical


@pytest.fixture(scope="module")
def ours():
    """Each row's value here, on the complete and on the incomplete data."""
    kept = {"complete": lambda data: data, "incomplete": incomplete}
    return {which: dictionary.session(kept[which]) for which in DATA}


def test_each_row_is_there_once():
    said = [row.in_r for row in [*ROWS, *FIGURES, *TABLES[STRUCTURES]]]
    assert len(said) == len(set(said))
    assert TABLES.keys() == {STRUCTURES, *WITHOUT_NUMBERS}


@pytest.mark.parametrize("which", DATA)
def test_r_has_run_all_rows_that_the_chapter_prints(which):
    assert R[which].keys() == set(dictionary.numbered()), (
        "run `python -m tests.oracle.make dictionary`"
    )


def test_no_design_that_r_has_run_is_balanced():
    for name, groups in {
        "pulp": ["operator"], "penicillin": ["blend", "treat"], "sleepstudy": ["Subject", "Days"],
        "pastes": ["batch", "cask"], "penicillin_assay": ["plate", "sample"],
        "oats": ["Block", "nitro"], "oxboys": ["Subject"], "orthodont": ["Subject", "age"],
        "avg_daily_gain": ["Block", "Treatment"],
    }.items():  # fmt: skip
        for group in groups:
            sizes = incomplete(mm.load_dataset(name))[group].value_counts()
            assert 0 < sizes.min() < sizes.max(), (name, group)


@pytest.mark.parametrize("which", DATA)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.in_r)
def test_a_row_holds(ours, row, which):
    rtol = PROFILE if "profile" in row.in_r else 1e-5
    np.testing.assert_allclose(ours[which][row.in_r], R[which][row.in_r], rtol=rtol, atol=1e-9)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.in_r)
def test_what_the_chapter_gives_as_the_value_of_r_is_r(row):
    np.testing.assert_allclose(np.ravel(row.printed), R["complete"][row.in_r], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("which", DATA)
@pytest.mark.parametrize("row", FIGURES, ids=lambda row: row.in_r)
def test_a_figure_is_drawn(ours, row, which):
    """A figure has no number that R could give."""
    assert ours[which][row.in_r]


@pytest.mark.parametrize("which", DATA)
@pytest.mark.parametrize("row", TABLES[STRUCTURES], ids=lambda row: row.in_r)
def test_a_structure_is_that_of_r(row, which):
    data = mm.load_dataset("orthodont")
    data = data.assign(id=data["Subject"], time=data["age"], visit=(data["age"] - 6) // 2)
    data = data if which == "complete" else incomplete(data)
    wanted = R[which][row.in_r]
    if "intervals" in row.in_r:
        fit = mm.lmm("distance ~ age * Sex + (1 | Subject)", data, dispersion="Sex")
        names = ["sd_Intercept|Subject", "sigma", "residual_ratio_Female|Sex"]
        limits = fit.confint("wald", parameters=names).to_numpy()
        width = np.diff(limits)
        assert np.all(abs(limits - np.reshape(wanted, (3, 2))) < NLME_INTERVALS * width)
        return
    found = [fit.objective for fit in structured(row, data)]
    np.testing.assert_allclose(found * (len(wanted) // len(found)), wanted, rtol=1e-6)


def structured(row, data):
    """Fit the model of a row: with an argument as it is printed, or with glmmTMB's terms."""
    formula = "distance ~ age * Sex"
    if "glmmTMB" in row.in_r:
        columns = {"ar1": "0 + visit", "cs": "1 + age", "diag": "1 + age", "us": "1 + age"}
        kinds = re.findall(r"(\w+)\(", row.in_r)
        assert kinds == list(columns)
        data = data.assign(visit=data["visit"].astype("category"))
        return [mm.lmm(f"{formula} + {kind}({columns[kind]} | id)", data) for kind in kinds]
    (argument,) = re.findall(r"`(.+?)`", row.here)
    name, value = argument.split("=", 1)
    return [mm.lmm(formula, data, **{name: ast.literal_eval(value)})]
