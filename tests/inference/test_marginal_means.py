"""Marginal means, slopes and contrasts: closed forms, predictions by brute force, properties."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import f as f_distribution
from scipy.stats import norm, studentized_range
from scipy.stats import t as student

import mmlib as mm
from mmlib.errors import DataError, RankError

# Columns and cells that are missing on purpose: `lmm` says so.
pytestmark = pytest.mark.filterwarnings("ignore::mmlib.errors.DataWarning")


@pytest.fixture(scope="module")
def penicillin():
    return mm.lmm("yield ~ treat + (1 | blend)", mm.load_dataset("penicillin"))


@pytest.fixture(scope="module")
def cultivation():
    """Two factors, unbalanced."""
    data = mm.load_dataset("cultivation").drop(index=[0, 4, 5, 13, 19])
    return mm.lmm("drywt ~ Inoc * Cult + (1 | Block)", data)


@pytest.fixture(scope="module")
def empty_cell():
    data = mm.load_dataset("cultivation")
    empty = (data["Inoc"] == "liv") & (data["Cult"] == "b")
    return mm.lmm("drywt ~ Inoc * Cult + (1 | Block)", data[~empty])


@pytest.fixture(scope="module")
def rich():
    """Factors as text, a number as a factor, a truth value, splines and an interaction."""
    rng = np.random.default_rng(5)
    n = 240
    data = pd.DataFrame(
        {
            "x": rng.uniform(1, 9, n),
            "z": rng.normal(size=n),
            "a": rng.choice(["low", "mid", "high"], n, p=[0.5, 0.3, 0.2]),
            "k": rng.choice([1, 2, 5], n),
            "on": rng.random(n) < 0.3,
            "g": rng.integers(0, 20, n).astype(str),
        }
    )
    data["y"] = np.sin(data["x"]) + data["k"] + rng.normal(size=n) + data["on"] * data["z"]
    formula = "y ~ bs(x, df=5) * a + poly(z, 2) + C(k) + on:z + on + log(x) + (1 | g)"
    return mm.lmm(formula, data)


# ---- closed forms ------------------------------------------------------------------------------


def test_balanced_blocks_by_hand(penicillin):
    """The lecture's penicillin: raw means, √(2σ²/5), Tukey's range with 12 degrees of freedom."""
    data = penicillin.design.frame
    means = mm.emmeans(penicillin, "treat")
    raw = data.groupby("treat", observed=True)["yield"].mean()
    np.testing.assert_allclose(means.to_frame()["mean"], raw, rtol=1e-10)
    pairs = means.contrasts().to_frame()
    se = np.sqrt(2 * penicillin.sigma**2 / 5)
    np.testing.assert_allclose(pairs["se"], se, rtol=1e-8)
    np.testing.assert_allclose(pairs["df"], 12, rtol=1e-6)
    reach = studentized_range.ppf(0.95, 4, 12) / np.sqrt(2) * se
    np.testing.assert_allclose(pairs["upper"] - pairs["estimate"], reach, rtol=1e-6)
    np.testing.assert_allclose(
        pairs["pvalue"], studentized_range.sf(np.sqrt(2) * pairs["t"].abs(), 4, 12), atol=1e-7
    )


def test_columns_are_those_that_are_promised(penicillin):
    means = mm.emmeans(penicillin, "treat")
    assert list(means.to_frame()) == ["treat", "mean", "se", "df", "lower", "upper"]
    assert list(means.contrasts().to_frame()) == [
        *("contrast", "estimate", "se", "df", "lower", "upper", "t", "pvalue")
    ]


def test_cells_as_weights_give_raw_means():
    data = mm.load_dataset("cultivation").drop(index=[0, 4, 5, 13, 19])
    fit = mm.lmm("drywt ~ Inoc * Cult", data)
    frame = mm.emmeans(fit, "Inoc", weights="cells").to_frame()
    raw = data.groupby("Inoc", observed=True)["drywt"].mean()
    np.testing.assert_allclose(frame["mean"], raw, rtol=1e-12)
    cells = mm.emmeans(fit, "Inoc * Cult").to_frame()
    raw = data.groupby(["Cult", "Inoc"], observed=True)["drywt"].mean()
    np.testing.assert_allclose(cells["mean"], raw, rtol=1e-12)


def test_a_plain_linear_model_has_its_own_degrees_of_freedom():
    fit = mm.lmm("drywt ~ Inoc", mm.load_dataset("cultivation"))
    np.testing.assert_allclose(mm.emmeans(fit, "Inoc").to_frame()["df"], fit.nobs - 3)


def test_joint_test_is_the_test_of_the_term(penicillin):
    joint, term = (
        mm.emmeans(penicillin, "treat").joint_test(),
        mm.kenward_roger(penicillin, "treat"),
    )
    assert joint.pvalue == pytest.approx(term.pvalue, rel=1e-9)
    for how in ("pairwise", "reference", "consecutive", "polynomial", "deviation"):
        contrasts = mm.emmeans(penicillin, "treat").contrasts(how)
        assert contrasts.joint_test().statistic == pytest.approx(term.statistic, rel=1e-9)
    wald = mm.emmeans(penicillin, "treat", ddf=None).joint_test()
    assert wald.df == (3, np.inf)
    assert wald.pvalue == pytest.approx(f_distribution.sf(wald.statistic, 3, 1e9), rel=1e-6)


def test_joint_test_of_an_interaction_is_that_of_its_term(cultivation):
    means = mm.emmeans(cultivation, "Inoc * Cult")
    twice = means.contrasts("reference", by="Cult").contrasts("reference")
    term = mm.kenward_roger(cultivation, "Inoc:Cult")
    assert twice.joint_test().statistic == pytest.approx(term.statistic, rel=1e-9)
    assert twice.joint_test().df[1] == pytest.approx(term.df[1], rel=1e-9)


def test_type_three_tests_are_joint_tests(cultivation):
    table = mm.anova(cultivation).tests
    for name in ("Inoc", "Cult"):
        joint = mm.emmeans(cultivation, name).joint_test()
        assert joint.pvalue == pytest.approx(table[name].pvalue, rel=1e-8)


# ---- brute force -------------------------------------------------------------------------------


def grid_of(**held):
    """All combinations of some values, as a frame to predict for."""
    return pd.MultiIndex.from_product(held.values(), names=held.keys()).to_frame(index=False)


def test_means_are_averages_of_predictions(rich):
    data = rich.design.frame
    held = {
        "x": [data["x"].mean()],
        "z": [data["z"].mean()],
        "a": sorted(data["a"].unique()),
        "k": [1, 2, 5],
        "on": [False, True],
    }
    grid = grid_of(**held)
    grid["predicted"] = rich.predict(grid, random=False)
    for specs in (["a"], ["k"], ["on"], ["on", "a"], ["k", "on"]):
        frame = mm.emmeans(rich, specs).to_frame()
        expected = grid.groupby(specs)["predicted"].mean()
        ours = frame.set_index(specs)["mean"]
        ours = ours.reorder_levels(expected.index.names) if len(specs) > 1 else ours
        np.testing.assert_allclose(ours.sort_index(), expected.sort_index(), rtol=1e-10)


def test_weights_by_hand(rich):
    data = rich.design.frame
    held = {"x": [4.0], "z": [data["z"].mean()], "a": ["high", "low", "mid"], "k": [1, 2, 5]}
    grid = grid_of(**held, on=[False, True])
    grid["predicted"] = rich.predict(grid, random=False)
    counts = data.groupby(["a", "k", "on"]).size()
    for weights, count in (
        ("cells", lambda a, k, on: counts.get((a, k, on), 0)),
        ("proportional", lambda _, k, on: counts[:, k, on].sum()),
        ("outer", lambda _, k, on: (data["k"] == k).sum() * (data["on"] == on).sum()),
        ("flat", lambda a, k, on: float((a, k, on) in counts)),
    ):
        share = [count(*cell) for cell in grid[["a", "k", "on"]].itertuples(index=False)]
        sums = grid.assign(w=share, wp=grid["predicted"] * share).groupby("a")[["w", "wp"]].sum()
        frame = mm.emmeans(rich, "a", at={"x": 4}, weights=weights).to_frame().set_index("a")
        np.testing.assert_allclose(frame["mean"], sums["wp"] / sums["w"], rtol=1e-10)


@pytest.mark.parametrize("place", [1.5, 3.0, 5.5, 8.9])
def test_slopes_are_derivatives_of_predictions(rich, place):
    data = rich.design.frame
    levels = {"a": ["high", "low", "mid"], "k": [1, 2, 5], "on": [False, True]}
    step = 1e-4
    ends = [place - step, place + step]
    grid = grid_of(x=ends, z=[data["z"].mean()], **levels)
    grid["predicted"] = rich.predict(grid, random=False)
    by_end = grid.groupby(["x", "a"])["predicted"].mean()
    slopes = mm.emtrends(rich, "x", by="a", at={"x": place}).to_frame().set_index("a")["mean"]
    expected = (by_end[ends[1]] - by_end[ends[0]]) / (2 * step)
    np.testing.assert_allclose(slopes, expected, rtol=1e-5, atol=1e-6)


def test_slopes_of_splines_at_knots_and_edges(rich):
    """A cubic through the knot's neighbourhood has the derivative that the spline has there."""
    x = rich.design.frame["x"]
    for place, inwards in ((x.quantile(1 / 3), 0), (x.min(), 1), (x.max(), -1)):
        at = {"x": float(place)}
        slope = mm.emtrends(rich, "x", by="a", at=at).to_frame()["mean"]
        step = 1e-3
        near = [float(place) + step * (k + inwards * 2) for k in range(-2, 3)]
        if inwards:
            near[0 if inwards > 0 else -1] = float(place)
        means = mm.emmeans(rich, ["x", "a"], at={"x": near}).to_frame()
        for level, ours in zip(["high", "low", "mid"], slope, strict=True):
            values = means.loc[means["a"] == level, "mean"]
            shifted = np.array(near) - place
            quartic = np.polynomial.Polynomial.fit(shifted, values, 4)
            assert quartic.deriv()(0.0) == pytest.approx(ours, rel=1e-4, abs=1e-4)


