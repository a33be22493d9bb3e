"""The face of mmlib: what `__all__`, `dir()` and the reference pages name, and how it is called.

A docstring is whole: it names every parameter, says what comes back, and refers only to what has a
page. Signatures keep one convention, so that who knows one function can call the next.
"""

import importlib
import inspect
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, cached_property
from typing import Any

import pytest
from numpydoc.docscrape import NumpyDocString

import mmlib as mm
from tools import ROOT

DIRECTIVE = re.compile(
    r"^\.\. (?P<kind>currentmodule|auto\w+):: (?P<name>[\w.]+)\n"
    r"(?P<options>(?:   :.*\n)*)",
    re.M,
)


def options_of(text: str) -> dict[str, list[str]]:
    """The options of a directive, by name, as lists of names."""
    pairs = re.findall(r":([\w-]+):(.*)", text)
    return {
        name: [each.strip() for each in value.split(",") if each.strip()] for name, value in pairs
    }


def members_of(cls: type, options: dict[str, list[str]]) -> list[str]:
    """The members of a class that its page shows."""
    special = options.get("special-members", [])
    if "members" not in options:
        return special
    if options["members"]:
        return options["members"] + special
    owner = cls.__mro__ if "inherited-members" in options else (cls,)
    everything = {name for each in owner[: len(owner) - 1 or 1] for name in vars(each)}
    shown = {name for name in everything if callable_or_property(getattr_static(cls, name))}
    return (
        sorted({n for n in shown if n[0] != "_"} - set(options.get("exclude-members", [])))
        + special
    )


def getattr_static(cls: type, name: str) -> Any:
    found = inspect.getattr_static(cls, name)
    return found.__func__ if isinstance(found, classmethod | staticmethod) else found


def callable_or_property(member: Any) -> bool:
    return inspect.isfunction(member) or isinstance(member, property | cached_property)


def documented(pages: str) -> Iterator[tuple[str, Any]]:
    """What the directives of pages document, by the name under which a reader finds it."""
    module = mm
    for found in DIRECTIVE.finditer(pages):
        kind, name, options = found["kind"], found["name"], options_of(found["options"])
        if kind == "currentmodule":
            module = importlib.import_module(name)
            continue
        thing = getattr(module, name)
        prefix = module.__name__.removeprefix("mmlib").removeprefix(".")
        full = f"{prefix}.{name}" if prefix else name
        yield full, thing
        if inspect.isclass(thing):
            for member in members_of(thing, options):
                yield f"{full}.{member}", getattr_static(thing, member)


PAGES = "\n".join(
    path.read_text(encoding="utf-8") for path in sorted((ROOT / "book/reference").glob("*.md"))
)
PUBLIC = list(documented(PAGES))
FUNCTIONS = [(name, thing) for name, thing in PUBLIC if inspect.isfunction(thing)]


# --- one list of names ----------------------------------------------------------------------------


def top(names: Any, prefix: str = "") -> list[str]:
    """The names directly below a module."""
    return sorted(
        n.removeprefix(prefix) for n in names if re.fullmatch(re.escape(prefix) + r"\w+", n)
    )


def test_all_dir_and_the_reference_pages_name_the_same_things():
    names = [name for name, _ in PUBLIC]
    assert len(set(names)) == len(names)
    assert sorted(mm.__all__) == dir(mm) == sorted([*top(names), "plots"])
    assert sorted(mm.plots.__all__) == dir(mm.plots) == top(names, "plots.")


def test_a_page_is_read_as_sphinx_reads_it():
    page = """
.. currentmodule:: mmlib

.. autofunction:: lmm

.. autoclass:: RandomPart
   :members:

.. autoclass:: LMMResult
   :members:
   :inherited-members:
   :exclude-members: fixef

.. autoclass:: Objective
   :members: value_and_gradient
   :special-members: __call__
"""
    names = [name for name, _ in documented(page)]
    assert {"lmm", "RandomPart", "RandomPart.group", "LMMResult.ranef"} < set(names)
    assert "LMMResult.fixef" not in names
    assert names[-3:] == ["Objective", "Objective.value_and_gradient", "Objective.__call__"]


