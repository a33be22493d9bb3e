"""What a study of power asks: which test, of which hypothesis, at which points of a grid."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike

from mmlib.arrays import FloatArray
from mmlib.design.build import build_design
from mmlib.design.checks import did_you_mean, require_names, require_number
from mmlib.design.design import Design
from mmlib.design.formula import parse_formula
from mmlib.design.planned import Selection, everything
from mmlib.errors import DataError
from mmlib.inference import kenward_roger_many
from mmlib.inference.bootstrap import origin
from mmlib.inference.ddf import Ddf, f_test
from mmlib.inference.hypothesis import Hypothesis, hypothesis_matrix
from mmlib.inference.kenward_roger_many import ManyKenwardRoger
from mmlib.inference.lrt import lrt
from mmlib.inference.power_exact import exact_power
from mmlib.inference.power_tests import (
    PValue,
    PValues,
    as_pvalue,
    at_theta,
    bootstrap,
    draw_one,
    exact_test,
    fitted,
    likelihood_ratio,
    many_f_tests,
    of_fits,
    replicates,
)
from mmlib.inference.refits import Refitter
from mmlib.inference.replicate import Task
from mmlib.results.estimates import Fit
from mmlib.results.simulate import Truth, truth_of

METHODS = ("kenward-roger", "satterthwaite", "lrt", "exact", "bootstrap")

Hypothesized = str | Sequence[str] | ArrayLike | Fit
Effect = float | Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Study:
    """A design, the test whose power is wanted, and the truth as far as a fit knows it.

    `tested` is the hypothesis of an F test, or what is to be fitted as the smaller model.
    """

    design: Design
    truth: Truth | None
    reml: bool
    method: str
    tested: Hypothesis | None
    small: Design | None
    function: PValue | None

    @classmethod
    def of(
        cls,
        design: Design | Fit,
        test: Hypothesized | PValue,
        hypothesis: Hypothesized | None,
        effect: Effect | None,
    ) -> Study:
        """Read the arguments of `power`."""
        fit = _as_fit(design)
        truth = fit.truth if isinstance(design, Fit) else None
        study = cls(fit.design, truth, fit.reml, "kenward-roger", None, None, None)
        if callable(test) and not isinstance(test, Fit):
            return dataclasses.replace(study, method="function", function=test)
        if not (isinstance(test, str) and test in METHODS):
            if hypothesis is not None:
                raise DataError(
                    f"hypothesis= goes with the name of a method, such as {METHODS[0]!r}, not with "
                    f"test={test!r:.40}."
                )
            if isinstance(test, Fit):
                raise DataError("to test against a smaller fit, pass test='lrt', hypothesis=fit.")
            return dataclasses.replace(study, tested=hypothesis_matrix(fit, test))
        study = dataclasses.replace(study, method=test)
        if test == "exact":
            if hypothesis is not None or sum(term.width for term in fit.design.terms) != 1:
                raise DataError(
                    "test='exact' is of the one variance of a model with one scalar random term, "
                    "and takes no hypothesis=; otherwise pass a function, such as "
                    "lambda fit: mm.exact_rlrt(fit, 'group')."
                )
            return dataclasses.replace(study, reml=True)
        if hypothesis is None:
            hypothesis = _named_in(effect, fit.design.fixed_names)
        return study._against(fit, hypothesis)

    def _against(self, fit: Fit, hypothesis: Hypothesized) -> Study:
        """A named method for one hypothesis."""
        is_formula = isinstance(hypothesis, str) and "~" in hypothesis
        if not (isinstance(hypothesis, Fit) or is_formula):
            tested = hypothesis_matrix(fit, hypothesis)
            if self.method in ("lrt", "bootstrap"):
                small = _restricted(self.design, tested)
                return dataclasses.replace(self, tested=tested, small=small, reml=False)
            return dataclasses.replace(self, tested=tested)
        if self.method not in ("lrt", "bootstrap"):
            raise DataError(
                f"test={self.method!r} takes a term, an equation or a matrix as hypothesis=; a "
                "smaller model goes with 'lrt' and 'bootstrap'."
            )
        if isinstance(hypothesis, Fit):
            small, reml = hypothesis.design, hypothesis.reml and self.reml
        else:
            small = _same_rows(str(hypothesis), self.design)
            same_mean = small.X.shape == self.design.X.shape and np.allclose(small.X, self.design.X)
            reml = self.reml and same_mean
        return dataclasses.replace(self, small=small, reml=reml)

    @property
    def title(self) -> str:
        """The test and its hypothesis."""
        names = {
            "kenward-roger": "Kenward–Roger F test",
            "satterthwaite": "F test with Satterthwaite's degrees of freedom",
            "lrt": "likelihood-ratio test",
            "exact": "exact restricted likelihood-ratio test",
            "bootstrap": "parametric bootstrap test",
            "function": "test by a function",
        }
        text = f"Power of the {names[self.method]}"
        if self.tested is not None:
            return f"{text} of {self.tested.description}"
        return f"{text} of {self.small.formula}" if self.small is not None else text

    def with_effect(self, beta: FloatArray, effect: Effect | None) -> FloatArray:
        """β with the effects that were given."""
        if effect is None:
            return beta
        names = list(self.design.fixed_names)
        if not isinstance(effect, Mapping):
            rows = np.zeros((0, len(names))) if self.tested is None else self.tested.L
            if np.count_nonzero(rows) != 1:
                raise DataError(
                    f"effect={effect!r} stands for one coefficient that is tested; name them: "
                    f"effect={{{names[-1]!r}: ...}}."
                )
            effect = {names[int(np.flatnonzero(rows[0])[0])]: require_number("effect", effect)}
        require_names("effect", effect, names, "fixed effect")
        beta = beta.copy()
        for name, value in effect.items():
            beta[names.index(name)] = require_number(f"effect[{name!r}]", value)
        return beta

    def selected(self, selection: Selection) -> Study:
        """The same for other rows."""
        small = None if self.small is None else selection.apply(self.small)
        return dataclasses.replace(self, design=selection.apply(self.design), small=small)

    def task(self, truth: Truth, seed: int) -> tuple[Task, int]:
        """What draws the replicates, and how many of them together."""
        reml = self.reml or self.method == "kenward-roger"
        model = at_theta(self.design, truth.theta, reml=reml)
        refitter = Refitter(model)
        test = self._test(model, refitter, truth, seed)
        task = partial(replicates, self.design, truth, model.blocks, refitter, test)
        return task, min(refitter.chunk, 10 if self.method == "bootstrap" else 250)

    def _test(self, model: Fit, refitter: Refitter, truth: Truth, seed: int) -> PValues:
        if self.method == "exact":
            return exact_test(self.design, seed)
        if self.small is None:
            return self._test_of_fits(model, truth)
        y = draw_one(self.design, truth)
        small, large = (fitted(each, y, reml=model.reml) for each in (self.small, self.design))
        df = int(lrt(small, large).df[0])
        if self.method == "bootstrap":
            return partial(bootstrap, small, model)
        return partial(likelihood_ratio, Refitter(small), refitter, df)

    def origin(self, truth: Truth) -> str:
        """What tells the draws of this study from those of others."""
        parameters = (truth.beta, truth.theta, np.array(truth.sigma))
        return origin(f"{self.title} reml={self.reml}", [self.design], *parameters)

    def _test_of_fits(self, model: Fit, truth: Truth) -> PValues:
        """A test that needs the fits themselves; made once here, so that an error shows at once."""
        p_value, tested = self.function, self.tested
        if tested is not None:
            p_value = partial(f_test, L=tested.L, rhs=tested.rhs, ddf=cast(Ddf, self.method))
        assert p_value is not None
        as_pvalue(p_value(model.refit(draw_one(self.design, truth))))
        singly = partial(of_fits, model, p_value)
        together = self.method == "kenward-roger" and kenward_roger_many.suits(model.blocks)
        if tested is None or not together:
            return singly
        return partial(many_f_tests, ManyKenwardRoger(model.blocks, tested), singly)

    def exact_power(self, truth: Truth, alpha: float) -> float:
        """Power of the classical F test of the hypothesis, NaN where there is none."""
        if self.method not in ("kenward-roger", "satterthwaite") or self.tested is None:
            return float("nan")
        return exact_power(self.design, truth, self.tested, alpha)


def _as_fit(design: object) -> Fit:
    """A fit for reading hypotheses: the one given, or one of the design to its placeholder."""
    if isinstance(design, Fit):
        return design
    if isinstance(design, Design):
        return fitted(design, design.y, reml=True)
    raise DataError(
        f"design must be a fit, or a design as mmlib.plan returns it, not {design!r:.60}."
    )


def _named_in(effect: Effect | None, names: Sequence[str]) -> FloatArray:
    if not isinstance(effect, Mapping):
        raise DataError(
            "a named method needs hypothesis=, such as a term, or effect= by name: the "
            "coefficients that are zero under the null hypothesis."
        )
    require_names("effect", effect, names, "fixed effect")
    return np.array([[float(name == wanted) for name in names] for wanted in effect])


def _restricted(design: Design, tested: Hypothesis) -> Design:
    """The design whose fixed effects obey Lβ = rhs: β = L⁺rhs + Nγ with N a basis of L's kernel."""
    particular = np.linalg.lstsq(tested.L, tested.rhs, rcond=None)[0]
    _, _, right = np.linalg.svd(tested.L)
    kernel = right[len(tested.L) :].T
    offset = design.X @ particular
    if design.offset is not None:
        offset = offset + design.offset
    return dataclasses.replace(
        design,
        X=design.X @ kernel,
        fixed_names=tuple(f"γ{k}" for k in range(kernel.shape[1])),
        offset=offset if offset.any() else None,
    )