def test_slopes_of_polynomials_are_exact():
    data = mm.load_dataset("oxboys")
    raw = mm.lmm("height ~ age + I(age**2) + I(age**3) + (1 | Subject)", data)
    orthogonal = mm.lmm("height ~ poly(age, 3) + (1 | Subject)", data)
    for place in (-1.0, 0.1, 1.0055, 3.0):
        slopes = [mm.emtrends(fit, "age", at={"age": place}) for fit in (raw, orthogonal)]
        np.testing.assert_allclose(
            slopes[0].L, [[0, 1, 2 * place, 3 * place**2]], rtol=1e-9, atol=1e-12
        )
        one, other = (each.to_frame() for each in slopes)
        np.testing.assert_allclose(one, other, rtol=1e-6)


# ---- properties --------------------------------------------------------------------------------


def test_coding_order_and_units_do_not_matter(cultivation):
    data = cultivation.design.frame
    asked = lambda fit: mm.emmeans(fit, "Inoc", by="Cult").contrasts().to_frame()  # noqa: E731
    first = asked(cultivation)
    summed = "drywt ~ C(Inoc, contr.sum) * C(Cult, contr.helmert) + (1 | Block)"
    shuffled = data.sample(frac=1, random_state=2)
    for other in (
        mm.lmm(summed, data),
        mm.lmm("drywt ~ 0 + Inoc:Cult + (1 | Block)", data),
        mm.lmm("drywt ~ Inoc * Cult + (1 | Block)", shuffled),
        mm.lmm("drywt ~ Inoc * Cult + (1 | Block)", data.astype({"Inoc": str, "Cult": str})),
    ):
        again = asked(other)
        assert again["contrast"].tolist() == first["contrast"].tolist()
        numbers = ["estimate", "se", "df", "lower", "upper", "t", "pvalue"]
        np.testing.assert_allclose(again[numbers], first[numbers], rtol=2e-5)


