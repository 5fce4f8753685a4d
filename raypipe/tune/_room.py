"""How many trials the cluster has room for at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raypipe.core.errors import ConfigError
from raypipe.train import Request, Trainer, places, request_on
from raypipe.tune._settings import Tuning


@dataclass(frozen=True, kw_only=True)
class Room:
    """What trials may take.

    Attributes:
        num_trials: Most at a time. Tune does not know of the workers that a trial starts by itself, so that too many
            trials would each hold some workers and wait for the others.
        in_driver: Whether every trial trains in its own process, which the next one takes over.
        has_gpus: Whether the cluster has GPUs.
    """

    num_trials: int
    in_driver: bool
    has_gpus: bool

    def resources(self, trainer: Trainer) -> dict[str, float]:
        """What the process of a trial takes; when workers train, next to nothing, which must not be nothing."""
        if not trainer.in_driver:
            return {"memory": 1.0}
        gpu = trainer.use_gpu is True or (trainer.use_gpu == "auto" and self.has_gpus)
        return {"CPU": float(trainer.num_threads or 1)} | ({"GPU": 1.0} if gpu else {})


def find_room(trainers: Sequence[Trainer], tuning: Tuning, nodes: Sequence[Mapping[str, Any]]) -> Room:
    """The room for trials with `trainers` on `nodes` (of ``ray.nodes()``).

    Raises:
        ConfigError: when there is none for one of them, naming what it takes and what there is.
    """
    there = [node for node in nodes if node["Alive"]]
    gpus = any(node["Resources"].get("GPU", 0.0) >= 1.0 for node in there)
    in_driver = all(trainer.in_driver for trainer in trainers)
    room = Room(num_trials=1, in_driver=in_driver, has_gpus=gpus)
    found = min(_places(trainer, room, there) for trainer in trainers)
    return Room(num_trials=min(found, tuning.max_concurrent or found), in_driver=in_driver, has_gpus=gpus)


def _places(trainer: Trainer, room: Room, nodes: Sequence[Mapping[str, Any]]) -> int:
    if trainer.in_driver:
        request, workers, what = Request(resources=room.resources(trainer), labels={}), 1, "trainer.num_threads"
    else:
        request, workers = request_on(nodes, trainer), trainer.least_workers
        what = "trainer.num_workers or what each worker takes"
    fitting = places(nodes, request)
    if fitting >= workers:
        return fitting if trainer.in_driver else max(1, fitting // trainer.most_workers)
    if trainer.can_grow and not trainer.in_driver:
        return 1
    of = "" if trainer.in_driver else f"{workers} worker(s) with "
    raise ConfigError([f"a trial takes {of}{request}, which the cluster does not have (room for {fitting}); lower {what}"])
