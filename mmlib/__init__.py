"""Linear mixed-effects models: fit, test, predict, and see each step on the way.

The steps are public, in this order: `parse_formula`, `build_design`, `Objective`, `lmm`.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from mmlib.anova import AnovaTable, anova
from mmlib.bootstrap import BootstrapResult, ParametricBootstrap, bootstrap, parametric_bootstrap
from mmlib.datasets import DatasetInfo, dataset_info, list_datasets, load_dataset
from mmlib.design import Design, build_design
from mmlib.errors import DataError, DatasetError, FormulaError, MMError, RankError
from mmlib.exact import ExactTest, exact_lrt, exact_rlrt
from mmlib.formula import MixedFormula, parse_formula
from mmlib.hypothesis import Hypothesis, hypothesis_matrix
from mmlib.influence import Influence
from mmlib.kenward_roger import KenwardRogerTest, adjusted_vcov, kenward_roger
from mmlib.lrt import LikelihoodRatioTest, lrt
from mmlib.model import ConvergenceWarning, LMMResult, lmm
from mmlib.objective import Objective
from mmlib.oneway import OneWayLayout, VarianceComponents, oneway
from mmlib.profile import Profile, profile
from mmlib.replicate import BootstrapError, BootstrapWarning
from mmlib.result import HypothesisTest
from mmlib.satterthwaite import satterthwaite
from mmlib.varcorr import VarCorr

if TYPE_CHECKING:
    from mmlib import plots

__version__ = "0.1.0"

__all__ = [
    "AnovaTable",
    "BootstrapError",
    "BootstrapResult",
    "BootstrapWarning",
    "ConvergenceWarning",
    "DataError",
    "DatasetError",
    "DatasetInfo",
    "Design",
    "ExactTest",
    "FormulaError",
    "Hypothesis",
    "HypothesisTest",
    "Influence",
    "KenwardRogerTest",
    "LMMResult",
    "LikelihoodRatioTest",
    "MMError",
    "MixedFormula",
    "Objective",
    "OneWayLayout",
    "ParametricBootstrap",
    "Profile",
    "RankError",
    "VarCorr",
    "VarianceComponents",
    "adjusted_vcov",
    "anova",
    "bootstrap",
    "build_design",
    "dataset_info",
    "exact_lrt",
    "exact_rlrt",
    "hypothesis_matrix",
    "kenward_roger",
    "list_datasets",
    "lmm",
    "load_dataset",
    "lrt",
    "oneway",
    "parametric_bootstrap",
    "parse_formula",
    "plots",
    "profile",
    "satterthwaite",
]


def __getattr__(name: str) -> ModuleType:
    """Import the figures when they are first asked for: matplotlib is slow to load."""
    if name == "plots":
        return import_module("mmlib.plots")
    raise AttributeError(f"module 'mmlib' has no attribute {name!r}")
