"""The training of an ensemble: one member after another, what is finished kept in the checkpoints.

A checkpoint holds the files of finished members, their answers for folds, and the state of the member that is trained now.
Shapes: N rows, M members, J columns of answers.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from raypipe.core.errors import TrainingError
from raypipe.core.tensors import TrainingData
from raypipe.models._ensemble import Average, Ensemble, Stack
from raypipe.models._ensemble_fitted import FittedEnsemble, Mixture, Weighted
from raypipe.models._ensemble_mixture import fit_stack, fit_weights
from raypipe.models._losses import metrics_of
from raypipe.models._protocols import Checkpoint, FittedModel, Loop, Model, Stepped
from raypipe.models._recipe import Recipe

if TYPE_CHECKING:
    from torch import nn

_PROGRESS = "ensemble.json"
_STATE, _KEPT, _ANSWERS = "state/", "kept/", "answers/"


@dataclass(frozen=True, kw_only=True)
class _Unit:
    """One training: of a member on all rows, or without one fold."""

    name: str
    member: str
    model: Model
    seed: int
    fold: int | None = None


class EnsembleTraining:
    """One training: what is finished, and how far it is."""

    def __init__(self, model: Ensemble, data: TrainingData, loop: Loop) -> None:
        self._model, self._data, self._loop = model, data, loop
        self._step, self._done, self._kept = 0, dict[str, Any](), dict[str, bytes]()
        self._resumed: tuple[str, Checkpoint] | None = None
        self._folds_N = self._make_folds()
        saved = loop.restore()
        if saved is not None:
            self._go_on(saved)

    def run(self) -> FittedEnsemble:
        """Train what is not finished yet, then put it together."""
        fitted: dict[str, FittedModel] = {}
        for unit in self._units():
            if unit.name not in self._done:
                found = self._train(unit)
                if unit.fold is None:
                    fitted[unit.member] = found
        members = {name: fitted[name] if name in fitted else self._load(name) for name in self._model.members}
        ensemble = FittedEnsemble(members=members, mixture=self._mixture(members), target=self._data.target)
        validation = self._data.validation
        self._loop.report(self._step + 1, metrics_of(self._data.target, validation, ensemble.predict(validation.inputs)))
        return ensemble

    def _units(self) -> Iterator[_Unit]:
        folds = self._model.combine.folds if isinstance(self._model.combine, Stack) else 0
        for i, (name, model) in enumerate(self._model.members.items()):
            unit = _Unit(name=name, member=name, model=model, seed=self._loop.seed + i)
            for fold in range(folds):
                yield replace(unit, name=f"{name}/fold{fold + 1}", fold=fold)
            yield unit

    def _train(self, unit: _Unit) -> FittedModel:
        rows_N = None if unit.fold is None else self._folds_N == unit.fold
        data = replace(self._data)  # keeps nothing: what a member kept would stand beside the next one's
        if rows_N is not None:
            data = replace(data, train=self._data.train.take(np.flatnonzero(~rows_N)))
        saved = self._resumed[1] if self._resumed is not None and self._resumed[0] == unit.name else None
        loop = _MemberLoop(self._loop, unit, first_step=self._step, saved=saved, keep=self._state)
        fitted = unit.model.train(data, loop)
        self._step, self._resumed = loop.last_step, None
        if rows_N is None:
            self._kept |= {f"{_KEPT}{unit.name}/{path}": content for path, content in _files(fitted).items()}
        else:
            answers = fitted.predict(self._data.train.take(np.flatnonzero(rows_N)).inputs)
            self._kept[f"{_ANSWERS}{unit.name}"] = np.ascontiguousarray(answers, dtype=np.float32).tobytes()
        self._done[unit.name] = fitted.kind
        self._loop.save(self._step, self._state("", 0))
        return fitted

    def _state(self, current: str, first_step: int) -> dict[str, bytes]:
        """What every checkpoint holds beside the state of the member that is trained now."""
        progress = {"done": self._done, "current": current, "first_step": first_step, "step": self._step}
        return {**self._kept, _PROGRESS: json.dumps(progress).encode()}

    def _go_on(self, saved: Checkpoint) -> None:
        progress = json.loads(saved.state[_PROGRESS])
        self._done, self._step = progress["done"], progress["step"]
        self._kept = {name: content for name, content in saved.state.items() if name.startswith((_KEPT, _ANSWERS))}
        if progress["current"]:
            state = {k.removeprefix(_STATE): v for k, v in saved.state.items() if k.startswith(_STATE)}
            checkpoint = Checkpoint(step=saved.step - progress["first_step"], state=state)
            self._resumed = progress["current"], checkpoint

    def _load(self, name: str) -> FittedModel:
        """A member that an earlier run finished."""
        from raypipe.models import load_model

        prefix = f"{_KEPT}{name}/"
        with tempfile.TemporaryDirectory(prefix="raypipe-") as scratch:
            for key, content in self._kept.items():
                if key.startswith(prefix):
                    path = Path(scratch) / key.removeprefix(prefix)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)
            return load_model(self._done[name], Path(scratch))

    def _make_folds(self) -> NDArray[np.int64] | None:
        """The fold of each training row: a hash of its position and the seed, the same in every process."""
        if not isinstance(self._model.combine, Stack):
            return None
        train, bound = self._data.train, self._loop.memory_bytes
        if 2 * train.num_bytes > bound:
            problem = f"stacking copies the training rows ({train.num_bytes:,} bytes), and {bound:,} bytes are for all of it"
            raise TrainingError("ensemble", problem, "set model.combine.kind=average, or raise trainer.memory")
        start = self._loop.seed * 0x9E3779B97F4A7C15 % 2**64
        key_N = np.arange(len(train), dtype=np.uint64) + np.uint64(start)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # the finalizer of SplitMix64
            key_N = (key_N ^ (key_N >> np.uint64(shift))) * np.uint64(factor)
        return ((key_N ^ (key_N >> np.uint64(31))) % np.uint64(self._model.combine.folds)).astype(np.int64)

    def _mixture(self, members: Mapping[str, FittedModel]) -> Mixture:
        combine = self._model.combine
        if isinstance(combine, Stack):
            return fit_stack(self._data, [self._out_of_fold(name) for name in members], combine.penalty)
        return self._weighted(combine, members)

    def _weighted(self, combine: Average, members: Mapping[str, FittedModel]) -> Weighted:
        if combine.weights == "fit":
            rows = self._data.validation
            return fit_weights(self._data, [member.predict(rows.inputs) for member in members.values()])
        weights = dict.fromkeys(members, 1.0) if combine.weights is None else combine.weights
        total = sum(weights.values())
        return Weighted(weights=tuple(weights[name] / total for name in members))

    def _out_of_fold(self, name: str) -> NDArray[np.float32]:
        """Answers of a member for the training rows, each by the training that did not see it."""
        target, num_rows = self._data.target, len(self._data.train)
        out = np.empty((num_rows, target.num_outputs) if target.kind == "multiclass" else num_rows, dtype=np.float32)
        for fold in range(int(self._model.combine.folds) if isinstance(self._model.combine, Stack) else 0):
            rows_N = self._folds_N == fold
            content = self._kept[f"{_ANSWERS}{name}/fold{fold + 1}"]
            out[rows_N] = np.frombuffer(content, dtype=np.float32).reshape(out[rows_N].shape)
        return out


class _MemberLoop:
    """The loop as one member sees it: its own steps and state; implements `raypipe.models.Loop`."""

    def __init__(self, loop: Loop, unit: _Unit, *, first_step: int, saved: Checkpoint | None, keep: Any) -> None:
        self._loop, self._unit, self._first_step, self._saved, self._keep = loop, unit, first_step, saved, keep
        self.rank, self.world_size, self.seed = loop.rank, loop.world_size, unit.seed
        self.num_threads, self.device = loop.num_threads, loop.device
        self.recipe, self.memory_bytes = _followed(loop.recipe, unit.model), loop.memory_bytes
        self.last_step = first_step + (saved.step if saved else 0)

    @property
    def scratch(self) -> Path:
        """A folder of its own."""
        folder = self._loop.scratch / self._unit.name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def core_hours(self) -> float:
        """Of all members so far."""
        return self._loop.core_hours

    def report(self, step: int, metrics: Mapping[str, float]) -> None:
        """The next point of the whole curve, under the name of the member."""
        self.last_step = self._first_step + step
        self._loop.report(self.last_step, {f"{self._unit.name}/{name}": value for name, value in metrics.items()})

    def measure(self, *, rows: int, seconds: float, waited_s: float = 0.0) -> None:
        """Add to the measured speed."""
        self._loop.measure(rows=rows, seconds=seconds, waited_s=waited_s)

    def note(self, text: str) -> None:
        """Tell people, with the member's name."""
        self._loop.note(f"{self._unit.name}: {text}")

    def save(self, step: int, state: Mapping[str, bytes]) -> None:
        """Keep the member's state beside what is finished."""
        own = {f"{_STATE}{name}": content for name, content in state.items()}
        self._loop.save(self._first_step + step, {**self._keep(self._unit.name, self._first_step), **own})

    def restore(self) -> Checkpoint | None:
        """The state that this member saved last, if it is the one that was interrupted."""
        return self._saved

    def wrap(self, module: "nn.Module") -> "nn.Module":
        """As the loop does."""
        return self._loop.wrap(module)

    def total(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """As the loop does."""
        return self._loop.total(values)

    def network_params(self) -> Mapping[str, Any]:
        """As the loop does."""
        return self._loop.network_params()


def _followed(recipe: Recipe, model: Model) -> Recipe:
    """What a member follows of the recipe of the whole; the rest is as if nobody had set it."""
    follows = model.follows if isinstance(model, Stepped) else frozenset()
    return Recipe(**{name: value for name, value in vars(recipe).items() if name in follows})


def _files(fitted: FittedModel) -> dict[str, bytes]:
    """What a member would write into a bundle."""
    with tempfile.TemporaryDirectory(prefix="raypipe-") as scratch:
        folder = Path(scratch)
        fitted.save(folder)
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
