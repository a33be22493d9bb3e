"""What a mixed-model formula may look like, and what the message says when it may not."""

import pickle
import re

import pytest

import mmlib as mm
from mmlib.design.formula import RandomPart, columns_used, parse_with_formulaic


def random_parts(formula):
    """Return the random terms as (expr, group) pairs."""
    return [(part.expr, part.group) for part in mm.parse_formula(formula).random]


# --- notations that are read ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "fixed"),
    [
        ("1 + (1 | g)", "1"),
        ("(1 | g)", "1"),
        ("x + (1 | g)", "x"),
        ("(1 | g) + x", "x"),
        ("x+(1|g)+z", "x + z"),
        ("0 + x + (1 | g)", "0 + x"),
        ("(1 | g) + 0", "0"),
        ("x - 1 + (1 | g)", "x - 1"),
        ("-1 + x + (1 | g)", "- 1 + x"),
        ("+ x + (1 | g)", "x"),
        ("x + -1 + (1 | g)", "x - 1"),
        ("x * f + I(x ** 2) + (1 | g)", "x * f + I(x ** 2)"),
        ("(x + z) ** 2 + (1 | g)", "(x + z) ** 2"),
        ("log(x + 1) + (1 | g)", "log(x + 1)"),
        ("C(f, contr.sum) + (1 | g)", "C(f, contr.sum)"),
        ("{x + 1} + (1 | g)", "{x + 1}"),
        ("C(f, levels=['a + (1 | b)']) + (1 | g)", "C(f, levels=['a + (1 | b)'])"),
        ("`a + (1 | b)` + (1 | g)", "`a + (1 | b)`"),
        ("x", "x"),
        ("1", "1"),
        ("0", "0"),
    ],
)
def test_fixed_part_is_what_is_left(right, fixed):
    formula = mm.parse_formula(f"y ~ {right}")
    assert (formula.response, formula.fixed) == ("y", fixed)
    assert len(formula.random) == int("| g)" in right or "|g)" in right)


@pytest.mark.parametrize(
    ("term", "parts"),
    [
        ("(1 | g)", [("1", "g")]),
        ("(1|g)", [("1", "g")]),
        ("( 1  |  g )", [("1", "g")]),
        ("(x | g)", [("x", "g")]),
        ("(1 + x | g)", [("1 + x", "g")]),
        ("(0 + x | g)", [("0 + x", "g")]),
        ("(x - 1 | g)", [("x - 1", "g")]),
        ("(0 + f | g)", [("0 + f", "g")]),
        ("(log(x + 1) | g)", [("log(x + 1)", "g")]),
        ("(1 + (x + z) | g)", [("1 + (x + z)", "g")]),
        # `||` makes a term of each
        ("(x || g)", [("1", "g"), ("0 + x", "g")]),
        ("(1 + x || g)", [("1", "g"), ("0 + x", "g")]),
        ("(0 + x || g)", [("0 + x", "g")]),
        ("(1 || g)", [("1", "g")]),
        ("(x * z || g)", [("1", "g"), ("0 + x", "g"), ("0 + z", "g"), ("0 + x:z", "g")]),
        ("(`a b` || g)", [("1", "g"), ("0 + `a b`", "g")]),
        ("(log(x) || g)", [("1", "g"), ("0 + log(x)", "g")]),
        # groupings
        ("(1 | a:b)", [("1", "a:b")]),
        ("(1 | a/b)", [("1", "a"), ("1", "a:b")]),
        ("(1 | a/b/c)", [("1", "a"), ("1", "a:b"), ("1", "a:b:c")]),
        ("(x || a/b)", [("1", "a"), ("0 + x", "a"), ("1", "a:b"), ("0 + x", "a:b")]),
        ("(1 | a*b)", [("1", "a"), ("1", "b"), ("1", "a:b")]),
        ("(1 | `a b`)", [("1", "a b")]),
        ("(1 | a.b)", [("1", "a.b")]),
        ("(1 | `a|b`)", [("1", "a|b")]),
    ],
)
def test_random_term(term, parts):
    assert random_parts(f"y ~ x + {term}") == parts


def test_terms_stay_in_the_order_of_the_formula():
    assert random_parts("y ~ (1 | b) + x + (z | a) + (1 | c)") == [
        ("1", "b"),
        ("z", "a"),
        ("1", "c"),
    ]


