"""Linear mixed-effects models: fit, test, predict, and see each step on the way.

The steps are public, in this order: `parse_formula`, `build_design`, `Objective`, `lmm`.
"""

from mmlib.datasets import dataset_info, list_datasets, load_dataset
from mmlib.design import Design, build_design
from mmlib.errors import DataError, DatasetError, FormulaError, MMError, RankError
from mmlib.formula import MixedFormula, parse_formula
from mmlib.model import ConvergenceWarning, LMMResult, lmm
from mmlib.objective import Objective
from mmlib.oneway import OneWayLayout, oneway

__version__ = "0.1.0"

__all__ = [
    "ConvergenceWarning",
    "DataError",
    "DatasetError",
    "Design",
    "FormulaError",
    "LMMResult",
    "MMError",
    "MixedFormula",
    "Objective",
    "OneWayLayout",
    "RankError",
    "build_design",
    "dataset_info",
    "list_datasets",
    "lmm",
    "load_dataset",
    "oneway",
    "parse_formula",
]
