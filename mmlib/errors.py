"""The errors and warnings of mmlib: each names the culprit and says what to do."""


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


class DataWarning(UserWarning):
    """Rows of the data, or columns of the model matrix, were left out of a fit."""
