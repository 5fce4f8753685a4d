"""What to learn: models that train on named tensors, and fitted models that answer without pickle."""

from raypipe.models._course import Course
from raypipe.models._ensemble import Average, Ensemble, Stack
from raypipe.models._ensemble_fitted import FittedEnsemble
from raypipe.models._external import External
from raypipe.models._external_wiring import ExternalOutput
from raypipe.models._lightgbm import Lightgbm
from raypipe.models._lightgbm_fitted import FittedLightgbm
from raypipe.models._linear import Linear
from raypipe.models._linear_fitted import FittedLinear
from raypipe.models._load import import_path, load_model, own_modules
from raypipe.models._metrics import roc_auc
from raypipe.models._mlp import Mlp
from raypipe.models._mlp_fitted import FittedMlp
from raypipe.models._objective import Objective
from raypipe.models._protocols import (
    Checkpoint,
    Explained,
    FittedModel,
    Framework,
    Limited,
    Loop,
    Model,
    NeedsModules,
    ReadsFiles,
    Stepped,
)
from raypipe.models._recipe import DESCENT, STOPPING, Ignores, Precision, Recipe, Schedule
from raypipe.models._torch_module import TorchModule
from raypipe.models._torch_module_fitted import FittedTorchModule
from raypipe.models._train_loop import TrainContext, TrainLoop
from raypipe.models._trees import Sized
from raypipe.models._xgboost import Xgboost
from raypipe.models._xgboost_fitted import FittedXgboost

__all__ = [
    "DESCENT",
    "STOPPING",
    "Average",
    "Checkpoint",
    "Course",
    "Ensemble",
    "Explained",
    "External",
    "ExternalOutput",
    "FittedEnsemble",
    "FittedLightgbm",
    "FittedLinear",
    "FittedMlp",
    "FittedModel",
    "FittedTorchModule",
    "FittedXgboost",
    "Framework",
    "Ignores",
    "Lightgbm",
    "Limited",
    "Linear",
    "Loop",
    "Mlp",
    "Model",
    "NeedsModules",
    "Objective",
    "Precision",
    "ReadsFiles",
    "Recipe",
    "Schedule",
    "Sized",
    "Stack",
    "Stepped",
    "TorchModule",
    "TrainContext",
    "TrainLoop",
    "Xgboost",
    "import_path",
    "load_model",
    "own_modules",
    "roc_auc",
]
