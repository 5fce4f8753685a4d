"""What tests of models of one's own share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raypipe.core.config import build, config
from raypipe.models import (
    FittedModel,
    Model,
    TorchModule,
)

ALLOWED = ("own_nets.", "own_loops.", "own_code.")


@config
class Holder:
    model: Model


def made(kind: str, **settings: Any) -> Any:
    return build({"model": {"_target_": f"raypipe.models.{kind}", **settings}}, Holder, allowed=ALLOWED).model


def module(name: str = "own_nets:WideAndDeep", **settings: Any) -> TorchModule:
    plain = {"batch_size": 64, "max_epochs": 8, "learning_rate": 0.02, "settings": {"width": 8}}
    found = made("TorchModule", module=name, **{**plain, **settings})
    assert isinstance(found, TorchModule)
    return found


def saved_bytes(model: FittedModel, folder: Path) -> Mapping[str, bytes]:
    folder.mkdir()
    model.save(folder)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