def test_a_level_that_is_asked_for_restricts_the_grid(cultivation):
    all_levels = mm.emmeans(cultivation, "Inoc", by="Cult").to_frame()
    only = mm.emmeans(cultivation, "Inoc", at={"Cult": "b"}).to_frame()
    np.testing.assert_allclose(only["mean"], all_levels.loc[all_levels["Cult"] == "b", "mean"])


def test_pairwise_of_two_is_a_t_test(cultivation):
    pair = mm.emmeans(cultivation, "Cult").contrasts().to_frame().iloc[0]
    assert pair["pvalue"] == pytest.approx(2 * student.sf(abs(pair["t"]), pair["df"]), rel=1e-9)


def test_means_of_an_ml_fit(penicillin):
    by_ml = penicillin.refit(reml=False)
    plain = mm.emmeans(by_ml, "treat").to_frame()
    assert np.isinf(plain["df"]).all()
    np.testing.assert_allclose(
        plain["upper"] - plain["mean"], norm.ppf(0.975) * plain["se"], rtol=1e-12
    )
    adjusted = mm.emmeans(by_ml, "treat", ddf="kenward-roger")
    right = mm.emmeans(penicillin, "treat").to_frame()
    pd.testing.assert_frame_equal(adjusted.to_frame(), right, rtol=1e-5)
    assert any("refit by REML" in note for note in adjusted.notes)


def test_levels_of_by_are_families_of_their_own(cultivation):
    together = mm.emmeans(cultivation, "Inoc", by="Cult").contrasts(adjust="bonferroni").to_frame()
    alone = mm.emmeans(cultivation, "Inoc", at={"Cult": "a"}).contrasts(adjust="bonferroni")
    np.testing.assert_allclose(together["pvalue"][:3], alone.to_frame()["pvalue"], rtol=1e-12)
    regrouped = mm.emmeans(cultivation, "Inoc * Cult").contrasts(by="Cult", adjust="bonferroni")
    pd.testing.assert_frame_equal(regrouped.to_frame(), together)