# --- whole docstrings -----------------------------------------------------------------------------

HEADING = re.compile(r"^(\w+ )+-{3,}", re.M)
"""A heading whose rule has run into its line."""

SAID_ONCE = re.compile(r"plots\.\w+|\w+\.summary")
"""A figure returns its Axes, as their page says; every summary is a `Summary`."""


@cache
def attributes(cls: type) -> set[str]:
    """What a class and those below it list as their attributes."""
    docs = [NumpyDocString(inspect.getdoc(each) or "") for each in cls.__mro__[:-1]]
    named = [p.name.split(",") for doc in docs for p in doc["Attributes"]]
    return {name.strip() for names in named for name in names}


INNER = {
    "Design": {"spec"},
    "JointTests": {"told"},
    "LinearFunctions": {"caption", "told", "shift", "scale", "n_means", "over"},
    "Optimum": {"factor"},
    "RandomTerm": {"spec"},
    "Summary": {"parts"},
}
"""Attributes that other rooms of mmlib read, and users need not."""


def parameters(name: str, function: Any) -> list[inspect.Parameter]:
    """What a caller gives: of a method, all but the first."""
    listed = list(inspect.signature(function).parameters.values())
    return listed[1:] if name.rpartition(".")[0] in CLASSES else listed


def lacks(name: str, thing: Any) -> list[str]:
    """What a docstring leaves out."""
    text = NumpyDocString(inspect.getdoc(thing) or "")
    found = [] if text["Summary"] else ["a first line"]
    if HEADING.search(inspect.getdoc(thing) or ""):
        found.append("a line of its own for a heading")
    if is_dataclass(thing):
        listed = attributes(thing) | INNER.get(name, set())
        shown = (f.name for f in fields(thing) if f.name[0] != "_")
        return found + [f"the attribute {field}" for field in shown if field not in listed]
    if not inspect.isfunction(thing):
        return found
    named = {n.strip().lstrip("*") for p in text["Parameters"] for n in p.name.split(",")}
    found += [f"the parameter {p.name}" for p in parameters(name, thing) if p.name not in named]
    back = inspect.signature(thing).return_annotation not in (None, "None")
    if back and not text["Returns"] and not SAID_ONCE.fullmatch(name):
        found.append("what it returns")
    named = re.findall(r"^>>> .*?(?<![\w.])(\w+)\(", "\n".join(text["Examples"]), re.M)
    found += [f"mm. before {each}" for each in named if each in mm.__all__]
    of_a_fit = name.startswith("LMMResult.")
    if not text["Examples"] and ("." not in name or name.startswith("plots.") or of_a_fit):
        found.append("an example")
    return found


@pytest.mark.parametrize(("name", "thing"), PUBLIC, ids=[name for name, _ in PUBLIC])
def test_a_docstring_is_whole(name, thing):
    assert lacks(name, thing) == []


def test_what_a_docstring_lacks_is_found():
    def bare(fit, *, level=0.95):
        """Say little.

        Parameters
        ----------
        fit : LMMResult
        """

    def deep():
        """Show it by another name.

        Returns
        -------
        int

        Examples
        --------
        >>> lmm("y ~ x", data)
        """

    assert lacks("bare", bare) == ["the parameter level", "what it returns", "an example"]

    def run_together():
        """Say it.

        Notes ----- All in one line.
        """

    assert "a line of its own for a heading" in lacks("run_together", run_together)
    assert lacks("deep", deep) == ["mm. before lmm"]
    assert lacks("nothing", property(lambda _: 1)) == ["a first line"]

    @dataclass
    class Half:
        """Half of it.

        Attributes
        ----------
        left : int
        """

        left: int
        right: int

    assert lacks("Half", Half) == ["the attribute right"]


# --- references -----------------------------------------------------------------------------------


CLASSES = {name: thing for name, thing in PUBLIC if inspect.isclass(thing)}
EVERY_NAME = {name for name, _ in PUBLIC} | {
    f"{name}.{attribute}" for name, cls in CLASSES.items() for attribute in attributes(cls)
}