def test_combinations_keep_the_columns_apart():
    nested = mm.parse_formula("y ~ (1 | a/b)").random[1]
    assert nested == RandomPart("1", ("a", "b"))
    assert str(nested) == "(1 | a:b)"


def test_response_may_be_transformed():
    assert mm.parse_formula("log(y + 1) ~ x + (1 | g)").response == "log(y + 1)"


def test_formula_prints_as_it_was_typed_but_for_white_space():
    assert str(mm.parse_formula(" y ~  x\n + (1 | g) ")) == "y ~ x + (1 | g)"


# --- formulas that are refused -------------------------------------------------------------------

NEEDS_TWO_SIDES = r"needs a response on the left of one '~' and terms on the right"
STANDS_ALONE = r"a random term stands alone between '\+' signs, in parentheses; found "
LOOKS_LIKE = r"must look like '\(1 \+ x \| group\)'"


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        (None, "must be a string, not NoneType"),
        (5, "must be a string, not int"),
        (["y ~ x"], "must be a string, not list"),
        ("", NEEDS_TWO_SIDES),
        ("y", NEEDS_TWO_SIDES),
        ("~ x", NEEDS_TWO_SIDES),
        ("y ~", NEEDS_TWO_SIDES),
        ("y ~ x ~ z", NEEDS_TWO_SIDES),
        ("y ~ x + 1 | g", STANDS_ALONE + r"'1 \| g'"),
        ("y ~ 1 | g", STANDS_ALONE + r"'1 \| g'"),
        ("y ~ x + (1 | g", STANDS_ALONE + r"'\(1 \| g'"),
        ("y ~ x + (1 | g))", STANDS_ALONE + r"'\(1 \| g\)\)'"),
        ("y ~ x + ((1 | g))", STANDS_ALONE),
        ("y ~ (x + (1 | g))", STANDS_ALONE),
        ("y ~ x + [1 | g]", STANDS_ALONE),
        ("y ~ x + (1 | g) * z", STANDS_ALONE + r"'\(1 \| g\) \* z'"),
        ("y ~ x:(1 | g)", STANDS_ALONE),
        ("y ~ (1 | g)(1 | h)", STANDS_ALONE),
        ("y ~ x - (1 | g)", r"cannot be subtracted: '- \(1 \| g\)'"),
        ("y ~ x + -(1 | g)", r"cannot be subtracted: '- \(1 \| g\)'"),
        ("y ~ ( | g)", r"'\( \| g\)' " + LOOKS_LIKE),
        ("y ~ (1 | )", r"'\(1 \| \)' " + LOOKS_LIKE),
        ("y ~ (|)", LOOKS_LIKE),
        ("y ~ (1 | g | h)", r"'\(1 \| g \| h\)' " + LOOKS_LIKE),
        ("y ~ (1 ||| g)", LOOKS_LIKE),
        ("y ~ (1 || g || h)", LOOKS_LIKE),
        ("y ~ (0 | g)", r"'\(0 \| g\)' has nothing that varies; try '\(1 \| g\)'"),
        ("y ~ (x - x - 1 | g)", "has nothing that varies"),
        ("y ~ (1 | 1)", r"'\(1 \| 1\)' names no grouping column"),
        ("y ~ (1 | log(g))", r"grouping 'log\(g\)' .* must be made of column names"),
        ("y ~ (1 | g h)", "cannot read 'g h'"),
        ("y ~ (1 + | g)", r"cannot read '1 \+'"),
        ("y ~ x +", r"'y ~ x \+' ends with '\+'"),
        ("y ~ (1 | g) +", r"ends with '\+': a term is missing"),
        ("y ~ x + + (1 | g) +", r"ends with '\+': a term is missing"),
        ("y ~ x + (1 | g) -", "ends with '-': a term is missing"),
        ("y ~ x z + (1 | g)", "cannot read 'x z'"),
        ("y ~ x + 'abc + (1 | g)", "cannot read"),
        ("y ~ log(x + (1 | g)", "cannot read|" + STANDS_ALONE),
        ("y ~ x == 1 + (1 | g)", "cannot read 'x == 1'"),
        ("y ~ . + (1 | g)", r"cannot read '\.'"),
        ("y | x ~ 1 + (1 | g)", r"'y \| x'"),
        ("(1 | g) ~ x", r"'\(1 \| g\)'"),
    ],
)
def test_malformed_formula_is_named(formula, message):
    with pytest.raises(mm.FormulaError, match=message) as caught:
        mm.parse_formula(formula)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