def test_contrasts_within_a_contrast_agree_with_one_family(cultivation):
    inner = mm.emmeans(cultivation, "Inoc * Cult").contrasts("pairwise", by="Cult")
    one = inner.contrasts("reference")
    several = inner.contrasts("reference", by="contrast")
    assert list(one.to_frame())[:2] == ["contrast", "Inoc"]
    assert one.adjust == "none"
    np.testing.assert_allclose(one.to_frame()["estimate"], several.to_frame()["estimate"])
    assert one.by == ()
    assert several.by == ("Inoc",)


def test_contrasts_of_three_factors():
    rng = np.random.default_rng(0)
    levels = [list("pqz"), list("rst"), list("uv"), range(4)]
    data = pd.MultiIndex.from_product(levels, names=["a", "b", "c", "g"]).to_frame(index=False)
    data["y"] = rng.normal(size=len(data))
    fit = mm.lmm("y ~ a * b * c + (1 | g)", data)
    twice = (
        mm.emmeans(fit, "a * b * c")
        .contrasts("reference", by=["b", "c"], adjust="none")
        .contrasts("reference", by=["contrast", "c"], adjust="none")
    )
    assert twice.by == ("a", "c")
    three = twice.contrasts("consecutive")
    assert three.to_frame()["contrast"].unique().tolist() == ["v - u"]
    assert list(three.to_frame())[:3] == ["contrast", "b", "a"]
    term = mm.kenward_roger(fit, "a:b:c")
    assert three.joint_test().statistic == pytest.approx(term.statistic, rel=1e-9)
    assert three.caption == "Contrasts of estimated marginal means of y"


def test_confounded_rows_are_named(empty_cell):
    means = mm.emmeans(empty_cell, "Inoc * Cult")
    frame = means.to_frame()
    assert frame["mean"].isna().tolist() == [False] * 5 + [True]
    assert frame["se"].isna().sum() == 1
    assert "Cannot be estimated from these data: liv, b." in means.notes
    cells = mm.emmeans(empty_cell, "Inoc", weights="cells").to_frame()
    assert cells["mean"].notna().all()
    assert mm.emmeans(empty_cell, "Cult", weights="cells").to_frame()["mean"].notna().all()


def test_joint_test_takes_the_part_that_can_be_estimated(empty_cell):
    test = mm.emmeans(empty_cell, "Inoc").joint_test()
    pair = mm.emmeans(empty_cell, "Inoc").contrasts(adjust="none").to_frame().iloc[0]
    assert test.df[0] == 1
    assert test.statistic == pytest.approx(pair["t"] ** 2, rel=1e-9)
    assert "Only the part" in str(test)
    with pytest.raises(RankError, match="none of these differences"):
        mm.emmeans(empty_cell, "Cult").joint_test()


def test_an_additive_model_fills_an_empty_cell():
    data = mm.load_dataset("cultivation")
    empty = (data["Inoc"] == "liv") & (data["Cult"] == "b")
    fit = mm.lmm("drywt ~ Inoc + Cult + (1 | Block)", data[~empty])
    assert mm.emmeans(fit, "Inoc * Cult").to_frame()["mean"].notna().all()


def test_differences_may_be_estimable_where_means_are_not():
    """A second factor is confounded with blocks of the first, so only some sums are known."""
    data = pd.DataFrame({"a": list("ppqqrrss") * 3, "b": list("uuuuvvvv") * 3})
    rng = np.random.default_rng(1)
    data["g"] = np.repeat(["1", "2", "3"], 8)
    data["y"] = rng.normal(size=24)
    fit = mm.lmm("y ~ b + a + (1 | g)", data)
    assert fit.design.aliased
    assert mm.emmeans(fit, "a").to_frame()["mean"].isna().all()
    pairs = mm.emmeans(fit, "a").contrasts(adjust="none").to_frame().set_index("contrast")
    assert pairs["estimate"].notna().to_dict() == {
        "p - q": True,
        "p - r": False,
        "p - s": False,
        "q - r": False,
        "q - s": False,
        "r - s": True,
    }


def test_a_nested_factor_is_averaged_where_it_occurs():
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"b": np.repeat(list("uvwxy"), 8), "g": list("1234") * 10})
    data["a"] = np.where(data["b"].isin(["u", "v"]), "first", "second")
    data["y"] = rng.normal(size=40) + data["b"].map(dict(zip("uvwxy", range(5), strict=True)))
    fit = mm.lmm("y ~ a / b + (1 | g)", data)
    frame = mm.emmeans(fit, "a").to_frame()
    inner = data.groupby(["a", "b"])["y"].mean()
    np.testing.assert_allclose(frame["mean"], inner.groupby("a").mean(), rtol=1e-9)
    np.testing.assert_allclose(
        mm.emmeans(fit, "b").to_frame()["mean"], inner.droplevel("a"), rtol=1e-9
    )


