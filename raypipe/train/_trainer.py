"""`train_model`: one call for every model and both engines."""

import os
import pdb  # opened only where trainer.debug asks for it
import sys
import time
import traceback
from collections.abc import Callable

from raypipe.core import storage
from raypipe.core.console import say
from raypipe.core.errors import TrainingError
from raypipe.core.tensors import TrainingData
from raypipe.models import Model
from raypipe.train._loops import THREAD_SETTINGS, DriverLoop, OnProgress
from raypipe.train._settings import Trainer
from raypipe.train._state import TrainingState
from raypipe.train._trained import Origin, Trained
from raypipe.train._work import learn


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
        trainer: Where and how.
        load: Reads the training data; called once by every process that trains, so it can be pickled and reads storage.
            Of `LoadPrepared`, what exceeds ``trainer.memory`` is mapped from the local disk.
        uri: Absolute folder for the state of trainings, on storage that all nodes share.
        fingerprint: Names this training: it changes with everything that shapes the model. State is kept under it, so a
            changed configuration never goes on from old state, and a finished training is not repeated.
        on_progress: Called in the driver with each new point of the curve; on Ray within about a second. An exception of
            its own ends a training in the driver, which goes on from its last checkpoint when it is called again. When it
            has a method `measured`, that is told the speed.

    Raises:
        ConfigError: when a setting of the trainer has no effect on this model.
        StorageError: when checkpoints cannot be written.
        TrainingError: when the loss is no longer a number, the cluster is too small, or a worker failed; an error that
            raypipe raised in a worker arrives as what it was.
    """
    started_s = time.monotonic()
    trainer.check(model)
    trainer = trainer.suited_to(model)
    state = TrainingState(uri=storage.join(uri, fingerprint))
    finished, origin = state.finished(), "finished"
    if finished is None:
        state.check_writable()
        origin = "resumed" if state.restore() else "fresh"
        if trainer.in_driver:
            _train_here(model, trainer=trainer, load=load, state=state, on_progress=on_progress)
        else:
            from raypipe.train._ray import train_on_ray

            train_on_ray(model, trainer=trainer, load=load, state=state, on_progress=on_progress)
        finished = state.finished()
        if finished is None:
            raise TrainingError(model.kind, f"no finished model in {state.uri}", "check that the storage can be written")
    state.tidy()
    chosen: Origin = origin  # type: ignore[assignment]  # one of the three by construction
    return Trained.of(finished, seconds=time.monotonic() - started_s, engine=_engine(trainer), origin=chosen)


def _train_here(
    model: Model, *, trainer: Trainer, load: Callable[[], TrainingData], state: TrainingState, on_progress: OnProgress
) -> None:
    for name, value in THREAD_SETTINGS.items():
        os.environ.setdefault(name, value)
    threads = trainer.num_threads or os.cpu_count() or 1
    loop = DriverLoop(
        state=state,
        trainer=trainer,
        num_threads=threads,
        device=_driver_device(trainer, model),
        cpus=float(threads),
        on_progress=on_progress,
    )
    try:
        learn(model, loop, load)
    except Exception as error:
        if trainer.debug:
            _debug(error)
        raise


def _debug(error: Exception) -> None:
    """Open the debugger where the exception was raised, when there is somebody to use it."""
    if not sys.stdin.isatty():
        say("  trainer.debug=true opens a debugger here when the job is run in a terminal")
        return
    traceback.print_exception(error)
    pdb.post_mortem(error.__traceback__)


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
    if trainer.in_driver:
        return "driver"
    return f"Ray Train ({trainer.workers_text} worker{'s' if trainer.most_workers > 1 else ''})"
