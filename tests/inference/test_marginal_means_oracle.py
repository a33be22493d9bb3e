"""Every question about means that was asked of emmeans, with its answer.

Where emmeans is not right the answer is another package's: `kr_with_weights` (pbkrtest forgets
prior weights), `kr_of_REML_refit` (emmeans mixes ML and REML), `proper_F` (Kenward and Roger's and
Satterthwaite's own F), `p_real_df` (degrees of freedom that are not cut to whole numbers).
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

import mmlib as mm
from mmlib.inference.reference_grid import ReferenceGrid
from tests.helpers import means as oracle

# Columns and cells that are missing on purpose: `lmm` says so.
pytestmark = pytest.mark.filterwarnings("ignore::mmlib.errors.DataWarning")

RTOL_SE = 1e-7
RTOL_DF = {"kenward-roger": 1e-6, "satterthwaite": 1e-5, "asymptotic": 0}
ATOL_TUKEY = 3e-7
"""R's ptukey is off by 2.5e-7 (machines, B − C); scipy agrees with us to 1e-14."""

ATOL_MVT = 1e-5
"""The oracle's integrals: 8e-6 where they can be compared with Tukey's exact ones."""

RTOL_QTUKEY = 2e-4
"""R stops the search for this quantile at changes of 1e-4."""

RTOL_MVT_LIMIT = 0.03
"""emmeans simulates these quantiles, for whole degrees of freedom."""

QUERIES = [
    (case, place) for case in oracle.cases() for place in range(len(oracle.load(case)["queries"]))
]


def name(pair):
    query = oracle.load(pair[0])["queries"][pair[1]]
    return f"{pair[0]}-{query['query']}-{query['lmer_df']}"


def of_kind(*kinds):
    chosen = [pair for pair in QUERIES if oracle.load(pair[0])["queries"][pair[1]]["kind"] in kinds]
    return pytest.mark.parametrize("pair", chosen, ids=name)


def scale_of(values):
    return np.nanmax(np.abs(values))


def check(frame, rows, query, value="mean"):
    """Compare estimates, standard errors and degrees of freedom."""
    right = query.get("kr_with_weights") or query.get("kr_of_REML_refit")
    if query["trusted"] or right is None:
        assert query["trusted"]
        right = rows
    estimate = oracle.numbers(right["estimate"])
    np.testing.assert_allclose(
        frame[value], estimate, rtol=0, atol=1e-8 * max(1, scale_of(estimate))
    )
    np.testing.assert_allclose(frame["se"], oracle.numbers(right["SE"]), rtol=RTOL_SE)
    np.testing.assert_allclose(
        frame["df"], oracle.numbers(right["df"]), rtol=RTOL_DF[query["lmer_df"]]
    )


def check_labels(frame, labels):
    for column, expected in labels.items():
        if column in frame:
            assert oracle.texts(frame[column]) == expected


@of_kind("means", "trends")
def test_means_and_slopes(pair):
    query = oracle.load(pair[0])["queries"][pair[1]]
    if "contrast" in query or (pair[0], query["kind"]) == ("means_poly", "trends"):
        return
    options = {"back": True} if query.get("type") else {}
    means = oracle.ask(oracle.fit_of(pair[0]), query, **options)
    frame = means.to_frame()
    check_labels(frame, query["rows"]["labels"])
    check(frame, query["rows"], query)
    if query["trusted"]:
        for limit in ("lower", "upper"):
            expected = oracle.numbers(query["rows"][limit])
            np.testing.assert_allclose(frame[limit], expected, rtol=1e-6, atol=1e-6)
    else:
        reach = student.ppf(0.975, frame["df"]) * frame["se"]
        np.testing.assert_allclose(frame["mean"] + reach, frame["upper"], rtol=1e-12)


@of_kind("contrast", "interaction", "trends")
def test_contrasts(pair):
    query = oracle.load(pair[0])["queries"][pair[1]]
    if "contrast" not in query:
        return
    means = oracle.ask(oracle.fit_of(pair[0]), query)
    for adjust, rows in query["adjust"].items():
        ours = "dunnett" if adjust == "dunnettx" else adjust
        frame = oracle.contrasts(means, query, ours).to_frame()
        if query["kind"] == "interaction":
            frame = in_order_of_emmeans(frame)
        check_labels(frame, rows["labels"])
        check(frame, rows, query, "estimate")
        if query["trusted"]:
            check_adjusted(frame, rows, adjust)


def in_order_of_emmeans(frame):
    """The contrasts of the first factor vary fastest."""
    first, second = (frame[name].unique() for name in (frame.columns[1], "contrast"))
    order = [(a, b) for b in second for a in first]
    return frame.set_index([frame.columns[1], "contrast"]).loc[order].reset_index(drop=True)


def check_adjusted(frame, rows, adjust):
    np.testing.assert_allclose(frame["t"], oracle.numbers(rows["t"]), rtol=1e-6, atol=1e-7)
    if adjust == "dunnettx":  # an approximation, not Dunnett's test
        assert np.abs(frame["pvalue"] - oracle.numbers(rows["p"])).max() < 0.06
        return
    expected = oracle.numbers(rows["p_real_df" if adjust == "mvt" else "p"])
    tolerance = ATOL_MVT if adjust == "mvt" else ATOL_TUKEY
    np.testing.assert_allclose(frame["pvalue"], expected, rtol=0, atol=tolerance)
    for limit in ("lower", "upper"):
        reach = np.abs(oracle.numbers(rows[limit]) - oracle.numbers(rows["estimate"]))
        tolerance = {"tukey": RTOL_QTUKEY, "mvt": RTOL_MVT_LIMIT}.get(adjust, 1e-5)
        np.testing.assert_allclose(np.abs(frame[limit] - frame["estimate"]), reach, rtol=tolerance)