def test_a_nested_factor_against_emmeans():
    """R's numbers, of an unbalanced design whose fit is on the boundary."""
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"b": np.repeat(list("uvwxy"), 8), "g": list("pqrs") * 10})
    data["a"] = np.where(data["b"].isin(["u", "v"]), "first", "second")
    noise = rng.normal(size=40)
    data["y"] = noise + data["b"].map(dict(zip("uvwxy", range(5), strict=True)))
    fit = mm.lmm("y ~ a / b + (1 | g)", data.drop(index=[3, 17, 30]))
    frame = mm.emmeans(fit, "a").to_frame()
    expected = {
        "mean": [0.2804919872, 3.1621792346],
        "se": [0.3209986946, 0.2648584027],
        "lower": [-0.4058185443, 2.5496761186],
        "upper": [0.966802519, 3.774682350],
    }
    for column, values in expected.items():
        np.testing.assert_allclose(frame[column], values, rtol=1e-6)


def test_prior_weights_count_in_the_fit_only():
    data = mm.load_dataset("sleepstudy")
    data = data.assign(w=1 + data["Days"] % 3)
    fit = mm.lmm("Reaction ~ Days + (1 | Subject)", data, weights="w")
    means = mm.emmeans(fit, "1")
    np.testing.assert_allclose(means.L, [[1, data["Days"].mean()]])
    test = mm.kenward_roger(fit, means.L)
    frame = means.to_frame().iloc[0]
    assert frame["df"] == pytest.approx(test.df[1], rel=1e-9)
    assert (frame["mean"] / frame["se"]) ** 2 == pytest.approx(test.statistic, rel=1e-9)


def test_offsets():
    data = mm.load_dataset("sleepstudy")
    data = data.assign(off=10 * data["Days"])
    fit = mm.lmm("Reaction ~ Days + (1 | Subject)", data, offset="off")
    plain = mm.emmeans(fit, "Days", at={"Days": [0, 9]})
    given = mm.emmeans(fit, "Days", at={"Days": [0, 9]}, offset=0)
    np.testing.assert_allclose(plain.to_frame()["mean"] - given.to_frame()["mean"], 45)
    one = plain.contrasts(adjust="none").to_frame()["estimate"]
    np.testing.assert_allclose(one, given.contrasts(adjust="none").to_frame()["estimate"])
    total = plain.contrasts({"sum": [1, 1]}).to_frame()["estimate"]
    np.testing.assert_allclose(total, plain.to_frame()["mean"].sum())
    with pytest.raises(DataError, match="this one has none"):
        mm.emmeans(mm.lmm("Reaction ~ Days + (1 | Subject)", data), "1", offset=3)


@pytest.mark.parametrize(
    ("response", "back", "slope"),
    [
        ("log(height)", np.exp, np.exp),
        ("np.log(height)", np.exp, np.exp),
        ("log10(height)", lambda e: 10**e, lambda e: np.log(10) * 10**e),
        ("np.log2(height)", np.exp2, lambda e: np.log(2) * np.exp2(e)),
        ("np.sqrt(height)", np.square, lambda e: 2 * e),
        ("np.log1p(height)", np.expm1, np.exp),
        ("np.log(height + 2)", lambda e: np.exp(e) - 2, np.exp),
        ("np.cbrt(height)", lambda e: e**3, lambda e: 3 * e**2),
        ("np.log(height*1e-3)", np.exp, np.exp),
        ("np.log(height**-1)", np.exp, np.exp),
    ],
)
def test_back_to_the_response(response, back, slope):
    data = mm.load_dataset("oxboys").assign(late=lambda d: np.where(d["age"] > 0, "yes", "no"))
    fit = mm.lmm(f"{response} ~ late + (1 | Subject)", data)
    fitted = mm.emmeans(fit, "late").to_frame()
    shown = mm.emmeans(fit, "late", back=True).to_frame()
    for column in ("mean", "lower", "upper"):
        np.testing.assert_allclose(shown[column], back(fitted[column]), rtol=1e-12)
    np.testing.assert_allclose(shown["se"], slope(fitted["mean"]) * fitted["se"], rtol=1e-12)
    pairs = mm.emmeans(fit, "late", back=True).contrasts()
    if "log" in response and "log1p" not in response:
        assert pairs.to_frame()["contrast"].tolist() == ["no / yes"]
        assert any("ratios" in note for note in pairs.notes)
    else:
        assert pairs.to_frame()["contrast"].tolist() == ["no - yes"]
        assert any("fitted scale" in note for note in pairs.notes)


