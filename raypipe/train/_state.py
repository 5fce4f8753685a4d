"""What a training keeps in storage: its last checkpoint, its progress, and the finished model.

```text
URI/checkpoints/00000012.safetensors   state after step 12 and the curve so far; only the newest stays
URI/progress.json                      the curve so far, for who follows from another process
URI/finished/                          the model's files; trained.json last, so finding it means finding all
```

Both engines write the same files: what one began, the other can finish.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import numpy as safetensors

from raypipe.core import storage
from raypipe.core.errors import BundleError, TrainingError
from raypipe.models import Checkpoint, FittedModel, import_path, load_model

Curve = list[dict[str, float]]
_CURVE = "curve.json"
_TRAINED = "trained.json"


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A checkpoint and the curve up to it."""

    checkpoint: Checkpoint
    curve: Curve


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A finished model and its whole curve."""

    model: FittedModel
    curve: Curve


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """The state of one training, under one URI."""

    uri: str

    def save(self, step: int, state: Mapping[str, bytes], curve: Curve) -> None:
        """Keep `state` as the newest checkpoint."""
        parts = {**state, _CURVE: json.dumps(curve).encode()}
        blob = safetensors.save({name: np.frombuffer(data, dtype=np.uint8) for name, data in parts.items()})
        uri = storage.join(self._checkpoints, f"{step:08d}.safetensors")
        storage.write_bytes(uri, blob)
        for older in storage.list_files(self._checkpoints):
            if Path(older).name != Path(uri).name:
                storage.remove(older)

    def restore(self) -> Saved | None:
        """The newest checkpoint, or None."""
        names = sorted(u for u in storage.list_files(self._checkpoints) if u.endswith(".safetensors"))
        if not names:
            return None
        parts = {name: array.tobytes() for name, array in safetensors.load(storage.read_bytes(names[-1])).items()}
        curve = json.loads(parts.pop(_CURVE))
        return Saved(checkpoint=Checkpoint(step=int(Path(names[-1]).stem), state=parts), curve=curve)

    def write_progress(self, curve: Curve) -> None:
        """Let followers see `curve`."""
        storage.write_bytes(self._progress, json.dumps(curve).encode())

    def read_progress(self) -> Curve:
        """The curve as last written; empty before the first."""
        if not storage.exists(self._progress):
            return []
        curve: Curve = json.loads(storage.read_bytes(self._progress))
        return curve

    def finish(self, model: FittedModel, curve: Curve) -> None:
        """Keep `model` as the result.

        Raises:
            TrainingError: when the model does not load back.
        """
        with tempfile.TemporaryDirectory(prefix="raypipe-") as name:
            folder = Path(name)
            model.save(folder)
            _check_loads_back(model, folder)
            (folder / _TRAINED).write_text(json.dumps({"kind": model.kind, "curve": curve}))
            storage.upload_folder(folder, self._finished, last=_TRAINED)

    def finished(self) -> Finished | None:
        """The result, or None while there is none."""
        if not storage.exists(storage.join(self._finished, _TRAINED)):
            return None
        facts = storage.read_json(storage.join(self._finished, _TRAINED))
        folder = storage.download_folder(self._finished)
        try:
            model = load_model(facts["kind"], folder)
        finally:
            if storage.is_remote(self._finished):
                shutil.rmtree(folder)
        return Finished(model=model, curve=facts["curve"])

    def tidy(self) -> None:
        """Remove all but the finished model."""
        for uri in (self._checkpoints, self._progress, self.ray_uri):
            storage.remove(uri)

    @property
    def ray_uri(self) -> str:
        """Where Ray Train keeps its own notes while it runs."""
        return storage.join(self.uri, "ray")

    @property
    def _checkpoints(self) -> str:
        return storage.join(self.uri, "checkpoints")

    @property
    def _progress(self) -> str:
        return storage.join(self.uri, "progress.json")

    @property
    def _finished(self) -> str:
        return storage.join(self.uri, "finished")


def _check_loads_back(model: FittedModel, folder: Path) -> None:
    way_out = f"give the fitted class kind = {import_path(type(model))!r}, and a load that reads what save writes"
    try:
        loaded = load_model(model.kind, folder)
    except BundleError as error:
        raise TrainingError(model.kind, f"the fitted model does not load back ({error.problem})", way_out) from error
    if type(loaded) is not type(model):
        raise TrainingError(model.kind, f"the fitted model loads back as a {import_path(type(loaded))}", way_out)