def known_to(name: str, thing: Any) -> set[str]:
    """Names that the docstring of a thing may use as they are."""
    own = {p.name for p in parameters(name, thing)} if inspect.isfunction(thing) else set()
    holder = name if name in CLASSES else name.rpartition(".")[0]
    if holder in CLASSES:
        own |= attributes(CLASSES[holder])
    inside = f"{holder}."
    own |= {each.removeprefix(inside) for each in EVERY_NAME if each.startswith(inside)}
    return own | EVERY_NAME | {f"mmlib.{each}" for each in EVERY_NAME}


def points_somewhere(name: str) -> bool:
    """Whether a name of mmlib is that of a module, or of what a module holds."""
    module, _, attribute = name.rpartition(".")
    if hasattr(importlib.import_module(module), attribute):
        return True
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def importable(reference: str) -> bool:
    """Whether a dotted name belongs to another library."""
    module, _, attribute = reference.rpartition(".")
    if not module or module.split(".")[0] == "mmlib":
        return False
    try:
        return hasattr(importlib.import_module(module), attribute)
    except ImportError:
        return False


def dangling(name: str, thing: Any) -> list[str]:
    """Names in single backticks that lead nowhere."""
    mentioned = re.findall(r"(?<![`:])`([^`\n]+)`(?!`)", inspect.getdoc(thing) or "")
    names = [each.removesuffix("()") for each in mentioned]
    known = known_to(name, thing)
    return [each for each in names if each not in known and not importable(each)]


@pytest.mark.parametrize(("name", "thing"), PUBLIC, ids=[name for name, _ in PUBLIC])
def test_what_a_docstring_refers_to_is_there(name, thing):
    assert dangling(name, thing) == []


@pytest.mark.parametrize("path", sorted((ROOT / "mmlib").rglob("*.py")), ids=lambda p: p.stem)
def test_what_a_source_points_to_is_there(path):
    for name in re.findall(r"`(mmlib\.[\w.]+)`", path.read_text(encoding="utf-8")):
        assert points_somewhere(name), name


def test_a_reference_that_leads_nowhere_is_found():
    def lost(level):
        """As `lmm` and `LMMResult.fixef`, with `level` and `numpy.linspace`; see `mmlib.gone`."""

    assert dangling("lost", lost) == ["mmlib.gone"]


# --- one style of call ----------------------------------------------------------------------------

CHOICES = {"kind", "method"}
"""What may stand beside the subject without its name: which version, or by which way."""

DEFAULTS = {"level": {0.95, None}, "rng": {None}, "reml": {True}, "unit": {None}, "ax": {None}}
"""Options that start out the same everywhere, but for those below."""

SPECIAL = {
    ("LMMResult.refit", "reml"): "None: as the fit",
    ("Profile.grid", "level"): "0.99: a curve reaches beyond the interval",
}

RENAMED = {"n_sim", "B", "seed", "null", "alternative", "random_state", "newdata", "table"}
"""Other words for `nsim`, `rng`, `small`, `large`, `new`, `summary` and `to_frame`."""


def strays(name: str, function: Any) -> list[str]:
    """Where a signature leaves the convention."""
    listed = parameters(name, function)
    optional = [p for p in listed if p.default is not p.empty]
    placed = [p for p in optional if p.kind is p.POSITIONAL_OR_KEYWORD and p.name not in CHOICES]
    unnamed = [p for k, p in enumerate(placed) if k or p.name in DEFAULTS]
    found = [f"{p.name} is an option and needs its name" for p in unnamed]
    if placed and sum(p.kind is p.POSITIONAL_OR_KEYWORD for p in listed) > 2:
        found += [f"{p.name} is one of too many without a name" for p in placed[:1]]
    for p in optional:
        usual = DEFAULTS.get(p.name, {p.default})
        if p.default not in usual and (name, p.name) not in SPECIAL:
            found.append(f"{p.name} is {p.default!r} by default, elsewhere {usual}")
    return found + [f"{p.name} has another name elsewhere" for p in listed if p.name in RENAMED]