def test_ratios_are_of_what_the_logarithm_was_taken_of():
    fit = mm.lmm("log(height - 1) ~ Occasion + (1 | Subject)", mm.load_dataset("oxboys"))
    pairs = mm.emmeans(fit, "Occasion", back=True).contrasts()
    assert "The contrasts are ratios of height - 1: their logarithms are tested." in pairs.notes


def test_sums_of_logarithms_stay_logarithms():
    fit = mm.lmm("log(height) ~ Occasion + (1 | Subject)", mm.load_dataset("oxboys"))
    means = mm.emmeans(fit, "Occasion", back=True)
    row = np.ones(len(means.L)) / len(means.L)
    frame = means.contrasts({"average": row}).to_frame()
    assert frame["estimate"].iloc[0] == pytest.approx(np.log(means.to_frame()["mean"]).mean())


# ---- adjustments -------------------------------------------------------------------------------


def test_defaults(penicillin):
    means = mm.emmeans(penicillin, "treat")
    given = {"pairwise": "tukey", "reference": "dunnett", "consecutive": "none"}
    for how, adjust in given.items():
        assert means.contrasts(how).adjust == adjust
    assert means.contrasts({"one": [1, -1, 0, 0]}).adjust == "none"


def test_any_adjustment_is_between_none_and_bonferroni(penicillin):
    means = mm.emmeans(penicillin, "treat")
    none, most = (
        means.contrasts(adjust=each).to_frame()["pvalue"] for each in ("none", "bonferroni")
    )
    for adjust in ("tukey", "mvt", "holm", "bh"):
        frame = means.contrasts(adjust=adjust).to_frame()
        assert (frame["pvalue"] >= none - 1e-12).all()
        assert (frame["pvalue"] <= most + 1e-12).all()
    tukey, mvt = (means.contrasts(adjust=each).to_frame() for each in ("tukey", "mvt"))
    np.testing.assert_allclose(tukey["pvalue"], mvt["pvalue"], atol=2e-7)
    np.testing.assert_allclose(tukey["upper"], mvt["upper"], rtol=1e-5)


def test_the_error_of_random_points_is_carried():
    fit = mm.lmm("response ~ Treatment + (1 | Block)", mm.load_dataset("pbib"))
    at = {"Treatment": ["1", "2", "3", "4", "5", "6"]}
    contrasts = mm.emmeans(fit, "Treatment", at=at).contrasts(adjust="mvt")
    frame = contrasts.to_frame()
    assert 0 < frame.attrs["error"] < 1e-4
    assert any("The error of the p-values is below" in note for note in contrasts.notes)
    again = mm.emmeans(fit, "Treatment", at=at).contrasts(adjust="mvt").to_frame()
    pd.testing.assert_frame_equal(frame, again)


def test_limits_and_p_values_agree(cultivation):
    """A limit touches zero exactly where the adjusted p is 1 − level."""
    for how, adjust in (("pairwise", "tukey"), ("reference", "dunnett"), ("pairwise", "mvt")):
        means = mm.emmeans(cultivation, "Inoc")
        first = means.contrasts(how, adjust=adjust).to_frame()
        for row, p in enumerate(first["pvalue"]):
            if p < 1e-8:
                continue
            at_level = mm.emmeans(cultivation, "Inoc", level=1 - p).contrasts(how, adjust=adjust)
            limits = at_level.to_frame().iloc[row][["lower", "upper"]]
            assert np.abs(limits.to_numpy(float)).min() < 1e-4 * first["se"][row]


# ---- what is shown -----------------------------------------------------------------------------


def test_summary_in_every_medium(cultivation):
    means = mm.emmeans(cultivation, "Inoc")
    text = str(means)
    assert "Averaged over Cult with equal weights." in text
    assert "interacts with Cult" in text
    assert "Kenward and Roger" in text
    assert means._repr_html_().startswith("<table")
    latex = means.contrasts().summary().to_latex()
    assert "con - dea" in latex
    assert "Tukey" in latex
    joint = mm.emmeans(cultivation, "Inoc", by="Cult").joint_test()
    assert "all 3 means are equal" in str(joint)
    assert "<th scope" in joint._repr_html_()
    with pytest.raises(DataError, match="2 tests"):
        _ = joint.pvalue


def test_covariates_are_named_with_where_they_stand():
    fit = mm.lmm("distance ~ age * Sex + (1 | Subject)", mm.load_dataset("orthodont"))
    assert "age at 11, its mean." in str(mm.emmeans(fit, "Sex"))
    assert "age at 8." in str(mm.emmeans(fit, "Sex", at={"age": 8}))
    by_age = mm.emmeans(fit, "age", at={"age": [8, 14]}).contrasts().to_frame()
    assert by_age["contrast"].tolist() == ["age8 - age14"]


