"""`train_model`: one call for every model and both engines."""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from raypipe.core import storage
from raypipe.core.config import config
from raypipe.core.errors import TrainingError
from raypipe.core.tensors import TrainingData
from raypipe.models import FittedModel, Model
from raypipe.train._loops import THREAD_SETTINGS, DriverLoop, OnProgress
from raypipe.train._state import Curve, TrainingState


@config
class Trainer:
    """Where a model trains. The outputs are the same for every setting but the seed and the number of workers.

    Attributes:
        num_workers: 0 trains in the driver; 1 or more on that many Ray Train workers.
        cpus_per_worker: CPUs that Ray reserves for each worker.
        num_threads: Threads of the driver or of each worker; null takes all CPUs in the driver, and the reserved
            ones (at least one) in a worker. Part of what decides the last bits of the weights.
        use_gpu: "auto" takes a GPU per process when there are enough.
        seed: Everything random follows from it.
        max_failures: How often Ray Train starts the workers again after they failed; they go on from the last checkpoint.
        can_grow: Say true when the cluster adds nodes by itself; else a request larger than the cluster is refused.
    """

    num_workers: Annotated[int, Field(ge=0)] = 0
    cpus_per_worker: Annotated[float, Field(gt=0)] = 1.0
    num_threads: Annotated[int, Field(ge=1)] | None = None
    use_gpu: bool | Literal["auto"] = False
    seed: Annotated[int, Field(ge=0)] = 0
    max_failures: Annotated[int, Field(ge=0)] = 1
    can_grow: bool = False


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained model and how it came about.

    Attributes:
        model: What was learned, read back from storage.
        curve: One point per step: "step" and what the model reported, also of steps before an interruption.
        best_step: The step with the lowest validation_loss; the last one when the model reports none.
        seconds: Wall-clock of this call, the start of workers included.
        engine: What did the work, for example "driver" or "Ray Train (1 worker)".
        origin: "fresh", "resumed" from a checkpoint of an interrupted call, or "finished" by an earlier call.
    """

    model: FittedModel
    curve: Curve
    best_step: int
    seconds: float
    engine: str
    origin: Literal["fresh", "resumed", "finished"]


def _ignore(step: int, metrics: dict[str, float]) -> None:
    """Nobody follows."""


def train_model(
    model: Model,
    *,
    trainer: Trainer,
    load: Callable[[], TrainingData],
    uri: str,
    fingerprint: str,
    on_progress: OnProgress = _ignore,
) -> Trained:
    """Train `model`, or go on with an interrupted training of the same fingerprint.

    Args:
        model: What to learn.
        trainer: Where.
        load: Reads the training data; called once by every process that trains, so it can be pickled and reads storage.
        uri: Absolute folder for the state of trainings, on storage that all nodes share.
        fingerprint: Names this training: it changes with everything that shapes the model. State is kept under it, so a
            changed configuration never goes on from old state, and a finished training is not repeated.
        on_progress: Called in the driver with each new point of the curve; on Ray within about a second.

    Raises:
        TrainingError: when the loss is no longer a number, the cluster is too small, or a worker failed; an error that
            raypipe raised in a worker arrives as what it was.
    """
    started_s = time.monotonic()
    state = TrainingState(uri=storage.join(uri, fingerprint))
    engine = _engine(trainer)
    finished, origin = state.finished(), "finished"
    if finished is None:
        origin = "resumed" if state.restore() else "fresh"
        if trainer.num_workers == 0:
            _train_here(model, trainer=trainer, load=load, state=state, on_progress=on_progress)
        else:
            from raypipe.train._ray import train_on_ray

            train_on_ray(model, trainer=trainer, load=load, state=state, on_progress=on_progress)
        finished = state.finished()
        if finished is None:
            raise TrainingError(model.kind, f"no finished model in {state.uri}", "check that the storage can be written")
    state.tidy()
    return Trained(
        model=finished.model,
        curve=finished.curve,
        best_step=_best_step(finished.curve),
        seconds=time.monotonic() - started_s,
        engine=engine,
        origin=origin,  # type: ignore[arg-type]  # one of the three by construction
    )


def _train_here(
    model: Model, *, trainer: Trainer, load: Callable[[], TrainingData], state: TrainingState, on_progress: OnProgress
) -> None:
    for name, value in THREAD_SETTINGS.items():
        os.environ.setdefault(name, value)
    loop = DriverLoop(
        state=state,
        seed=trainer.seed,
        num_threads=trainer.num_threads or os.cpu_count() or 1,
        device=_driver_device(trainer, model),
        on_progress=on_progress,
    )
    state.finish(model.train(load(), loop), loop.curve)


def _driver_device(trainer: Trainer, model: Model) -> str:
    if trainer.use_gpu is False:
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if trainer.use_gpu is True:
        raise TrainingError(model.kind, "this machine has no usable GPU", "set trainer.use_gpu=auto or false")
    return "cpu"


def _engine(trainer: Trainer) -> str:
    if trainer.num_workers == 0:
        return "driver"
    return f"Ray Train ({trainer.num_workers} worker{'s' if trainer.num_workers > 1 else ''})"


def _best_step(curve: Curve) -> int:
    """The first step with the lowest validation loss; the last step when none is reported; 0 for an empty curve."""
    steps = [int(point["step"]) for point in curve]
    losses = [point.get("validation_loss", math.inf) for point in curve]
    if not steps or math.isinf(min(losses)):
        return steps[-1] if steps else 0
    return steps[losses.index(min(losses))]
