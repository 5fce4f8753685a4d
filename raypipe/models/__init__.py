"""What to learn: models that train on named tensors, and fitted models that answer without pickle."""

from raypipe.models._load import import_path, load_model
from raypipe.models._metrics import roc_auc
from raypipe.models._mlp import Mlp
from raypipe.models._mlp_fitted import FittedMlp
from raypipe.models._protocols import Checkpoint, FittedModel, Framework, Loop, Model
from raypipe.models._xgboost import FittedXgboost, Xgboost

__all__ = [
    "Checkpoint",
    "FittedMlp",
    "FittedModel",
    "FittedXgboost",
    "Framework",
    "Loop",
    "Mlp",
    "Model",
    "Xgboost",
    "import_path",
    "load_model",
    "roc_auc",
]
