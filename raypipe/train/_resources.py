"""What the workers ask of the cluster, refused at once when it can never give it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raypipe.core.errors import ConfigError, TrainingError
from raypipe.core.sizes import size_text
from raypipe.models import Model
from raypipe.train._settings import Trainer


@dataclass(frozen=True, kw_only=True)
class Request:
    """What each worker takes, as Ray names it, and the labels of the nodes that it may be on."""

    resources: Mapping[str, float]
    labels: Mapping[str, str]

    @property
    def use_gpu(self) -> bool:
        """Whether a worker takes GPUs."""
        return "GPU" in self.resources

    def __str__(self) -> str:
        """As people read it."""
        parts = [_amount(name, value) for name, value in self.resources.items()]
        labels = ", ".join(f"{key}={value}" for key, value in self.labels.items())
        return " and ".join(parts) + (f" on nodes with {labels}" if labels else "")


def request_for(model: Model, trainer: Trainer) -> Request:
    """What a worker of `trainer` takes on the cluster that this process is connected to.

    Raises:
        TrainingError: when Ray is not started.
        ConfigError: when the cluster can never give it, naming what is asked for and what there is.
    """
    import ray

    if not ray.is_initialized():
        raise TrainingError(model.kind, "Ray is not started", "start it first: raypipe.core.cluster.Cluster().start()")
    nodes = [node for node in ray.nodes() if node["Alive"]]
    request = request_on(nodes, trainer)
    room = places(nodes, request)
    if room < trainer.least_workers and not trainer.can_grow:
        problem = (
            f"{trainer.least_workers} worker(s) with {request} each do not fit the cluster "
            f"(room for {room}; nodes: {', '.join(_node(node, request) for node in nodes)})"
        )
        way_out = "lower trainer.num_workers or what each worker takes, or set trainer.can_grow=true where nodes are added"
        raise ConfigError([f"training {model.kind}: {problem}; {way_out}"])
    return request


def request_on(nodes: Sequence[Mapping[str, Any]], trainer: Trainer) -> Request:
    """What a worker of `trainer` takes where the cluster has `nodes` (of ``ray.nodes()``)."""
    with_gpu = _request(trainer, use_gpu=True)
    auto = trainer.use_gpu == "auto" and places(nodes, with_gpu) >= trainer.least_workers
    return with_gpu if trainer.use_gpu is True or auto else _request(trainer, use_gpu=False)


def short_of(free: Mapping[str, float], request: Request, num_workers: int) -> str:
    """What `num_workers` want and the cluster, of which `free` is, has not now; empty where they can begin."""
    wanted = {name: value * num_workers for name, value in request.resources.items()}
    short = [name for name, value in wanted.items() if free.get(name, 0.0) < value]
    return ", ".join(f"{_amount(name, wanted[name])} wanted, {_amount(name, free.get(name, 0.0))} free" for name in short)


def places(nodes: Sequence[Mapping[str, Any]], request: Request) -> int:
    """How many workers fit the nodes together."""
    return sum(_places_on(node, request) for node in nodes)


def _request(trainer: Trainer, *, use_gpu: bool) -> Request:
    resources = {"CPU": trainer.cpus_per_worker}
    if use_gpu:
        resources["GPU"] = trainer.gpus_per_worker
    if trainer.memory_per_worker is not None:
        resources["memory"] = float(trainer.memory_per_worker)
    return Request(resources=resources, labels=trainer.label_selector)


def _places_on(node: Mapping[str, Any], request: Request) -> int:
    if not all(_matches(node.get("Labels", {}).get(key), rule) for key, rule in request.labels.items()):
        return 0
    there = node["Resources"]
    return int(min(there.get(name, 0.0) / value for name, value in request.resources.items()) + 1e-9)


def _matches(label: str | None, rule: str) -> bool:
    """Ray's own rules: ``a``, ``!a``, ``in(a,b)``, ``!in(a,b)``."""
    negated, rule = rule.startswith("!"), rule.removeprefix("!")
    wanted = rule.removeprefix("in(").removesuffix(")").split(",") if rule.startswith("in(") else [rule]
    return (label in [value.strip() for value in wanted]) != negated


def _amount(name: str, value: float) -> str:
    return f"{size_text(value)} of memory" if name == "memory" else f"{value:g} {name}"


def _node(node: Mapping[str, Any], request: Request) -> str:
    names = ["CPU", "GPU", *(["memory"] if "memory" in request.resources else [])]
    parts = [_amount(name, node["Resources"].get(name, 0.0)) for name in names]
    labels = node.get("Labels", {})
    return " ".join([*parts, *(f"{key}={labels.get(key, 'none')}" for key in request.labels)])
