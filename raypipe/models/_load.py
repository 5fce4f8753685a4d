"""Reading a fitted model back by its kind."""

import importlib
from pathlib import Path
from typing import Any

from raypipe.core.errors import BundleError
from raypipe.models._ensemble_fitted import FittedEnsemble, member_folders
from raypipe.models._external_onnx import FittedOnnx
from raypipe.models._external_pickle import FittedPickle
from raypipe.models._external_skops import FittedSkops, homes_of
from raypipe.models._files import read_facts
from raypipe.models._lightgbm_fitted import FittedLightgbm
from raypipe.models._linear_fitted import FittedLinear
from raypipe.models._mlp_fitted import FittedMlp
from raypipe.models._protocols import FittedModel
from raypipe.models._torch_module_fitted import FittedTorchModule
from raypipe.models._xgboost_fitted import FittedXgboost

_OWN: dict[str, type[FittedModel]] = {
    "xgboost": FittedXgboost,
    "lightgbm": FittedLightgbm,
    "linear": FittedLinear,
    "mlp": FittedMlp,
    "ensemble": FittedEnsemble,
    "torch_module": FittedTorchModule,
    "external_skops": FittedSkops,
    "external_onnx": FittedOnnx,
    "external_pickle": FittedPickle,
}


def import_path(cls: type[Any]) -> str:
    """``package.module:Class``, the `kind` that a fitted model of one's own carries."""
    return f"{cls.__module__}:{cls.__qualname__}"


def load_model(kind: str, folder: Path) -> FittedModel:
    """The fitted model that was saved in `folder`.

    Args:
        kind: The `kind` of the fitted model: a word of raypipe's own, or ``package.module:Class``. The module is
            imported, so the caller has checked that it trusts the path (a bundle: that its manifest lists it).
        folder: Where `FittedModel.save` wrote.

    Raises:
        BundleError: when the kind is unknown, or its class cannot be imported or is not a fitted model.
    """
    return _OWN[kind].load(folder) if kind in _OWN else _imported(kind, folder).load(folder)


def own_modules(kind: str, folder: Path) -> frozenset[str]:
    """The user's own modules that `load_model` would import for what was saved in `folder`, those of members included.

    Raises:
        BundleError: when a file that says so is missing or damaged.
    """
    module, _, name = kind.partition(":")
    if name:
        return frozenset({module})
    if kind == FittedSkops.kind:
        return frozenset(homes_of(read_facts(folder)["trusted_types"]))
    members = member_folders(folder) if kind == FittedEnsemble.kind else ()
    return frozenset[str]().union(*(own_modules(inner, place) for inner, place in members))


def _imported(path: str, folder: Path) -> type[FittedModel]:
    module_name, _, name = path.partition(":")
    if not name:
        raise BundleError(str(folder), f"unknown model kind {path!r} (known: {', '.join(_OWN)}, or package.module:Class)")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise BundleError(str(folder), f"the model is a {path}, which cannot be imported ({error})") from error
    found = vars(module).get(name)
    if not (isinstance(found, type) and all(hasattr(found, part) for part in ("kind", "predict", "save", "load"))):
        raise BundleError(str(folder), f"the model is a {path}, which is not a class with kind, predict, save and load")
    return found
