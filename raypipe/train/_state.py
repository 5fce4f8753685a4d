"""What a training keeps in storage: its last checkpoint, its progress, and the finished model.

```text
URI/checkpoints/00000012.safetensors   state after step 12, the curve and the notes so far; only the newest stays
URI/best/00000008.safetensors          the same of the best steps, when they are to be kept; best.json lists their losses
URI/progress.json                      the curve so far, speed and cost, for who follows from another process
URI/finished/                          the model's files; trained.json last, so finding it means finding all
```

Both engines write the same files: what one began, the other can finish.
"""

import json
import shutil
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from raypipe.core import storage
from raypipe.core.errors import BundleError, StorageError, TrainingError
from raypipe.models import Checkpoint, FittedModel, import_path, load_model

Curve = list[dict[str, float]]
_CURVE, _NOTES = "curve.json", "notes.json"
_TRAINED, _MEASURED = "trained.json", "measured.json"
_BEST = "best.json"
_READS = 3
"""How often the newest checkpoint is looked for: a process of an earlier run that has not yet ended may replace it."""


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A checkpoint, with the curve and the notes up to it."""

    checkpoint: Checkpoint
    curve: Curve
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a training is; `speed` and `cost` as of `Speed.to_dict` and `Cost.to_dict`."""

    curve: Curve = field(default_factory=list)
    speed: Mapping[str, float] = field(default_factory=dict)
    cost: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As stored."""
        return {"curve": self.curve, "speed": dict(self.speed), "cost": dict(self.cost), "notes": list(self.notes)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Progress":
        """The inverse of `to_dict`."""
        return cls(curve=data["curve"], speed=data["speed"], cost=data["cost"], notes=tuple(data["notes"]))


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A finished model and how its training went."""

    model: FittedModel
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """The state of one training, under one URI."""

    uri: str

    def check_writable(self) -> None:
        """Refuse a place that cannot be written, before any work.

        Raises:
            StorageError: with the reason.
        """
        probe = storage.join(self._checkpoints, f".probe-{uuid.uuid4().hex}")
        try:
            storage.write_bytes(probe, b"raypipe")
            storage.remove(probe)
        except Exception as error:
            problem = f"checkpoints cannot be written here ({_in_words(error)})"
            raise StorageError(self.uri, problem, "make room or give rights, or set storage.root=URI") from error

    def save(
        self, step: int, state: Mapping[str, bytes], curve: Curve, *, notes: Sequence[str] = (), keep_best: int = 0
    ) -> None:
        """Keep `state` as the newest checkpoint, and beside it when it is one of the `keep_best` of the lowest loss.

        Raises:
            TrainingError: when it cannot be written; the one before is still there.
        """
        parts = {**state, _CURVE: json.dumps(curve).encode(), _NOTES: json.dumps(list(notes)).encode()}
        blob = safetensors.save({name: np.frombuffer(data, dtype=np.uint8) for name, data in parts.items()})
        name = f"{step:08d}.safetensors"
        try:
            if keep_best and curve and curve[-1]["step"] == step and "validation_loss" in curve[-1]:
                self._keep(name, curve[-1]["validation_loss"], blob, keep_best)  # first: whoever goes on does not save it again
            storage.write_bytes(storage.join(self._checkpoints, name), blob)
        except Exception as error:
            problem = f"the checkpoint of step {step} cannot be written ({_in_words(error)})"
            raise TrainingError(f"at {self.uri}", problem, "make room; the same command goes on from the one before") from error
        for older in storage.list_files(self._checkpoints):
            if Path(older).name < name:
                storage.remove(older)

    def _keep(self, name: str, loss: float, blob: bytes, num: int) -> None:
        index = storage.join(self._best, _BEST)
        kept: dict[str, float] = storage.read_json(index) if storage.exists(index) else {}
        ranked = sorted([*kept.items(), *([] if name in kept else [(name, loss)])], key=lambda item: (item[1], item[0]))
        if name in kept or (name, loss) not in ranked[:num]:
            return
        storage.write_bytes(storage.join(self._best, name), blob)
        storage.write_json(index, dict(ranked[:num]))
        for dropped, _ in ranked[num:]:
            storage.remove(storage.join(self._best, dropped))

    def restore(self) -> Saved | None:
        """The newest checkpoint, or None.

        Raises:
            StorageError: when it is damaged.
        """
        for _ in range(_READS):
            names = sorted(u for u in storage.list_files(self._checkpoints) if u.endswith(".safetensors"))
            if not names:
                return None
            try:
                blob = storage.read_bytes(names[-1])
            except StorageError:
                continue
            try:
                parts = {name: array.tobytes() for name, array in safetensors.load(blob).items()}
            except SafetensorError as error:
                way_out = "remove it, and the same command starts anew"
                raise StorageError(names[-1], f"the checkpoint is damaged ({error})", way_out) from error
            curve, notes = json.loads(parts.pop(_CURVE)), json.loads(parts.pop(_NOTES, b"[]"))
            checkpoint = Checkpoint(step=int(Path(names[-1]).stem), state=parts)
            return Saved(checkpoint=checkpoint, curve=curve, notes=tuple(notes))
        raise StorageError(self._checkpoints, "the newest checkpoint is replaced again and again", "end the other training")

    def write_progress(self, progress: Progress) -> None:
        """Let followers see how far it is."""
        storage.write_bytes(self._progress, json.dumps(progress.to_dict()).encode())

    def read_progress(self) -> Progress:
        """As last written; empty before the first."""
        if not storage.exists(self._progress):
            return Progress()
        return Progress.from_dict(json.loads(storage.read_bytes(self._progress)))

    def finish(self, model: FittedModel, progress: Progress) -> None:
        """Keep `model` as the result.

        Raises:
            TrainingError: when the model does not load back, or cannot be written.
        """
        try:
            with tempfile.TemporaryDirectory(prefix="raypipe-") as name:
                folder = Path(name)
                model.save(folder)
                _check_loads_back(model, folder)
                measured = progress.to_dict()
                (folder / _TRAINED).write_text(json.dumps({"kind": model.kind, "curve": measured.pop("curve")}))
                (folder / _MEASURED).write_text(json.dumps(measured))  # apart: all other files are the same in every run
                storage.upload_folder(folder, self._finished, last=_TRAINED)
        except OSError as error:
            problem = f"the finished model cannot be written ({_in_words(error)})"
            raise TrainingError(f"at {self.uri}", problem, "make room; the same command goes on from the checkpoint") from error

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
        measured = storage.read_json(storage.join(self._finished, _MEASURED))
        return Finished(model=model, progress=Progress.from_dict({**measured, "curve": facts["curve"]}))

    def tidy(self) -> None:
        """Remove all but the finished model and the best checkpoints."""
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
    def _best(self) -> str:
        return storage.join(self.uri, "best")

    @property
    def _progress(self) -> str:
        return storage.join(self.uri, "progress.json")

    @property
    def _finished(self) -> str:
        return storage.join(self.uri, "finished")


def _in_words(error: Exception) -> str:
    return " ".join(str(error or type(error).__name__).split())


def _check_loads_back(model: FittedModel, folder: Path) -> None:
    way_out = f"give the fitted class kind = {import_path(type(model))!r}, and a load that reads what save writes"
    try:
        loaded = load_model(model.kind, folder)
    except BundleError as error:
        raise TrainingError(model.kind, f"the fitted model does not load back ({error.problem})", way_out) from error
    if type(loaded) is not type(model):
        raise TrainingError(model.kind, f"the fitted model loads back as a {import_path(type(loaded))}", way_out)


def curve_so_far(*, uri: str, fingerprint: str) -> Curve:
    """The curve up to the checkpoint from which a training would go on; empty where it would start anew."""
    saved = TrainingState(uri=storage.join(uri, fingerprint)).restore()
    return [] if saved is None else saved.curve
