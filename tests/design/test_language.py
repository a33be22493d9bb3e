"""What an expression may compute: each row from that row alone, and nothing else."""

import numpy as np
import pytest

import mmlib as mm
from mmlib.design.language import METHODS, OF_NUMPY, read_code
from tests.helpers.structures import simulated

BY_ROW = [
    *("I(x + z)", "I(x / z)", "I(x // 0.5)", "I(i % 2)", "I(-x ** 2)", "I((x > 0) & ~(z > 0))"),
    *("log(w)", "log2(w)", "log10(w)", "exp(x)", "exp2(x)", "exp10(x)", "{x * z}", "I(+x)"),
    *("np.abs(x)", "np.sqrt(w)", "np.log1p(w)", "np.maximum(x, z)", "np.hypot(x, z)", "np.sign(x)"),
    *("np.where(x > 0, z, 0)", "np.where(f == 'low', 'yes', 'no')", "np.clip(x, -1, 1)"),
    *("np.round(x, 1)", "np.around(x, 1)", "np.nan_to_num(x)", "np.isin(i, [1, 2])"),
    *("np.digitize(x, bins=[-1, 0, 1])", "np.interp(x, [-1, 0, 1], [0, 1, 4])"),
    *("x.abs()", "x.clip(-1, 1)", "x.clip(lower=z)", "x.round(1)", "x.between(-1, z)"),
    *(
        "i.isin([1, 2])",
        "I(x * np.pi)",
        "I(i == 2)",
        "C(i)",
        "C(f, contr.sum)",
        "C(f, Sum)",
        "C(f, Treatment)",
    ),
    *(
        "C(f, levels=['low', 'mid', 'high'])",
        "C(f, contr.treatment('mid'))",
        "C(f, Treatment('mid'))",
    ),
]
"""Expressions whose value in a row does not depend on the other rows."""


@pytest.mark.parametrize("expression", BY_ROW)
def test_a_row_means_the_same_among_other_rows(expression):
    """The rows of another order, and some of them only."""
    data = simulated()
    fit = mm.lmm(f"y ~ {expression} + (1 | g)", data)
    rows = np.random.default_rng(1).permutation(48)[:7]
    np.testing.assert_allclose(fit.predict(data.iloc[rows]), fit.fitted.iloc[rows])
    part = mm.build_design(f"y ~ x + {expression} + (1 | g)", data)
    np.testing.assert_array_equal(part.fixed_matrix(data.iloc[rows]), part.X[rows])


def test_what_is_allowed_is_tried():
    """A function that is let through stands among the expressions above."""
    for name in OF_NUMPY:
        assert any(f"np.{name}(" in expression for expression in BY_ROW), name
    for name in METHODS:
        assert any(f".{name}(" in expression for expression in BY_ROW), name


@pytest.mark.parametrize("term", ["scale(x)", "center(x)", "standardize(x)"])
def test_transformations_that_look_at_all_rows_remember_them(term):
    data = simulated()
    fit = mm.lmm(f"y ~ {term} + I({term} > 0) + (1 | g)", data)
    np.testing.assert_allclose(fit.predict(data.iloc[[3, 9]]), fit.fitted.iloc[[3, 9]])


@pytest.mark.parametrize(
    "expression",
    [
        *("I(x - x.mean())", "I(x - np.mean(x))", "{x - x.mean()}", "I(x / np.std(x))"),
        *("I((x - x.min()) / (x.max() - x.min()))", "x.rank()", "I(x > x.median())", "x.cumsum()"),
        *("I(x - x.shift(1))", "np.cumsum(x)", "np.sort(x)", "x.diff()", "x.fillna(x.mean())"),
        *(
            "np.linspace(0, 1, 48)",
            "np.random.normal(x)",
            "x.to_numpy()",
            "I(x.values)",
            "I(x.size)",
        ),
        *(
            "I(x.expanding().mean())",
            "np.add.accumulate(x)",
            "np.quantile(x, 0.5)",
            "f.map({'a': 1})",
        ),
    ],
)
def test_what_depends_on_other_rows_is_refused(expression):
    """It would be another number in new data: case 05 of the reports."""
    for formula in (f"y ~ {expression} + (1 | g)", f"y ~ z + ({expression} | g)"):
        with pytest.raises(mm.FormulaError, match=r"center\(x\) or scale\(x\)") as caught:
            mm.build_design(formula, simulated())
        assert "compute the column first" in str(caught.value)