def _same_rows(formula: str, design: Design) -> Design:
    """The design of another formula for the same rows, with residuals of the same structure."""
    frame = design.frame.assign(**{"planned response": design.y})
    parsed = dataclasses.replace(parse_formula(formula), response="`planned response`")
    residual = design.residual
    return build_design(
        parsed,
        frame,
        weights=design.weights,
        offset=design.offset,
        sigma=design.sigma,
        dispersion=residual.dispersion if residual else None,
        residual=residual.word if residual and residual.kind else None,
    )


def grid_of(design: Design, along: Mapping[str, Sequence[float]] | None) -> list[dict[str, float]]:
    """The points of a grid, each key of which is known."""
    if along is None:
        return [{}]
    if not isinstance(along, Mapping) or not along:
        raise DataError(f"along must be a dict such as {{'n_subjects': [8, 12]}}, not {along!r}.")
    for key, values in along.items():
        _reading(design, key)
        if not np.ndim(values) or not len(values):
            raise DataError(f"along[{key!r}] must be a list of values, not {values!r}.")
    return [dict(zip(along, values, strict=True)) for values in product(*along.values())]


def _reading(design: Design, key: str) -> tuple[str, str]:
    """What a key of a grid changes, and of what."""
    if key in design.fixed_names:
        return "effect", key
    if key == "sigma":
        return "sigma", key
    columns = list(dict.fromkeys(name for t in design.terms for name in t.part.factors))
    for prefix in ("n_", "rows_per_"):
        if str(key).startswith(prefix):
            column = _column_meant(key.removeprefix(prefix), columns)
            if column is not None:
                return prefix, column
    known = [*design.fixed_names, "sigma"]
    known += [prefix + name for prefix in ("n_", "rows_per_") for name in columns]
    raise DataError(
        f"along has no meaning for {key!r}.{did_you_mean(str(key), known)} It may be "
        f"{', '.join(known)}."
    )


def _column_meant(name: str, columns: Sequence[str]) -> str | None:
    """The column that a name, perhaps in the plural, stands for."""
    if name in columns:
        return name
    folded = name.casefold()
    found = [c for c in columns if folded.startswith(c.casefold()) or c.casefold() == folded]
    return max(found, key=len) if found else None


def at_point(study: Study, truth: Truth, point: dict[str, float]) -> tuple[Study, Truth]:
    """The design and the truth at one point of a grid."""
    selection, beta = everything(study.design), truth.beta.copy()
    readings = {key: _reading(study.design, key) for key in point}
    for key, (kind, name) in sorted(readings.items(), key=lambda item: item[1][0] == "rows_per_"):
        value: Any = point[key]
        if kind == "n_":
            selection = selection.with_levels(study.design, name, value)
        elif kind == "rows_per_":
            selection = selection.with_rows_per(study.design, name, value)
        elif kind == "effect":
            value = require_number(f"along[{key!r}]", value)
            beta[study.design.fixed_names.index(name)] = value
        else:
            truth = truth_of(study.design, truth, sigma=value)
    sizes = any(kind in ("n_", "rows_per_") for kind, _ in readings.values())
    return study.selected(selection) if sizes else study, dataclasses.replace(truth, beta=beta)
