"""The errors and warnings of mmlib: each names the culprit and says what to do."""

import sys
import warnings
from pathlib import Path

_LIBRARY = str(Path(__file__).parent)


class MMError(ValueError):
    """Base class of every error that mmlib raises on purpose."""


class FormulaError(MMError):
    """The formula cannot be read."""


class DataError(MMError):
    """A column of the data, or an argument that stands for one, cannot be used."""


class RankError(MMError):
    """The model asks for more parameters than the design can identify."""


class DatasetError(MMError):
    """The named data set is unknown, or its file has been altered."""


class UnknownAttributeError(MMError, AttributeError):
    """A fit, or the library, has no such name; if it is another package's, the message has ours."""


class DataWarning(UserWarning):
    """Rows of the data, or columns of the model matrix, were left out of a fit."""


class ConvergenceWarning(UserWarning):
    """The optimiser stopped before it reached a minimum."""


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the line that called into the library, however deep the call has gone by now."""
    frame, level = sys._getframe(1).f_back, 3
    while frame is not None and frame.f_code.co_filename.startswith(_LIBRARY):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
