"""Training on Ray Train V2: a worker group runs the model's own training, storage carries its state and its result."""

import importlib
import os
import signal
import threading
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from raypipe.core import storage
from raypipe.core.errors import RaypipeError, TrainingError
from raypipe.core.tensors import TrainingData
from raypipe.models import Framework, Model
from raypipe.train._loops import THREAD_SETTINGS, OnProgress, WorkerLoop
from raypipe.train._state import TrainingState
from raypipe.train._trainer import Trainer

_POLL_S = 1.0
_NUM_STARTS = 4  # workers that find no room get a minute each time, in which other work may end
# Ray Train polls its workers every 2 s and starts a watcher for preempted nodes: seconds of start-up for nothing here.
_ENVIRONMENT = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2", "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}
_WAY_ON = "the same command goes on from the last checkpoint"
_TRAINERS: dict[Framework, tuple[str, str]] = {
    "torch": ("ray.train.torch", "TorchTrainer"),
    "xgboost": ("ray.train.xgboost", "XGBoostTrainer"),
    "none": ("ray.train.v2.api.data_parallel_trainer", "DataParallelTrainer"),
}


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What every worker is given."""

    model: Model
    load: Callable[[], TrainingData]
    state: TrainingState
    seed: int
    num_threads: int

    def run(self) -> RaypipeError | None:
        """Train in this worker; the first one keeps the result.

        Returns:
            With one worker, an error that raypipe raised on purpose: it would be raised again, so a restart is useless.

        Raises:
            RaypipeError: the same with several workers, where the others wait for this one.
            TrainingError: for every other exception, with its traceback as text: Ray would drop it on the way.
        """
        import ray.train

        context = ray.train.get_context()
        try:
            self._train()
        except RaypipeError as error:
            if context.get_world_size() > 1:
                raise
            return error
        except Exception as error:
            text = "".join(traceback.format_exception(error)).strip()
            raise TrainingError(self.model.kind, f"worker {context.get_world_rank()} failed:\n{text}\n", _WAY_ON) from error
        return None

    def _train(self) -> None:
        framework = self.model.framework
        loop = WorkerLoop(state=self.state, seed=self.seed, num_threads=self.num_threads, framework=framework)
        data = self.load()
        if len(data.train) < loop.world_size:
            raise TrainingError(
                self.model.kind,
                f"{loop.world_size} workers for {len(data.train)} training rows",
                "lower trainer.num_workers",
            )
        fitted = self.model.train(data, loop)
        if loop.rank == 0:
            self.state.finish(fitted, loop.curve)


def train_on_ray(
    model: Model, *, trainer: Trainer, load: Callable[[], TrainingData], state: TrainingState, on_progress: OnProgress
) -> None:
    """Train `model` on `trainer.num_workers` workers; the result is in `state` afterwards.

    Raises:
        TrainingError: when Ray is not started, the cluster is too small, or a worker failed; an error that raypipe raised
            in a worker arrives as what it was.
    """
    from ray.train import ControllerError, FailureConfig, RunConfig, ScalingConfig, WorkerGroupError

    use_gpu = check_resources(model, trainer)
    threads = trainer.num_threads or max(1, int(trainer.cpus_per_worker))
    work = _Work(model=model, load=load, state=state, seed=trainer.seed, num_threads=threads)
    resources = {"CPU": trainer.cpus_per_worker} | ({"GPU": 1.0} if use_gpu else {})
    run_config = RunConfig(
        name=uuid.uuid4().hex,  # a name used before would go on from that run's state, whatever it trained
        storage_path=storage.path_of(state.ray_uri),
        storage_filesystem=storage.arrow_filesystem(state.ray_uri),
        worker_runtime_env={"env_vars": THREAD_SETTINGS},
        failure_config=FailureConfig(
            max_failures=trainer.max_failures,
            controller_failure_limit=-1 if trainer.can_grow else _NUM_STARTS,
        ),
    )
    scaling = ScalingConfig(num_workers=trainer.num_workers, use_gpu=use_gpu, resources_per_worker=resources)
    ray_trainer = _trainer_class(model.framework)(work.run, scaling_config=scaling, run_config=run_config)
    try:
        with _environment(), _sigint_restored(), _following(state, on_progress):
            result = ray_trainer.fit()
    except WorkerGroupError as error:
        raise _cause(model, {f"worker {rank}": failure for rank, failure in error.worker_failures.items()}) from error
    except ControllerError as error:
        raise _cause(model, {"starting the workers": error.controller_failure}) from error
    if result.return_value is not None:
        raise result.return_value


def check_resources(model: Model, trainer: Trainer) -> bool:
    """Refuse what the cluster does not have; returns whether each worker takes a GPU.

    Raises:
        TrainingError: naming what is asked for and what there is.
    """
    import ray

    if not ray.is_initialized():
        raise TrainingError(model.kind, "Ray is not started", "start it first: raypipe.core.cluster.Cluster().start()")
    if model.framework == "none" and trainer.num_workers > 1:
        raise TrainingError(model.kind, "this model trains in one process only", "set trainer.num_workers=1 or 0")
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    num_workers, cpus = trainer.num_workers, trainer.cpus_per_worker
    use_gpu = trainer.use_gpu is True or (trainer.use_gpu == "auto" and _places(nodes, cpus, 1.0) >= num_workers)
    places = _places(nodes, cpus, 1.0 if use_gpu else 0.0)
    if places < num_workers and not trainer.can_grow:
        found = ", ".join(f"{node.get('CPU', 0.0):g} CPU {node.get('GPU', 0.0):g} GPU" for node in nodes)
        raise TrainingError(
            model.kind,
            f"{num_workers} worker(s) with {cpus:g} CPU{' and 1 GPU' if use_gpu else ''} each do not fit the cluster "
            f"(room for {places}; nodes: {found})",
            "lower trainer.num_workers or trainer.cpus_per_worker, or set trainer.can_grow=true where nodes are added",
        )
    return use_gpu


def _places(nodes: list[dict[str, float]], cpus: float, gpus: float) -> int:
    """How many workers fit the nodes together."""
    return sum(
        int(min(node.get("CPU", 0.0) / cpus, node.get("GPU", 0.0) / gpus if gpus else float("inf")) + 1e-9) for node in nodes
    )


def _trainer_class(framework: Framework) -> type[Any]:
    """The trainer that connects the workers the way `framework` needs; imports only that one's library."""
    module, name = _TRAINERS[framework]
    found: type[Any] = vars(importlib.import_module(module))[name]
    return found


def _cause(model: Model, failures: dict[str, Exception]) -> Exception:
    """The raypipe error that a worker raised, else (the process died, or never started) a TrainingError with Ray's words."""
    for failure in failures.values():
        seen: BaseException | None = failure
        while seen is not None:
            if isinstance(seen, RaypipeError):
                return seen
            seen = seen.__cause__
    where, failure = min(failures.items())
    return TrainingError(model.kind, f"{where} failed: {failure}", _WAY_ON)


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


@contextmanager
def _following(state: TrainingState, on_progress: OnProgress) -> Iterator[None]:
    """Pass on progress from storage while the driver waits, and what is left of it at the end."""
    stop, last_step = threading.Event(), 0

    def pass_on(curve: list[dict[str, float]]) -> None:
        nonlocal last_step
        for point in curve:
            if point["step"] > last_step:
                last_step = int(point["step"])
                on_progress(last_step, {name: value for name, value in point.items() if name != "step"})

    def follow() -> None:
        while not stop.wait(_POLL_S):
            pass_on(state.read_progress())

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    finished = state.finished()
    pass_on(finished.curve if finished else [])