@pytest.mark.parametrize(
    "expression",
    [
        'I(__import__("os").system("touch {0}") + x)',
        'I(x + np.lib.npyio.os.system("touch {0}"))',
        'I(x + np.f2py.os.system("touch {0}"))',
        'I(x + 0 * len(str(x.to_csv("{0}"))))',
        'I(x + 0 * (x.to_csv("{0}") is None))',
        "I(x + ().__class__.__base__.__subclasses__().__len__())",
        'I(x + open("{0}", "w").write("x"))',
        'np.save("{0}", x)',
        'np.savetxt("{0}", x)',
        'x.abs().to_csv("{0}")',
        'I([x.to_csv("{0}") for k in [1]])',
        'I((lambda: x.to_csv("{0}"))())',
        'I(f"{{x.to_csv("{0}")}}")',
        'scale(x, ddof=x.to_csv("{0}"))',
        'C(f, levels=open("{0}", "w"))',
        'C(f, contr.treatment(open("{0}", "w")))',
        "np.add(x, 1, out=z)",
        "np.add(x, 1, z)",
        "I(*[x])",
        "I(**{'data': x})",
        "getattr(x, 'mean')()",
        "I(x := z)",
    ],
)
def test_a_formula_runs_no_other_code(expression, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = simulated()
    before = data.copy(deep=True)
    written = expression.format("made") if "{0}" in expression else expression
    for formula in (f"y ~ {written} + (1 | g)", f"y ~ z + ({written} | g)", f"{written} ~ z"):
        with pytest.raises(mm.FormulaError):
            mm.build_design(formula, data)
    assert not list(tmp_path.iterdir())
    assert data.equals(before)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("I(0 < x < 1)", r"write \(0 < x\) & \(x < 5\)"),
        ("I(x > 0 and z > 0)", "write & and |"),
        ("I(not (x > 0))", "write ~"),
        ("I(i in [1, 2])", r"np\.isin"),
        ("I(x if x else z)", r"np\.where\(condition, yes, no\)"),
        ("I(x ^ 2)", r"a power is written \*\*"),
        ("I(x @ z)", "mixes rows"),
        ("I(x[0])", "compute the column first"),
        ("I(x + 1j)", "1j, which is no number"),
        ("I(5)", "has no column in it"),
        ("np.sqrt(4)", "has no column in it"),
        ("log(w, 2)", r"another base is written I\(log\(x\) / np\.log\(3\)\)"),
        ("np.where(x)", r"does not give np\.where its 3 argument"),
        ("poly(x, z)", "has z where a number, a list or contrasts are expected"),
        ("i.isin(i)", "has i where"),
        ("x.dot(z)", "a column of that name goes in backticks: `x.dot`"),
        (
            "bs(x, intercept=True)",
            "'intercept' .it is include_intercept here.; it has x, df, knots",
        ),
        ("C(f, contr.sdif)", "contr.sdif of MASS is contr.diff"),
        ("C(f, contr.nothing)", r"there are contr\.treatment, contr\.sum"),
        ("C(f, 'contr.sum')", "write contr.sum without quotes"),
        ("poly(x, 2, raw=TRUE)", "TRUE, which is written True"),
        ("I(x * TRUE)", "TRUE, which is written True"),
    ],
)
def test_the_message_says_what_to_write(expression, message):
    with pytest.raises(mm.FormulaError, match=message):
        mm.build_design(f"y ~ {expression} + (1 | g)", simulated())


def test_an_expression_is_read_once():
    assert read_code("I(x + z)") is read_code("I(x + z)")
    assert read_code("C(x)").labels == {"x"}
    assert read_code("C(x) ").columns == {"x"}
