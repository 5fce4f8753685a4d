"""Training on Ray Train V2: a worker group runs the model's own training, storage carries its state and its result."""

import importlib
import os
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from raypipe.core import storage
from raypipe.core.console import say
from raypipe.core.errors import RaypipeError, TrainingError
from raypipe.core.tensors import TrainingData
from raypipe.models import Framework, Model
from raypipe.train._loops import THREAD_SETTINGS, OnProgress, Watches
from raypipe.train._resources import request_for, short_of
from raypipe.train._settings import Trainer
from raypipe.train._spent import Speed
from raypipe.train._state import Progress, TrainingState
from raypipe.train._sums import Sums
from raypipe.train._worker import WAY_ON, Work, first_failure
from raypipe.train._worker import stop as stop_workers

_POLL_S = 1.0
_NUM_STARTS = 4  # workers that find no room get a minute each time, in which other work may end
# Ray Train polls its workers every 2 s and starts a watcher for preempted nodes: seconds of start-up for nothing here.
_ENVIRONMENT = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2", "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}
_TRAINERS: dict[Framework, tuple[str, str]] = {
    "torch": ("ray.train.torch", "TorchTrainer"),
    "xgboost": ("ray.train.xgboost", "XGBoostTrainer"),
    "lightgbm": ("ray.train.lightgbm", "LightGBMTrainer"),
    "none": ("ray.train.v2.api.data_parallel_trainer", "DataParallelTrainer"),
}


def train_on_ray(
    model: Model, *, trainer: Trainer, load: Callable[[], TrainingData], state: TrainingState, on_progress: OnProgress
) -> None:
    """Train `model` on the workers of `trainer`; the result is in `state` afterwards.

    Raises:
        TrainingError: when Ray is not started, the cluster is too small, or a worker failed; an error that raypipe raised
            in a worker arrives as what it was.
    """
    import ray
    from ray.train import ControllerError, FailureConfig, RunConfig, ScalingConfig, WorkerGroupError

    request = request_for(model, trainer)
    short = short_of(ray.available_resources(), request, trainer.least_workers)
    if short:
        say(f"  training {model.kind} waits for room in the cluster: {short}")
    name = uuid.uuid4().hex  # a name used before would go on from that run's state, whatever it trained
    sums = Sums.start() if model.framework == "lightgbm" and trainer.most_workers > 1 else None
    parcel = Work.pack(model, load)
    work = Work(name=name, kind=model.kind, parcel=parcel, state=state, trainer=trainer, sums=sums)
    run_config = RunConfig(
        name=name,
        storage_path=storage.path_of(state.ray_uri),
        storage_filesystem=storage.arrow_filesystem(state.ray_uri),
        worker_runtime_env={"env_vars": THREAD_SETTINGS},
        failure_config=FailureConfig(
            max_failures=trainer.max_failures,
            controller_failure_limit=-1 if trainer.can_grow else _NUM_STARTS,
        ),
    )
    scaling = ScalingConfig(
        num_workers=trainer.num_workers,
        use_gpu=request.use_gpu,
        resources_per_worker=dict(request.resources),
        label_selector=dict(request.labels) or None,
    )
    ray_trainer = _trainer_class(model.framework)(work.run, scaling_config=scaling, run_config=run_config)
    try:
        with _environment(), _sigint_restored(), _following(state, on_progress, name):
            result = ray_trainer.fit()
    except WorkerGroupError as error:
        raise _cause(model, name, error.worker_failures) from error
    except ControllerError as error:
        raise TrainingError(model.kind, f"the workers did not start: {error.controller_failure}", WAY_ON) from error
    if result.return_value is not None:
        raise result.return_value


def _trainer_class(framework: Framework) -> type[Any]:
    """The trainer that connects the workers the way `framework` needs; imports only that one's library."""
    module, name = _TRAINERS[framework]
    found: type[Any] = vars(importlib.import_module(module))[name]
    return found


def _cause(model: Model, name: str, failures: dict[int, Exception]) -> Exception:
    """Why the workers failed: what raypipe raised on purpose, else a process that died, else the first exception of all."""
    first = first_failure(name)
    if first is not None and first.deliberate:
        return first.error
    died = {rank: failure for rank, failure in failures.items() if not _is_told(failure)}
    if died or first is None:
        rank, failure = min((died or failures).items())
        return TrainingError(model.kind, f"worker {rank} failed: {failure}", WAY_ON)
    return first.error


def _is_told(failure: BaseException | None) -> bool:
    """Whether the worker lived to say why it failed."""
    return failure is not None and (isinstance(failure, RaypipeError) or _is_told(failure.__cause__))


@contextmanager
def _environment() -> Iterator[None]:
    """Ray Train's settings, where the user has not made them."""
    added = {name: value for name, value in _ENVIRONMENT.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


@contextmanager
def _sigint_restored() -> Iterator[None]:
    """Ray Train takes over Ctrl-C and does not give it back; a later one would end the driver with exit code 0."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Teller:
    """Tells a follower each point of a curve once, whatever a training that was started again repeats."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress, self._last_step = on_progress, 0

    def tell(self, progress: Progress) -> None:
        """The points that are new, and the speed."""
        for point in progress.curve:
            if point["step"] > self._last_step:
                self._last_step = int(point["step"])
                self._on_progress(self._last_step, {name: value for name, value in point.items() if name != "step"})
        if isinstance(self._on_progress, Watches) and progress.speed:
            self._on_progress.measured(Speed(**progress.speed))


@contextmanager
def _following(state: TrainingState, on_progress: OnProgress, name: str) -> Iterator[None]:
    """Pass on progress from storage while the driver waits, and what is left of it at the end.

    What `on_progress` raises ends the workers, and is raised when they have ended.
    """
    stop, teller = threading.Event(), _Teller(on_progress)
    raised: list[BaseException] = []

    def follow() -> None:
        try:
            while not stop.wait(_POLL_S):
                try:
                    progress = state.read_progress()
                except Exception:  # noqa: BLE001  # storage that does not answer now is asked again
                    continue
                teller.tell(progress)
        except BaseException as error:  # noqa: BLE001  # of the caller's own; raised where he can catch it
            raised.append(error)
            stop_workers(name)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        if raised:
            raise raised[0]
    finished = state.finished()
    teller.tell(finished.progress if finished else Progress())