@pytest.mark.parametrize(("name", "function"), FUNCTIONS, ids=[name for name, _ in FUNCTIONS])
def test_a_signature_keeps_the_convention(name, function):
    assert strays(name, function) == []
    assert name.rpartition(".")[2] not in RENAMED


def test_a_parameter_means_one_thing_everywhere():
    """The same name is annotated alike, whether it may be left out or not."""
    wider = {
        "fit": "a profile too",
        "ddf": "the usual ones too",
        "formula": "parsed too",
        "group": "several columns too",
        "offset": "one number for all predictions",
        "resume": "each its own result",
        "weights": "of rows, or how means are averaged",
    }
    kinds = defaultdict(set)
    for name, function in FUNCTIONS:
        for p in parameters(name, function):
            kind = str(p.annotation).removesuffix(" | None").replace("Fit", "LMMResult")
            kinds[p.name].add(kind)
    several = {name: found for name, found in kinds.items() if len(found) > 1}
    assert {n: several[n] for n in several.keys() - wider.keys() - CHOICES} == {}
    assert wider.keys() <= several.keys()


def test_signatures_that_stray_are_found():
    def odd(fit, group=None, column=None, *, rng=1, n_sim=None): ...

    def drawn(ax=None): ...

    assert strays("drawn", drawn) == ["ax is an option and needs its name"]
    assert strays("odd", odd) == [
        "column is an option and needs its name",
        "group is one of too many without a name",
        "rng is 1 by default, elsewhere {None}",
        "n_sim has another name elsewhere",
    ]


# --- the text of the book -------------------------------------------------------------------------


def unknown_names(text: str) -> set[str]:
    """What a text takes from mmlib, or its figures, that is not there."""
    names = set(re.findall(r"\bmm\.((?:plots\.)?[A-Za-z_]\w*)", text))
    return {name for name in names if name != "plots" and name not in EVERY_NAME}


def test_chapters_use_public_names_only():
    pages = [*(ROOT / "book").glob("*.md"), ROOT / "README.md", *(ROOT / "homework").glob("*.toml")]
    texts = {page.name: page.read_text(encoding="utf-8") for page in pages}
    assert {name: unknown_names(text) for name, text in texts.items() if unknown_names(text)} == {}


def test_a_name_that_is_not_public_is_found():
    assert unknown_names("mm.lmm, mm.plots.qq, mm.plots, mm.gone, mm.plots.lost") == {
        "gone",
        "plots.lost",
    }


# --- one word for one thing in tables -------------------------------------------------------------

IN_ORDER = ["mean", "estimate", "predicted", "se", "df", "lower", "upper", "t", "pvalue"]
"""Columns of tables that have no names of R's, or of broom's, from left to right."""

OTHER_WORDS = {"stat", "p-value", "p_value", "p", "SE", "std_error", "ci_lower", "ci_upper", "coef"}


@cache
def pairs():
    """Each kind of table, and its first columns."""
    null = mm.lmm("bright ~ 1", mm.load_dataset("pulp"))
    means = mm.emmeans(oats(), "Variety")
    options = {"nsim": 5, "rng": 1, "progress": False}
    return {
        "means": (means.to_frame(), "Variety mean se df lower upper"),
        "slopes": (mm.emtrends(oats(), "nitro").to_frame(), "mean se df lower upper"),
        "contrasts": (means.contrasts().to_frame(), "contrast estimate se df lower upper t pvalue"),
        "joint test": (means.joint_test().to_frame(), "df1 df2 F pvalue"),
        "predictions": (sleep().predict(interval="confidence"), "predicted se lower upper"),
        "coefficients": (sleep().coef()["Subject"], "estimate se lower upper"),
        "intervals": (sleep().confint("wald"), "lower upper"),
        "R²": (pulp().r2(level=0.9, **options), "estimate lower upper"),
        "bootstrap": (
            mm.parametric_bootstrap(null, pulp(), **options).to_frame(),
            "statistic df ddf pvalue",
        ),
        "models": (
            mm.compare(null, pulp()).to_frame(),
            "formula parameters AIC AICc BIC logLik R2_marginal R2_conditional LRT df pvalue "
            "pvalue_mixture",
        ),
    }