# --- which columns an expression takes -----------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "columns"),
    [
        ("1", set()),
        ("x + z", {"x", "z"}),
        ("x:z", {"x", "z"}),
        ("I(x + z)", {"x", "z"}),
        ("log(x)", {"x"}),
        ("np.log(x)", {"x"}),
        ("C(f, contr.sum)", {"f"}),
        ("C(f, Treatment)", {"f"}),
        ("C(f, levels=['a', 'b'])", {"f"}),
        ("poly(x, 2)", {"x"}),
        ("bs(x, df=4) + scale(z)", {"x", "z"}),
        ("cr(x, df=4):f", {"x", "f"}),
        ("center(x)", {"x"}),
        ("`a b` + log(`c.d`)", {"a b", "c.d"}),
        ("a.b + log(`a.b`)", {"a.b"}),
        ("Treatment + log", {"Treatment", "log"}),
    ],
)
def test_columns_used(expression, columns):
    assert columns_used(parse_with_formulaic(expression)) == columns


@pytest.mark.parametrize(
    ("response", "instead"),
    [
        ("y - z", "I(y - z)"),
        ("y + z", "I(y + z)"),
        ("y / 10", "I(y / 10)"),
        ("y^2", "I(y**2)"),
        ("-y", "I(-y)"),
        ("log(y) - 1", "I(log(y) - 1)"),
        ("`my - y` * 2", "I(`my - y` * 2)"),
    ],
)
def test_arithmetic_in_the_response_is_refused(response, instead):
    """As terms, y - z would be y, and so would y ** 2."""
    with pytest.raises(mm.FormulaError, match=re.escape(f"write {instead}.")):
        mm.parse_formula(f"{response} ~ x")


@pytest.mark.parametrize("response", ["`my - y`", "log(y + 1)", "I(y - z)", "np.log(y)"])
def test_arithmetic_in_brackets_and_names_is_a_response(response):
    assert mm.parse_formula(f"{response} ~ x").response == response


def test_the_dot_of_r_is_explained():
    with pytest.raises(mm.FormulaError, match=r"the dot of R.*name the columns"):
        parse_with_formulaic("x + .")


def test_a_hat_inside_a_function_is_refused():
    """Python would compute an exclusive or of bits, for whole numbers without complaint."""
    expression = parse_with_formulaic("1 + I(x ^ 2)")
    with pytest.raises(mm.FormulaError, match=r"a power is written \*\*"):
        columns_used(expression)
    assert columns_used(parse_with_formulaic("(x + z)^2")) == {"x", "z"}


@pytest.mark.parametrize(
    ("formula", "hint"),
    [
        ("y ~ x**2 + (1 | g)", r"which is x itself: for a power write I\(x \*\* 2\)"),
        ("y ~ x^2 + (1 | g)", r"write I\(x \*\* 2\)"),
        ("y ~ f * log(x)^2 + (1 | g)", r"write I\(log\(x\) \*\* 2\)"),
        ("y ~ f + (x**2 | g)", r"write I\(x \*\* 2\)"),
        ("y ~ x - np.mean(x) + (1 | g)", r"term that is not there; .* center\(x\)"),
        ("y ~ x - z + (1 | g)", r"'- z' takes away a term that is not there"),
        ("y ~ x + (x - z | g)", r"'- z' takes away a term that is not there"),
        ("y ~ (x > 0) + (1 | g)", r"stand in I\(\), as in"),
        ("y ~ 2 * x + (1 | g)", r"stand in I\(\), as in"),
        ("y ~ `` + (1 | g)", "a name of no letters"),
    ],
)
def test_arithmetic_that_the_algebra_of_terms_would_leave_out_is_refused(formula, hint):
    """In R too y ~ x^2 is y ~ x and y ~ x - mean(x) is y ~ x, without a word."""
    with pytest.raises(mm.FormulaError, match=hint):
        mm.parse_formula(formula)


@pytest.mark.parametrize(
    "fixed", ["(x + z)**2", "f*x - f:x", "x - 1", "-1 + x", "x + z - z", "I(x**2)", "0 + x"]
)
def test_the_algebra_of_terms_is_left(fixed):
    assert mm.parse_formula(f"y ~ {fixed} + (1 | g)").fixed.replace(" ", "")


def test_a_term_reads_the_same_after_a_pickle():
    for part in mm.parse_formula("y ~ x + (x | g) + ar1(0 + c | g)").random:
        assert str(pickle.loads(pickle.dumps(part))) == str(part)
