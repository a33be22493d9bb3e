"""Linear mixed-effects models: fit, test, predict, and see each step on the way.

The steps are public, in this order: `parse_formula`, `build_design`, `Objective`, `lmm`.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from mmlib.datasets import DatasetColumn, DatasetInfo, dataset_info, list_datasets, load_dataset
from mmlib.design.build import build_design
from mmlib.design.design import Design
from mmlib.design.formula import MixedFormula, RandomPart, parse_formula
from mmlib.design.planned import plan
from mmlib.design.terms import RandomTerm
from mmlib.design.words import no_name
from mmlib.engine.blocks import Blocks
from mmlib.engine.objective import Objective
from mmlib.engine.optimize import Optimum
from mmlib.errors import (
    ConvergenceWarning,
    DataError,
    DatasetError,
    DataWarning,
    FormulaError,
    MMError,
    RankError,
    UnknownAttributeError,
)
from mmlib.inference.anova import AnovaTable, anova
from mmlib.inference.bootstrap import (
    BootstrapResult,
    BootstrapTest,
    bootstrap,
    parametric_bootstrap,
)
from mmlib.inference.compare import Comparison, compare
from mmlib.inference.exact import ExactTest, exact_lrt, exact_rlrt
from mmlib.inference.hypothesis import Hypothesis, hypothesis_matrix
from mmlib.inference.joint_profile import JointProfile, joint_profile
from mmlib.inference.joint_tests import JointTests
from mmlib.inference.kenward_roger import KenwardRogerTest, adjusted_vcov, kenward_roger
from mmlib.inference.linear_functions import LinearFunctions
from mmlib.inference.lrt import LikelihoodRatioTest, lrt
from mmlib.inference.marginal_means import emmeans, emtrends
from mmlib.inference.power import PowerResult, power
from mmlib.inference.profile import Profile, profile
from mmlib.inference.pvalues import HypothesisTest
from mmlib.inference.replicate import BootstrapError, BootstrapWarning
from mmlib.inference.robust import wald_test
from mmlib.inference.satterthwaite import satterthwaite
from mmlib.model import LMMResult, lmm
from mmlib.oneway import OneWayLayout, VarianceComponents, oneway
from mmlib.results.diagnostics import Influence
from mmlib.results.display import Summary
from mmlib.results.simulate import simulate
from mmlib.results.varcorr import TermCovariance, VarCorr
from mmlib.saved import load, save

if TYPE_CHECKING:
    from mmlib import plots

__version__ = "0.1.0"

__all__ = [
    "AnovaTable",
    "Blocks",
    "BootstrapError",
    "BootstrapResult",
    "BootstrapTest",
    "BootstrapWarning",
    "Comparison",
    "ConvergenceWarning",
    "DataError",
    "DataWarning",
    "DatasetColumn",
    "DatasetError",
    "DatasetInfo",
    "Design",
    "ExactTest",
    "FormulaError",
    "Hypothesis",
    "HypothesisTest",
    "Influence",
    "JointProfile",
    "JointTests",
    "KenwardRogerTest",
    "LMMResult",
    "LikelihoodRatioTest",
    "LinearFunctions",
    "MMError",
    "MixedFormula",
    "Objective",
    "OneWayLayout",
    "Optimum",
    "PowerResult",
    "Profile",
    "RandomPart",
    "RandomTerm",
    "RankError",
    "Summary",
    "TermCovariance",
    "UnknownAttributeError",
    "VarCorr",
    "VarianceComponents",
    "adjusted_vcov",
    "anova",
    "bootstrap",
    "build_design",
    "compare",
    "dataset_info",
    "emmeans",
    "emtrends",
    "exact_lrt",
    "exact_rlrt",
    "hypothesis_matrix",
    "joint_profile",
    "kenward_roger",
    "list_datasets",
    "lmm",
    "load",
    "load_dataset",
    "lrt",
    "oneway",
    "parametric_bootstrap",
    "parse_formula",
    "plan",
    "plots",
    "power",
    "profile",
    "satterthwaite",
    "save",
    "simulate",
    "wald_test",
]


def __getattr__(name: str) -> ModuleType:
    """Import the figures when they are first asked for: matplotlib is slow to load."""
    if name == "plots":
        return import_module("mmlib.plots")
    raise no_name(name, __all__)


def __dir__() -> list[str]:
    """The public names, and nothing else."""
    return __all__