def test_names_with_signs_are_put_in_brackets():
    data = pd.DataFrame({"dose": ["pre-op", "post-op"] * 10, "g": np.repeat(list("abcde"), 4)})
    data["y"] = np.random.default_rng(0).normal(size=20)
    fit = mm.lmm("y ~ dose + (1 | g)", data)
    assert mm.emmeans(fit, "dose").contrasts().to_frame()["contrast"].tolist() == [
        "(post-op) - (pre-op)"
    ]


def test_reference_by_its_level(penicillin):
    means = mm.emmeans(penicillin, "treat")
    frame = means.contrasts("reference", ref="C").to_frame()
    assert frame["contrast"].tolist() == ["A - C", "B - C", "D - C"]
    cells = mm.emmeans(
        mm.lmm("yield ~ Variety * C(nitro) + (1 | Block)", mm.load_dataset("oats")),
        ["Variety", "nitro"],
    )
    frame = cells.contrasts("reference", ref=("Victory", 0.2), adjust="none").to_frame()
    assert frame["contrast"].iloc[0] == "Golden Rain nitro0 - Victory nitro0.2"


# ---- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m("tret"), "specs names 'tret'.*Did you mean 'treat'"),
        (lambda m: m("blend"), "grouping of random effects"),
        (lambda m: m("yield"), "no variable of the fixed part"),
        (lambda m: m("treat", by="treat"), "by names 'treat', which is in specs too"),
        (lambda m: m(["treat", "treat"]), "twice"),
        (lambda m: m(3), "a name or a list of names"),
        (lambda m: m("treat | blend"), "after the bar as by="),
        (lambda m: m("treat", at={"tret": 1}), "at names 'tret'.*Did you mean 'treat'"),
        (lambda m: m("treat", at={"treat": "E"}), "no level of 'treat'"),
        (lambda m: m("treat", at={"treat": []}), "no value"),
        (lambda m: m("treat", at=["treat"]), "at must be a dict"),
        (lambda m: m("treat", weights="same"), "weights must be"),
        (lambda m: m("treat", ddf="kr"), "ddf must be"),
        (lambda m: m("treat", level=95), "level must be between"),
        (lambda m: m("treat", back=True), "back=True undoes"),
        (lambda m: m("treat").contrasts("all"), "how must be"),
        (lambda m: m("treat").contrasts({}), "empty dict"),
        (lambda m: m("treat").contrasts({"one": [1, -1]}), "one coefficient for each of the 4"),
        (lambda m: m("treat").contrasts({"one": "AB"}), "must be numbers"),
        (lambda m: m("treat").contrasts({"one": [0, 0, 0, 0]}), "not only zeros"),
        (lambda m: m("treat").contrasts(adjust="sidak"), "adjust must be"),
        (lambda m: m("treat").contrasts("reference", adjust="tukey"), "'mvt' is right for any"),
        (lambda m: m("treat").contrasts(adjust="dunnett"), "'mvt' is right for any"),
        (lambda m: m("treat").contrasts(by="blend"), "by names 'blend', which is no label"),
        (lambda m: m("treat").contrasts(by="treat"), "nothing is left to compare"),
        (lambda m: m("treat").contrasts("reference", ref="E"), "ref names .E., which is no mean"),
        (lambda m: m("treat").contrasts(ref="A"), "ref goes with"),
        (lambda m: m("1").contrasts(), "only 'overall' to compare"),
        (lambda m: m("1").joint_test(), "only one mean"),
    ],
)
def test_errors_name_the_culprit(penicillin, call, message):
    with pytest.raises(DataError, match=message):
        call(lambda *args, **options: mm.emmeans(penicillin, *args, **options))


def test_a_factor_cannot_have_the_name_of_a_result():
    data = mm.load_dataset("penicillin").rename(columns={"treat": "t"})
    with pytest.raises(DataError, match="'t' has the name of a result"):
        mm.emmeans(mm.lmm("yield ~ t + (1 | blend)", data), "t")


def test_errors_of_slopes(cultivation):
    fit = mm.lmm("distance ~ age * Sex + (1 | Subject)", mm.load_dataset("orthodont"))
    with pytest.raises(DataError, match=r"'Sex' is a factor.*covariates are age"):
        mm.emtrends(fit, "Sex")
    with pytest.raises(DataError, match="Did you mean 'age'"):
        mm.emtrends(fit, "agee", by="Sex")
    with pytest.raises(DataError, match="by names 'Subject', which is a grouping"):
        mm.emtrends(fit, "age", by="Subject")
    with pytest.raises(DataError, match="covariates are none"):
        mm.emtrends(cultivation, "drywt")
    with pytest.raises(DataError, match="a fit is needed"):
        mm.emmeans("fit", "Sex")
    with pytest.raises(DataError, match="real numbers"):
        mm.emmeans(fit, "Sex", at={"age": "old"})


