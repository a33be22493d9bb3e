"""The summary of a fit: lme4's layout and digits, and the notes a reader must not miss."""

import warnings

import numpy as np
import pytest
from bs4 import BeautifulSoup

import mmlib as mm
from tests.helpers import oracle
from tests.helpers.structures import simulated

REML_PULP = """\
Linear mixed model fit by REML
Formula: bright ~ 1 + (1 | operator)

REML criterion at convergence: 18.6

Scaled residuals:
     Min      1Q  Median     3Q    Max
 -1.4666 -0.7595 -0.1243 0.6281 1.6012

Random effects:
 Groups   Name      Variance Std.Dev.
 operator Intercept  0.06808   0.2609
 Residual            0.10625   0.3260

Number of obs: 20, groups: operator, 4

Fixed effects:
           Estimate Std. Error t value
 Intercept  60.4000     0.1494   404.2

For degrees of freedom and p-values: summary(ddf='kenward-roger')."""

ML_PULP = """\
Linear mixed model fit by maximum likelihood
Formula: bright ~ 1 + (1 | operator)

  AIC  BIC logLik -2*log(L) df.resid
 22.5 25.5   -8.3      16.5       17

Scaled residuals:
      Min       1Q   Median      3Q     Max
 -1.50554 -0.78116 -0.06353 0.65850 1.56232

Random effects:
 Groups   Name      Variance Std.Dev.
 operator Intercept  0.04575   0.2139
 Residual            0.10625   0.3260

Number of obs: 20, groups: operator, 4

Fixed effects:
           Estimate Std. Error t value
 Intercept  60.4000     0.1294   466.7

For degrees of freedom and p-values: summary(ddf='satterthwaite')."""

# R's summary of this model, but that its default optimiser stops at 612.10 and 24.741.
SLEEPSTUDY = """\
Linear mixed model fit by REML
Formula: Reaction ~ Days + (Days | Subject)

REML criterion at convergence: 1743.6

Scaled residuals:
     Min      1Q Median     3Q    Max
 -3.9536 -0.4634 0.0231 0.4634 5.1793

Random effects:
 Groups   Name      Variance Std.Dev. Corr
 Subject  Intercept   612.09   24.740
          Days         35.07    5.922 0.07
 Residual             654.94   25.592

Number of obs: 180, groups: Subject, 18

Fixed effects:
           Estimate Std. Error t value
 Intercept  251.405      6.825  36.838
 Days        10.467      1.546   6.771

For degrees of freedom and p-values: summary(ddf='kenward-roger').

Correlation of fixed effects:
      Intercept
 Days    -0.138"""

PULP, SLEEP = "bright ~ 1 + (1 | operator)", "Reaction ~ Days + (Days | Subject)"


@pytest.mark.parametrize(
    ("formula", "dataset", "reml", "text"),
    [
        (PULP, "pulp", True, REML_PULP),
        (PULP, "pulp", False, ML_PULP),
        (SLEEP, "sleepstudy", True, SLEEPSTUDY),
    ],
)
def test_text_has_the_layout_and_the_digits_of_lme4(formula, dataset, reml, text):
    fit = mm.lmm(formula, mm.load_dataset(dataset), reml=reml)
    assert str(fit.summary()) == text
    assert str(fit) == repr(fit) == text


@pytest.mark.parametrize("criterion", ["ML", "REML"])
def test_every_number_that_the_lecture_prints_is_there(criterion):
    """All but one median, -0.12434564, that R rounded twice to -0.1244."""
    fit = mm.lmm(PULP, mm.load_dataset("pulp"), reml=criterion == "REML")
    shown = str(fit).split()
    rows = [
        row
        for row in oracle.load_printed_values()
        if row["where"].startswith(f"{criterion} ") and row["reproduced"] == "TRUE"
    ]
    assert len(rows) >= 12
    for row in rows:
        assert row["printed"] in shown, row["where"]


def test_html_says_the_same_as_the_text():
    fit = mm.lmm(SLEEP, mm.load_dataset("sleepstudy"))
    html = BeautifulSoup(fit._repr_html_(), "html.parser")
    assert html.get_text(" ").replace(":", "").split() == str(fit).replace(":", "").split()
    captions = [caption.text for caption in html.find_all("caption")]
    assert captions == [
        "Scaled residuals",
        "Random effects",
        "Fixed effects",
        "Correlation of fixed effects",
    ]
    assert {th["scope"] for th in html.find_all("th")} == {"row", "col"}


def test_latex_keeps_the_formula_readable():
    latex = mm.lmm(PULP, mm.load_dataset("pulp")).summary().to_latex()
    assert r"bright \textasciitilde{} 1 + (1 \textbar{} operator)" in latex
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 3