def test_slopes_of_a_parabola():
    """Ours are derivatives; emmeans's a difference quotient forwards, off by half a step's bend."""
    fit = oracle.fit_of("means_poly")
    ages = fit.design.frame["age"]
    step = 0.001 * (ages.max() - ages.min())
    for query in oracle.load("means_poly")["queries"]:
        if query["kind"] == "trends":
            slopes = oracle.ask(fit, query)
            places = query["at"]["age"]
            ahead = [place + step for place in places]
            means = mm.emmeans(fit, "age", at={"age": [*places, *ahead]})
            L = (means.L[len(places) :] - means.L[: len(places)]) / step
            np.testing.assert_allclose(L @ fit.beta, query["rows"]["estimate"], rtol=1e-8)
            exact = slopes.to_frame()["mean"]
            bend = (exact.iloc[-1] - exact.iloc[0]) / (places[-1] - places[0])
            np.testing.assert_allclose(
                exact + bend * step / 2, query["rows"]["estimate"], rtol=1e-8
            )


def test_ratios_of_a_logarithm():
    for query in oracle.load("means_log_response")["queries"]:
        if "ratio" in query:
            means = oracle.ask(oracle.fit_of("means_log_response"), query, back=True)
            frame = means.contrasts(adjust="none").to_frame()
            assert frame["contrast"].tolist() == query["ratio"]["labels"]
            for ours, theirs in (
                ("estimate", "ratio"),
                ("se", "SE"),
                ("lower", "lower"),
                ("upper", "upper"),
                ("pvalue", "p"),
            ):
                np.testing.assert_allclose(frame[ours], query["ratio"][theirs], rtol=1e-6)


@of_kind("joint")
def test_joint_tests(pair):
    case = oracle.load(pair[0])
    query = case["queries"][pair[1]]
    fit = oracle.fit_of(pair[0])
    if query.get("by") or any(term == "(confounded)" for term in query["term"]):
        return
    proper = {each["term"]: each for each in query.get("proper_F", [])}
    for place, term in enumerate(query["term"]):
        test = joint(fit, term, oracle.DDF[query["lmer_df"]])
        if test is None:
            continue
        right = proper.get(
            term,
            {
                "F": query["F"][place],
                "ndf": query["df1"][place],
                "ddf": query["df2"][place],
                "p": query["p"][place],
            },
        )
        assert test.df[0] == right["ndf"]
        np.testing.assert_allclose(test.statistic, right["F"], rtol=1e-6)
        np.testing.assert_allclose(test.df[1], right["ddf"], rtol=1e-5)
        np.testing.assert_allclose(test.pvalue, right["p"], rtol=1e-4, atol=1e-12)


def joint(fit, term, ddf):
    """The joint test of a term: equal means, equal slopes, or interaction contrasts."""
    grid = ReferenceGrid.of(fit.design)
    names = term.split(":")
    covariates = [each for each in names if each not in grid.factors]
    factors = [each for each in names if each in grid.factors]
    if covariates:
        if len(factors) != 1:
            return None
        return mm.emtrends(fit, covariates[0], by=factors[0], ddf=ddf).joint_test()
    means = mm.emmeans(fit, factors, ddf=ddf)
    if len(factors) == 1:
        return means.joint_test()
    within = means.contrasts("reference", by=factors[1], adjust="none")
    return within.contrasts("reference").joint_test()


def test_joint_tests_by_the_levels_of_a_factor():
    for query in oracle.load("means_oats_factorial")["queries"]:
        if query["query"] != "joint_by_variety":
            continue
        means = mm.emmeans(
            oracle.fit_of("means_oats_factorial"),
            "nitroF",
            by="Variety",
            ddf=oracle.DDF[query["lmer_df"]],
        )
        frame = means.joint_test().to_frame()
        assert frame["Variety"].tolist() == query["by_levels"]["Variety"]
        np.testing.assert_allclose(frame["F"], query["F"], rtol=1e-6)
        np.testing.assert_allclose(frame["df2"], query["df2"], rtol=1e-5)


@pytest.mark.parametrize("case_id", oracle.cases())
def test_linear_functions_are_those_of_emmeans(case_id):
    """Not only their values: L itself, which does not depend on the response."""
    for query in oracle.load(case_id)["queries"]:
        if query["kind"] not in ("means", "trends") or "L" not in query or "contrast" in query:
            continue
        ours = oracle.ask(oracle.fit_of(case_id), query).L
        theirs = np.array(query["L"], dtype=float)
        atol = 1e-2 if case_id == "means_poly" and query["kind"] == "trends" else 1e-5
        sort = lambda L: np.array(sorted(L.T.round(6).tolist()))  # noqa: E731
        np.testing.assert_allclose(sort(ours), sort(theirs), atol=atol)