@pytest.mark.parametrize("name", ["a`b", "a:b", "a*b", "a+b", "a|b", "~", "1"])
def test_a_factor_of_any_name_is_asked_for_in_backticks(name):
    data = mm.load_dataset("penicillin")
    plain = mm.emmeans(mm.lmm("yield ~ treat + (1 | blend)", data), "treat").to_frame()
    quoted = "`" + name.replace("`", "``") + "`"
    fit = mm.lmm(f"yield ~ {quoted} + (1 | blend)", data.rename(columns={"treat": name}))
    for specs in (quoted, [name]):
        means = mm.emmeans(fit, specs).to_frame()
        np.testing.assert_allclose(means["mean"], plain["mean"])


@pytest.mark.parametrize(
    ("specs", "hint"),
    [
        ("pairwise ~ treat", r"write names only: emmeans\(fit, 'a'\)\.contrasts"),
        ("treat | blend", "write what stands after the bar as by="),
    ],
)
def test_specs_of_r_are_translated(specs, hint):
    fit = mm.lmm("yield ~ treat + (1 | blend)", mm.load_dataset("penicillin"))
    with pytest.raises(mm.DataError, match=hint):
        mm.emmeans(fit, specs)


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        (lambda fit: mm.emtrends(fit, "x", "treat"), r"factors are a keyword, by='a'"),
        (lambda fit: mm.emtrends(fit, var="x"), r"the covariate is the second argument"),
        (lambda fit: mm.emmeans(fit, "treat", "blend"), r"options are keywords: by='b'"),
        (lambda fit: mm.emmeans(fit, "treat", type="response"), "write back=True"),
        (lambda fit: mm.emmeans(fit, "treat", adjust="tukey"), r"\.contrasts\(adjust="),
    ],
)
def test_arguments_of_r_are_translated(call, hint):
    fit = mm.lmm("yield ~ treat + (1 | blend)", mm.load_dataset("penicillin"))
    with pytest.raises(mm.DataError, match=hint):
        call(fit)


@pytest.mark.parametrize("adjust", [None, "tukey", "mvt", "holm"])
def test_a_family_of_one_comparison_is_not_adjusted_and_does_not_say_so(adjust):
    fit = mm.lmm("distance ~ age * Sex + (age | Subject)", mm.load_dataset("orthodont"))
    means = mm.emmeans(fit, "Sex")
    one = means.contrasts(adjust=adjust)
    assert not any("adjusted" in note for note in one.notes)
    plain = means.contrasts(adjust="none")
    np.testing.assert_allclose(one.to_frame()["pvalue"], plain.to_frame()["pvalue"], rtol=1e-8)
    by_age = mm.emmeans(fit, "age", by="Sex", at={"age": [8, 11, 14]}).contrasts(adjust=adjust)
    assert any("adjusted" in note for note in by_age.notes)


def test_means_whose_labels_nearly_agree_are_all_compared():
    """Six digits called 1234560 and 1234561 alike, and contrasts of one name were one."""
    data = pd.DataFrame(
        {
            "year": np.repeat([1234560.0, 1234561.0, 1234562.0], 8),
            "g": list("abcdefgh") * 3,
            "y": np.random.default_rng(4).normal(size=24),
        }
    )
    means = mm.emmeans(mm.lmm("y ~ C(year) + (1 | g)", data), "year")
    value = data.groupby("year")["y"].mean().to_numpy()
    pairs = means.contrasts().to_frame()
    assert pairs["contrast"].iloc[0] == "year1234560 - year1234561"
    expected = [value[0] - value[1], value[0] - value[2], value[1] - value[2]]
    np.testing.assert_allclose(pairs["estimate"], expected)
    for ref in (1234561.0, 1234561, "year1234561"):
        against = means.contrasts("reference", ref=ref).to_frame()
        np.testing.assert_allclose(against["estimate"], value[[0, 2]] - value[1])
    assert "1234561" in str(means.summary())


def test_levels_with_blanks_do_not_make_one_name_of_two_means():
    rng = np.random.default_rng(4)
    data = pd.DataFrame({"a": ["x", "x y"] * 16, "b": ["z", "z", "y z", "y z"] * 8})
    data = data.assign(g=np.repeat(list("abcd"), 8), y=rng.normal(size=32))
    pairs = mm.emmeans(mm.lmm("y ~ a * b + (1 | g)", data), ["a", "b"]).contrasts().to_frame()
    assert len(pairs) == 6
    assert "x, y z - x y, z" in set(pairs["contrast"])