def test_tables_name_one_thing_by_one_word_in_one_order():
    for name, (table, columns) in pairs().items():
        assert " ".join(table.columns) == columns, name
        known = [column for column in table if column in IN_ORDER]
        assert known == sorted(known, key=IN_ORDER.index), name
        assert not OTHER_WORDS & {*table.columns}, name


def test_the_tables_of_r_and_broom_keep_their_names():
    table = sleep().coef_table(ddf="satterthwaite", level=0.9)
    assert [*table] == ["Estimate", "Std. Error", "df", "t value", "Pr(>|t|)", "lower", "upper"]
    assert " ".join(sleep().tidy(ddf="satterthwaite", level=0.9)) == (
        "effect group term estimate std.error statistic df p.value conf.low conf.high"
    )


def test_printed_tables_say_p_value():
    null = mm.lmm("bright ~ 1", mm.load_dataset("pulp"))
    test = mm.parametric_bootstrap(null, pulp(), nsim=5, rng=1, progress=False)
    printed = str(test) + str(mm.compare(null, pulp()))
    for header in ("p-value", "p (χ²)", "p (mixture)", "statistic"):
        assert f" {header}" in printed
    assert "pvalue" not in printed


# --- what a bad argument is told ------------------------------------------------------------------


@cache
def oats():
    return mm.lmm("yield ~ Variety + nitro + (1 | Block)", mm.load_dataset("oats"))


@cache
def sleep():
    return mm.lmm("Reaction ~ Days + (Days | Subject)", mm.load_dataset("sleepstudy"))


@cache
def pulp():
    return mm.lmm("bright ~ 1 + (1 | operator)", mm.load_dataset("pulp"))


def fitted(term):
    return lambda: mm.lmm(f"yield ~ {term} + (1 | Block)", mm.load_dataset("oats"))


