"""A regressor for scikit-learn: pipelines, grouped cross-validation, grid searches.

It needs scikit-learn, which mmlib itself does not: ``pip install "mmlib[sklearn]"``.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import (
    _check_feature_names,
    _check_n_features,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from mmlib.arrays import FloatArray
from mmlib.design.checks import require_frame
from mmlib.design.formula import only_column, parse_formula, parse_with_formulaic
from mmlib.errors import DataError, FormulaError
from mmlib.model import LMMResult, lmm


class LMMRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # it has no types
    """A linear mixed model as an estimator of scikit-learn.

    Parameters
    ----------
    formula : str, optional
        As for `mmlib.lmm`; its left side is the name under which the response `y` is put beside the
        columns of `X`. By default the response is linear in all columns of `X`, without random
        terms.
    reml : bool, default True
        As for `mmlib.lmm`.
    new_levels : {"population", "error"}
        What to predict for levels of a grouping that the fit has not seen, as in grouped cross-
        validation: the population mean, or an error.

    Attributes
    ----------
    result_ : LMMResult
        The fit.

    Examples
    --------
    >>> import mmlib as mm
    >>> from sklearn.model_selection import GroupKFold, cross_val_score
    >>> from mmlib.sklearn import LMMRegressor
    >>> sleep = mm.load_dataset("sleepstudy")
    >>> X, y = sleep[["Days", "Subject"]], sleep["Reaction"]
    >>> model = LMMRegressor("Reaction ~ Days + (Days | Subject)")
    >>> round(model.fit(X, y).score(X, y), 3)  # of known subjects
    0.826
    >>> scores = cross_val_score(model, X, y, groups=sleep["Subject"], cv=GroupKFold(6))
    >>> len(scores)  # of new ones
    6
    """

    def __init__(
        self,
        formula: str | None = None,
        *,
        reml: bool = True,
        new_levels: Literal["population", "error"] = "population",
    ) -> None:
        self.formula = formula
        self.reml = reml
        self.new_levels = new_levels

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LMMRegressor:
        """Fit the model.

        Parameters
        ----------
        X : DataFrame, or without a formula array of shape (n, n_features)
        y : array, shape (n,)
        sample_weight : array, shape (n,), optional
            Prior weights: the residual variance is σ²/w.

        Returns
        -------
        LMMRegressor
            The estimator itself.
        """
        if self.formula is None:
            X, y = validate_data(self, X, y, y_numeric=True, dtype=float, ensure_min_samples=2)
            frame = self._columns(X)
            response = "y"
            formula = " + ".join(["y ~ 1", *frame.columns])
        else:
            _check_feature_names(self, X, reset=True)
            _check_n_features(self, X, reset=True)
            frame, y = require_frame(X, "X"), column_or_1d(y, warn=True)
            response, formula = _name_of_response(self.formula), self.formula
        if len(y) != len(frame):
            raise DataError(f"X has {len(frame)} rows and y has {len(y)} values: they must match.")
        data = frame.assign(**{response: np.asarray(y)})
        weights = None if sample_weight is None else np.asarray(sample_weight, dtype=float)
        self.result_: LMMResult = lmm(formula, data, reml=self.reml, weights=weights)
        return self

    def predict(self, X: Any) -> FloatArray:
        """Predict for new rows, with the effects of the groups that the fit knows.

        Parameters
        ----------
        X : DataFrame, or without a formula array of shape (n, n_features)

        Returns
        -------
        ndarray, shape (n,)
        """
        check_is_fitted(self)
        if self.formula is None:
            frame = self._columns(validate_data(self, X, reset=False, dtype=float))
        else:
            _check_feature_names(self, X, reset=False)
            frame = require_frame(X, "X")
        return self.result_.predict(frame, new_levels=self.new_levels).to_numpy()

    @staticmethod
    def _columns(X: FloatArray) -> pd.DataFrame:
        return pd.DataFrame(X, columns=[f"x{k}" for k in range(X.shape[1])])


def _name_of_response(formula: str) -> str:
    """The column that stands on the left side of a formula, alone."""
    response = parse_formula(formula).response
    if name := only_column(parse_with_formulaic(f"0 + {response}")):
        return name
    raise FormulaError(
        f"the left side of {formula!r} must be one name, not {response!r}: predictions are in the "
        "units of y. Use TransformedTargetRegressor(model, func=np.log, inverse_func=np.exp)."
    )