# --- notes ---------------------------------------------------------------------------------------


def notes_of(formula, data=None, **arguments):
    fit = mm.lmm(formula, simulated() if data is None else data, **arguments)
    return str(fit.summary())


def test_an_ordinary_fit_has_no_note():
    text = notes_of("y ~ x + (1 | g)")
    for word in ("left out", "Boundary", "converged:"):
        assert word not in text


def test_rows_left_out_are_counted():
    data = simulated()
    data.loc[[1, 2], "x"] = np.nan
    with pytest.warns(mm.DataWarning, match="2 row.s. left out because a value is missing"):
        assert "2 row(s) left out because a value is missing." in notes_of("y ~ x + (1 | g)", data)


def test_aliased_columns_are_named():
    with pytest.warns(mm.DataWarning, match=r"left out because they depend .* I\(2 \* x\)"):
        text = notes_of("y ~ x + I(2 * x) + (1 | g)")
    assert "Column(s) left out because they depend on the ones before: I(2 * x)." in text


@pytest.mark.parametrize(
    ("formula", "note"),
    [
        ("noise ~ x + (1 | g)", "Boundary estimate: σ(g) = 0."),
        ("noise ~ x + (1 + x || g)", "Boundary estimate: σ(g) = 0; σ(g: x) = 0."),
        ("noise ~ x + (1 | g) + (1 | h)", "Boundary estimate: σ(g) = 0; σ(h) = 0."),
        ("y ~ x + (1 + x + z | g)", "the effects of g are perfectly correlated (covariance of"),
    ],
)
def test_an_estimate_on_the_boundary_is_named(formula, note):
    data = simulated()
    noise = data["z"] + 0.0
    for column in ("g", "h", "g", "h", "g"):  # what no grouping explains
        noise -= noise.groupby(data[column]).transform("mean")
    assert note in notes_of(formula, data.assign(noise=noise), reml=False)


# --- other models --------------------------------------------------------------------------------


def test_counts_name_each_grouping_once():
    text = notes_of("y ~ x + (1 + x || g) + (1 | h) + (1 | f)")
    assert "Number of obs: 48, groups: g, 6; h, 5; f, 3" in text


def test_a_model_without_random_terms():
    text = notes_of("y ~ x", reml=False)
    assert text.startswith("Linear model (no random term) fit by maximum likelihood\n")
    assert "groups" not in text


def test_a_model_without_fixed_effects():
    fit = mm.lmm("y ~ 0 + (1 | g)", simulated())
    text = str(fit.summary())
    assert str(fit.summary(ddf="satterthwaite")) == text
    assert "Fixed effects" not in text
    assert "Correlation of" not in text


def test_correlations_of_many_fixed_effects_are_not_shown():
    many = "y ~ x * z * f + h + (1 | g)"
    assert "Correlation of fixed effects" not in notes_of(many)
    assert "Correlation of fixed effects" in notes_of("y ~ x * f + (1 | g)")


def test_scaled_residuals_count_the_weights():
    data = simulated()
    fit = mm.lmm("y ~ x + (1 | g)", data, weights="w")
    scaled = np.sqrt(data["w"]) * fit.resid / fit.sigma
    line = str(fit).split("Scaled residuals:\n")[1].splitlines()[1]
    np.testing.assert_allclose(
        [float(number) for number in line.split()],
        np.quantile(scaled, np.linspace(0, 1, 5)),
        atol=1e-4,
    )


@pytest.mark.filterwarnings("ignore::mmlib.DataWarning")
def test_a_column_that_was_left_out_keeps_its_row():
    fit = mm.lmm("y ~ I(2 * x) + x + z + (1 | g)", simulated())
    for ddf in (None, "kenward-roger", "satterthwaite"):
        table = fit.coef_table(ddf=ddf)
        assert list(table.index) == ["Intercept", "I(2 * x)", "x", "z"]
        assert table.loc["x"].isna().all()
        np.testing.assert_allclose(table["Estimate"].dropna(), fit.beta)
    row = next(line for line in str(fit.summary()).splitlines() if line.startswith(" x "))
    assert row.split() == ["x", "dropped"]


def test_losses_warn_once():
    data = simulated()
    data.loc[[1, 2], "x"] = np.nan
    with pytest.warns(mm.DataWarning) as caught:
        fit = mm.lmm("y ~ x + I(2 * x) + (1 | g)", data)
    assert [warning.filename == __file__ for warning in caught] == [True, True]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit.refit(reml=False).predict(data.dropna())
