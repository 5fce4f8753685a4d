"""What a worker of Ray Train does, and how it says why it failed."""

import importlib
import os
import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import cloudpickle

from raypipe.core.errors import RaypipeError, TrainingError
from raypipe.core.tensors import TrainingData
from raypipe.models import Model
from raypipe.train._loops import WorkerLoop
from raypipe.train._settings import Trainer
from raypipe.train._state import TrainingState
from raypipe.train._sums import Sums
from raypipe.train._work import learn

WAY_ON = "the same command goes on from the last checkpoint"
_HERE = str(Path(__file__).parent)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What every worker is given.

    Attributes:
        name: Of this call, unlike any other.
        kind: Of the model, for errors.
        parcel: Model and loader, packed: what they need is imported where an error can be told.
        state: Where checkpoints and the result go.
        trainer: The settings.
        sums: Adds up over workers where the library cannot.
    """

    name: str
    kind: str
    parcel: bytes
    state: TrainingState
    trainer: Trainer
    sums: Sums | None

    @staticmethod
    def pack(model: Model, load: Callable[[], TrainingData]) -> bytes:
        """The `parcel`."""
        packed: bytes = cloudpickle.dumps((model, load))
        return packed

    def run(self) -> RaypipeError | None:
        """Train in this worker; the first one keeps the result.

        Returns:
            An error that raypipe raised on purpose in this call, here alone or in any worker before Ray started them again:
            it would be raised again.

        Raises:
            RaypipeError: the same when there are several workers, where the others wait for this one.
            TrainingError: for every other exception, with its traceback as text: Ray would drop it on the way.
        """
        import ray.train

        context = ray.train.get_context()
        first = first_failure(self.name)
        if first is not None and first.deliberate:
            return first.error
        if context.get_world_rank() == 0:
            _forget(self.name)
        try:
            self._train()
        except RaypipeError as error:
            if context.get_world_size() > 1:
                _remember(self.name, Failure(error=error, deliberate=True))
                raise
            return error
        except Exception as error:
            failed = TrainingError(self.kind, f"worker {context.get_world_rank()} failed:\n{_told(error)}\n", WAY_ON)
            _remember(self.name, Failure(error=failed, deliberate=False))
            raise failed from error
        return None

    def _train(self) -> None:
        model, load = self.unpacked()
        threads = self.trainer.num_threads or max(1, int(self.trainer.cpus_per_worker))
        loop = WorkerLoop(
            state=self.state, trainer=self.trainer, num_threads=threads, framework=model.framework, sums=self.sums
        )
        loop.check = self._check_wanted
        learn(model, loop, load)

    def _check_wanted(self) -> None:
        """Whoever follows may have had enough.

        Raises:
            TrainingError: then; the driver raises what its follower raised.
        """
        if is_stopped(self.name):
            raise TrainingError(self.kind, "who follows it has ended it", WAY_ON)

    def unpacked(self) -> tuple[Model, Callable[[], TrainingData]]:
        """What was packed.

        Raises:
            TrainingError: when a module that it needs cannot be imported here.
        """
        importlib.invalidate_caches()
        try:
            model, load = pickle.loads(self.parcel)  # the driver of this very run packed it
        except ImportError as error:
            raise TrainingError(
                self.kind,
                f"a worker cannot import what the driver can ({error})",
                "install it on every node, or submit the job with its folder: ray job submit --working-dir .",
            ) from error
        return model, load


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a worker failed, and whether raypipe raised it on purpose: then starting again is useless."""

    error: RaypipeError
    deliberate: bool


def first_failure(name: str) -> Failure | None:
    """Why the first worker failed in the call `name`, or None: those that waited for it fail too, for no reason of theirs."""
    from ray.experimental.internal_kv import _internal_kv_get

    packed = _internal_kv_get(_key(name))
    failure: Failure | None = pickle.loads(packed) if packed else None  # a worker of this very run packed it
    return failure


def stop(name: str) -> None:
    """End the call `name` after its next progress."""
    from ray.experimental.internal_kv import _internal_kv_put

    _internal_kv_put(_stop_key(name), b"")


def is_stopped(name: str) -> bool:
    """Whether that was asked for."""
    from ray.experimental.internal_kv import _internal_kv_exists

    return bool(_internal_kv_exists(_stop_key(name)))


def _stop_key(name: str) -> bytes:
    return f"raypipe-stop-{name}".encode()


def _remember(name: str, failure: Failure) -> None:
    from ray.experimental.internal_kv import _internal_kv_put

    _internal_kv_put(_key(name), cloudpickle.dumps(failure), overwrite=False)


def _forget(name: str) -> None:
    from ray.experimental.internal_kv import _internal_kv_del

    _internal_kv_del(_key(name))


def _key(name: str) -> bytes:
    return f"raypipe-failed-{name}".encode()


def _told(error: Exception) -> str:
    """The traceback from the first frame that is not this package's, and where this worker's log is."""
    place: Any = error.__traceback__
    while place is not None and place.tb_frame.f_code.co_filename.startswith(_HERE):
        place = place.tb_next
    text = "".join(traceback.format_exception(type(error), error, place or error.__traceback__)).strip()
    log = Path("/proc/self/fd/2").readlink()  # Ray sends what a worker says there
    return f"{text}\nlog of the worker: {log} on {os.uname().nodename}"
