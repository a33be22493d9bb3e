"""Labels of another type are matched where they say the same, and refused where they only count."""

import numpy as np
import pandas as pd
import pytest

import mmlib as mm
from mmlib.design.labels import match_labels


def codes(levels, new):
    return match_labels(pd.Index(levels), pd.Series(new, name="id")).tolist()


@pytest.mark.parametrize(
    ("levels", "new", "wanted"),
    [
        (["308", "309"], [309, 308, 999], [1, 0, -1]),
        (["308", "309"], [309.0, np.nan, 308.0], [1, -1, 0]),
        ([308, 309], ["309", "x", None], [1, -1, -1]),
        ([308.0, 309.0], ["309", "308"], [1, 0]),
        ([308, 309], [309.0, np.nan], [1, -1]),
        ([1.5, 2.5], ["2.5", "1.5"], [1, 0]),
        (["308", "309"], pd.Categorical([309, 308]), [1, 0]),
        (["a", "b"], pd.Categorical(["b", "c"], ["c", "b"]), [1, -1]),
        ([False, True], ["True", "False"], [1, 0]),
        (["308", "309"], pd.array([309, None], dtype="Int64"), [1, -1]),
        (["a", "b"], pd.array(["b", None], dtype="string"), [1, -1]),
        (["007", "008"], ["007", "7"], [0, -1]),
        (["308", "309"], [998, 999], [-1, -1]),
        ([308, 309], ["998"], [-1]),
        (["a", "b"], [None, None], [-1, -1]),
    ],
)
def test_labels_that_say_the_same_are_the_same(levels, new, wanted):
    assert codes(levels, new) == wanted


@pytest.mark.parametrize(
    ("levels", "new"),
    [
        (["007", "008", "9"], [7, 9]),
        (["007", "008"], [1, 2]),
        (["s1", "s2"], [1, 2]),
        ([1, 2], ["s1", "s2"]),
        ([1, 2, 3], ["01", "3"]),
        (["1.0", "2.0"], [1, 2]),
        ([False, True], [0, 1]),
        ([0, 1], [False, True]),
        (["yes", "no"], [True, False]),
        (["1e3", "2"], [1000, 2]),
    ],
)
def test_what_only_counts_the_same_is_refused(levels, new):
    with pytest.raises(mm.DataError, match=r"'id' had .* in the fit .* new data .* convert"):
        codes(levels, new)


@pytest.mark.parametrize("new_levels", ["error", "population"])
def test_subjects_of_a_file_as_in_r(new_levels):
    """Case 04 of the reports: lme4 gives 430.66 and 227.63, not the population mean."""
    sleep = mm.load_dataset("sleepstudy")
    sleep["Subject"] = sleep["Subject"].astype(str)
    fit = mm.lmm("Reaction ~ Days + (Days | Subject)", sleep)
    new = pd.DataFrame({"Subject": [308, 309], "Days": 9})
    found = fit.predict(new, new_levels=new_levels)
    np.testing.assert_allclose(found, [430.66, 227.6348], rtol=1e-5)
    sleep["Subject"] = "s" + sleep["Subject"]
    fit = mm.lmm("Reaction ~ Days + (Days | Subject)", sleep)
    with pytest.raises(mm.DataError, match=r"text in the fit \('s308', .*numbers in the new data"):
        fit.predict(new, new_levels=new_levels)


def test_combinations_are_matched_column_by_column():
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"a": np.repeat(["1", "2", "3"], 16), "b": np.tile([1, 2, 3, 4], 12)})
    data["y"] = rng.normal(size=48)
    fit = mm.lmm("y ~ 1 + (1 | a:b)", data)
    turned = data.assign(a=data["a"].astype(float), b=data["b"].astype(str))
    np.testing.assert_allclose(fit.predict(turned), fit.fitted)
    known = fit.predict(turned.iloc[:1].assign(b="9"), new_levels="population")
    np.testing.assert_allclose(known, fit.beta)
