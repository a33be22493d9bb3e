"""The oracle's data are R's data, and its formulas mean what R's mean."""

import hashlib

import formulaic
import numpy as np
import pytest

import mmlib as mm
from tests.helpers import oracle


def fixed_matrix(case):
    """Build X of a case from the fixed part of its formula, with formulaic alone."""
    fixed = oracle.RANDOM_TERM.sub("", case.formula).rstrip(" +").replace("+  +", "+")
    while fixed.rstrip().endswith("+"):
        fixed = fixed.rstrip(" +")
    fixed = fixed if fixed.split("~")[1].strip() else fixed + " 1"
    return formulaic.model_matrix(fixed, case.data).rhs.to_numpy(dtype=float)


def in_any_order(matrix):
    """Sort the columns of a matrix, since R and formulaic order interactions differently."""
    return np.asarray(sorted(np.asarray(matrix, dtype=float).T.round(9).tolist()))


@pytest.mark.parametrize("case_id", oracle.cases())
def test_design_is_that_of_r(case_id):
    case = oracle.load_case(case_id)
    X = fixed_matrix(case)
    assert len(case.data) == case["n"]
    assert X.shape[1] - len(case["X_dropped"]) == case["p"]
    if not case["X_dropped"]:
        np.testing.assert_allclose(
            in_any_order(X[:3]), in_any_order(case["X_first3"]), rtol=1e-9, atol=1e-9
        )
    for group, count in case["n_groups"].items():
        assert case.data.groupby(group.split(":"), observed=True).ngroups == count


@pytest.mark.parametrize("case_id", oracle.cases())
def test_response_is_that_of_r(case_id):
    case = oracle.load_case(case_id)
    y = case.data[case.formula.split("~")[0].strip()].to_numpy()
    refitted = np.asarray(case["REML"]["fitted_first10"]) + case["REML"]["resid_first10"]
    np.testing.assert_allclose(y[: len(refitted)], refitted, rtol=1e-12)


def test_weights_and_offset_are_columns():
    for case_id in oracle.cases():
        case = oracle.load_case(case_id)
        assert {case.weights, case.offset} - {None} <= set(case.data.columns)
    assert oracle.load_case("sleep_weights").weights == "w"
    assert oracle.load_case("sleep_offset").offset == "off"


def test_contrasts_are_spelt_out():
    assert oracle.load_case("penicillin_rcbd_sum").formula == (
        "yield ~ C(treat, contr.sum) + (1 | blend)"
    )
    assert oracle.load_case("gun").formula == (
        "rounds ~ Method * C(Physique, contr.poly) + (1 | Team)"
    )


def test_every_data_set_that_the_oracle_names_is_there():
    for numbers in [
        oracle.load_exact_lrt(),
        oracle.load_bootstrap_lrt(),
        oracle.load_profile(),
    ]:
        named = {entry["dataset"] for entry in numbers.values() if "dataset" in entry}
        assert named
        assert all(len(oracle.load_data(name)) for name in named)


def test_pulp_is_the_file_of_the_lecture():
    """Hash the values themselves, so that a change of pulp.csv and of its checksum shows."""
    pulp = mm.load_dataset("pulp")
    text = "".join(f"{y:.1f}{g}" for y, g in zip(pulp["bright"], pulp["operator"], strict=True))
    assert hashlib.sha256(text.encode()).hexdigest() == (
        "1a281380395c8264f65396e948df6e0f44504d239d78b2dbe9fb321886c19941"
    )
    printed = {row["where"]: row["printed"] for row in oracle.load_printed_values()}
    assert f"{pulp['bright'].mean():.5f}" == printed["lm Estimate[1]"]
