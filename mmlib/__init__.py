"""Linear mixed-effects models: fit, test, predict, and see each step on the way.

The steps are public, in this order: `parse_formula`, `build_design`, `Objective`, `lmm`.
"""

from mmlib.anova import AnovaTable, anova
from mmlib.datasets import dataset_info, list_datasets, load_dataset
from mmlib.design import Design, build_design
from mmlib.errors import DataError, DatasetError, FormulaError, MMError, RankError
from mmlib.formula import MixedFormula, parse_formula
from mmlib.hypothesis import Hypothesis, hypothesis_matrix
from mmlib.kenward_roger import KenwardRogerTest, adjusted_vcov, kenward_roger
from mmlib.lrt import LikelihoodRatioTest, lrt
from mmlib.model import ConvergenceWarning, LMMResult, lmm
from mmlib.objective import Objective
from mmlib.oneway import OneWayLayout, oneway
from mmlib.result import HypothesisTest
from mmlib.satterthwaite import satterthwaite

__version__ = "0.1.0"

__all__ = [
    "AnovaTable",
    "ConvergenceWarning",
    "DataError",
    "DatasetError",
    "Design",
    "FormulaError",
    "Hypothesis",
    "HypothesisTest",
    "KenwardRogerTest",
    "LMMResult",
    "LikelihoodRatioTest",
    "MMError",
    "MixedFormula",
    "Objective",
    "OneWayLayout",
    "RankError",
    "adjusted_vcov",
    "anova",
    "build_design",
    "dataset_info",
    "hypothesis_matrix",
    "kenward_roger",
    "list_datasets",
    "lmm",
    "load_dataset",
    "lrt",
    "oneway",
    "parse_formula",
    "satterthwaite",
]