RAGGED = [[1], [1, 2]]
OWN_CONTRASTS = (
    r"^cannot evaluate .*C\(Variety.* contrasts of one's own are numbers and have a row for"
)
MISTAKES = {
    "ragged contrasts": (fitted("C(Variety, contr.custom([[1, 2], [1]]))"), OWN_CONTRASTS),
    "ragged named ones": (
        fitted("C(Variety, contr.custom({'a': [1, 2], 'b': [1]}))"),
        OWN_CONTRASTS,
    ),
    "a text in them": (fitted("C(Variety, [[1, 2], ['a', 1], [0, 0]])"), OWN_CONTRASTS),
    "no contrasts": (fitted("C(Variety, 'x')"), OWN_CONTRASTS),
    "centred factor": (
        fitted("nitro + scale(Variety)"),
        r"evaluate scale\(Variety\): 'Variety' is a",
    ),
    "knots": (fitted("cr(nitro, knots=[9])"), r"knots=\[9\]\): .* bound \(0.6\); correct what it"),
    "contrasts by": (lambda: mm.emmeans(oats(), "Variety").contrasts(by=3), "by must be a name"),
    "at ragged": (
        lambda: mm.emmeans(oats(), "Variety", at={"nitro": RAGGED}),
        r"at\['nitro'\] must",
    ),
    "at matrix": (
        lambda: mm.emmeans(oats(), "Variety", at={"nitro": [[1, 2]]}),
        r"at\['nitro'\] must",
    ),
    "trend of a list": (
        lambda: mm.emtrends(oats(), ["nitro"]),
        r"variable must be .* \['nitro'\] is",
    ),
    "parameters": (lambda: pulp().confint(parameters=3), "parameters must be a name or a list"),
    "profiled parameter": (
        lambda: mm.profile(pulp()).grid(["sigma"]),
        r"names \['sigma'\], which is",
    ),
    "group": (lambda: sleep().influence(group=[]), r"group must name columns .* not \[\]"),
    "response": (lambda: sleep().refit(RAGGED), "y must be a number, or rows"),
    "beta": (lambda: sleep().simulate(beta=RAGGED), "beta must be a number, or rows"),
    "sd": (
        lambda: sleep().simulate(sd={"Subject": RAGGED}),
        r"sd\['Subject'\] must be a number, or",
    ),
    "corr": (lambda: sleep().simulate(corr={"Subject": RAGGED}), r"corr\['Subject'\] must be a nu"),
    "corr as text": (
        lambda: sleep().simulate(corr={"Subject": "a"}),
        r"corr\['Subject'\] must be real",
    ),
    "effect": (lambda: mm.power(sleep(), "Days", effect="a"), "effect must be real numbers"),
    "effects": (
        lambda: mm.power(sleep(), "Days", effect=[1]),
        "effect must be one number",
    ),
    "executor": (
        lambda: mm.bootstrap(pulp(), sigma, nsim=2, executor=3),
        "executor must have submit",
    ),
    "progress": (lambda: mm.bootstrap(pulp(), sigma, nsim=2, progress=3), "progress must be True,"),
    "progress of a fit": (
        lambda: mm.lmm("bright ~ 1", mm.load_dataset("pulp"), progress="bar"),
        "progress must be True, False, None or a function, not 'bar'",
    ),
    "no fit": (lambda: mm.adjusted_vcov(3), "a fit is needed"),
    "sample": (lambda: mm.plots.null_distribution(RAGGED, 1), "sample must be a number, or rows"),
    "samples": (lambda: mm.plots.qq([1, 2], samples=RAGGED), "samples must be a number, or rows"),
    "a list in a list": (
        lambda: mm.emmeans(oats(), [["Variety"]]),
        r"specs must be a name or a list of names, not \[\['Variety'\]\]",
    ),
    "level in a list": (
        lambda: mm.emmeans(oats(), "Variety", at={"Variety": [["Victory"]]}),
        r"at\['Variety'\] must be a name or a list",
    ),
    "parameter in a list": (
        lambda: pulp().confint("wald", parameters=[["sigma"]]),
        "parameters must be a name or a list",
    ),
    "group in a list": (
        lambda: sleep().influence(group=[["Subject"]]),
        "group must be a name or a",
    ),
    "division": (lambda: mm.kenward_roger(sleep(), "Days / 0"), "cannot read 'Days / 0'"),
    "effects by number": (lambda: sleep().simulate(sd={"Subject": {3: 1}}), "it names 3"),
    "effect of a name": (
        lambda: mm.power(sleep(), "Days", effect={"Days": [1, 2]}),
        r"effect\['Days'\] must be one number, not \[1, 2\]",
    ),
    "along": (
        lambda: mm.power(sleep(), "Days", along={"Days": ["a"]}, nsim=2),
        r"along\['Days'\] must be real numbers",
    ),
    "column in a list": (
        lambda: mm.plots.group_means(mm.load_dataset("pulp"), ["bright"], "operator"),
        r"a column of data is named by a text, not by \['bright'\]",
    ),
    "one point": (
        lambda: mm.plots.likelihood_surface(pulp(), [1], [1, 2]),
        "sds must be a list of",
    ),
    "observed": (lambda: mm.plots.null_distribution([1, 2], "a"), "observed must be real numbers"),
    "effect in a list": (
        lambda: mm.plots.caterpillar(sleep(), column=["Days"]),
        r"has no random effect \['Days'\]",
    ),
    "no profile": (
        lambda: mm.plots.profile_zeta(3, "x"),
        "profile must be what mmlib.profile returns",
    ),
    "no region": (
        lambda: mm.plots.joint_regions(3),
        "joint must be what mmlib.joint_profile returns",
    ),
}
"""What numpy, pandas, formulaic or Python would say in words that name no argument."""


def sigma(fit):
    return fit.sigma


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_in_our_words(name):
    attempt, message = MISTAKES[name]
    with pytest.raises(mm.MMError, match=message):
        attempt()
