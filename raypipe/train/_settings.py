"""`Trainer`: where and how a model trains, one part for every model."""

import json
from dataclasses import MISSING, field, fields, replace
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from raypipe.core.config import config
from raypipe.core.errors import ConfigError
from raypipe.core.sizes import Size
from raypipe.models import Ignores, Model, Precision, Recipe, Schedule, Stepped

_RECIPE = frozenset(one.name for one in fields(Recipe))
_OF_WORKERS = ("cpus_per_worker", "gpus_per_worker", "memory_per_worker", "label_selector", "max_failures", "can_grow")
_AROUND = ("memory_per_worker", "label_selector", "max_failures", "can_grow", "memory", "checkpoint_seconds", "debug")
_Workers = Annotated[int, Field(ge=1)]


@config
class Trainer:
    """Where and how a model trains. A model refuses the settings that it does not follow.

    A step is what the model counts: a boosting round, an epoch.

    Attributes:
        num_workers: 0 trains in the driver; 1 or more on that many Ray Train workers; [least, most] on as many as the
            cluster has room for, also when nodes come and go.
        cpus_per_worker: CPUs that Ray reserves for each worker.
        gpus_per_worker: GPUs of each worker when it takes any: a share of one, or several.
        memory_per_worker: Memory that Ray reserves for each worker, such as 4 GiB.
        label_selector: Ray labels that the node of a worker must have, such as {market-type: on-demand}.
        use_gpu: "auto" takes GPUs when the model can use them and every process can have its own.
        num_threads: Threads of the driver or of each worker; null takes all CPUs in the driver, and the reserved
            ones (at least one) in a worker. Part of what decides the last bits of the weights.
        seed: Everything random follows from it.
        max_failures: How often Ray Train starts the workers again after they failed; they go on from the last checkpoint.
        can_grow: Say true when the cluster adds nodes by itself; else a request larger than the cluster is refused.
        memory: Most training data in the memory of a process, such as 8 GiB; more is read from memory-mapped files on the
            local disk. Null is half of the memory available.
        patience: Steps without a lower validation loss before training stops; null takes the model's own, 0 never stops.
        min_improvement: How much lower counts as lower for `patience`; the lowest is kept however little lower it is.
        max_updates: Most changes of the weights: batches of gradient descent, boosting rounds.
        max_seconds: Wall-clock bound over all runs of this training, of which one that was killed counts up to its last
            checkpoint; it stops after the step that passes it, a network after the batch.
        max_core_hours: The same for CPUs times hours of all its processes.
        checkpoint_every: Steps between checkpoints; null takes the model's own.
        checkpoint_seconds: Also a checkpoint within an epoch, or at its end, when the last one is so old.
        keep_best: Checkpoints of the best steps that stay under runs/FINGERPRINT/best, among those that were written.
        precision: Of the forward and backward pass of networks; weights and sums stay float32.
        clip_norm: Largest norm of the gradient of all weights together.
        accumulate: Pieces in which each batch is computed, to fit into memory; the sum is that of the whole batch.
        schedule: Of the learning rate.
        compile: Compile the network before training (torch.compile).
        deterministic: Also on a GPU the same bits every time, slower; on a CPU they always are.
        debug: Train in the driver, and open the Python debugger at an exception.
    """

    num_workers: Annotated[int, Field(ge=0)] | tuple[_Workers, _Workers] = 0
    cpus_per_worker: Annotated[float, Field(gt=0)] = 1.0
    gpus_per_worker: Annotated[float, Field(gt=0)] = 1.0
    memory_per_worker: Size | None = None
    label_selector: dict[str, str] = field(default_factory=dict)
    use_gpu: bool | Literal["auto"] = False
    num_threads: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    max_failures: Annotated[int, Field(ge=0)] = 1
    can_grow: bool = False
    memory: Size | None = None
    patience: Annotated[int, Field(ge=0)] | None = None
    min_improvement: Annotated[float, Field(ge=0)] = 0.0
    max_updates: Annotated[int, Field(ge=1)] | None = None
    max_seconds: Annotated[float, Field(gt=0)] | None = None
    max_core_hours: Annotated[float, Field(gt=0)] | None = None
    checkpoint_every: Annotated[int, Field(ge=1)] | None = None
    checkpoint_seconds: Annotated[float, Field(gt=0)] | None = None
    keep_best: Annotated[int, Field(ge=0)] = 0
    precision: Precision = "fp32"
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    accumulate: Annotated[int, Field(ge=1)] = 1
    schedule: Schedule = Schedule()
    compile: bool = False
    deterministic: bool = False
    debug: bool = False

    @model_validator(mode="after")
    def _settings_fit_together(self) -> "Trainer":
        if isinstance(self.num_workers, tuple) and self.num_workers[0] > self.num_workers[1]:
            raise ValueError(f"num_workers={list(self.num_workers)}: expected [least, most]")
        if self.use_gpu is False and self.gpus_per_worker != 1.0:
            raise ValueError("gpus_per_worker has no effect with use_gpu=false; set use_gpu=true or auto")
        return self

    @property
    def recipe(self) -> Recipe:
        """The part that models follow."""
        return Recipe(**{name: vars(self)[name] for name in _RECIPE})

    @property
    def in_driver(self) -> bool:
        """Whether it trains in this process."""
        return self.debug or self.num_workers == 0

    @property
    def least_workers(self) -> int:
        """Workers without which it does not train."""
        return self.num_workers[0] if isinstance(self.num_workers, tuple) else self.num_workers

    @property
    def most_workers(self) -> int:
        """Workers that it takes when it can have them."""
        return self.num_workers[1] if isinstance(self.num_workers, tuple) else self.num_workers

    @property
    def workers_text(self) -> str:
        """How many workers, for people: ``2``, or ``1 to 4``."""
        least, most = self.least_workers, self.most_workers
        return f"{most}" if least == most else f"{least} to {most}"

    @property
    def shaping(self) -> "Trainer":
        """The same with the default for all that does not shape what is learned: a training goes on when that is changed."""
        around = {one.name: _default(one) for one in fields(self) if one.name in _AROUND}
        return replace(self, **around | ({"num_workers": 0} if self.debug else {}))

    def suited_to(self, model: Model) -> "Trainer":
        """The same, where "auto" takes no GPU for a model that uses none."""
        if self.use_gpu != "auto" or "use_gpu" not in _ignored(model):
            return self
        return replace(self, use_gpu=False, gpus_per_worker=1.0)

    def check(self, model: Model, *, at: str = "trainer") -> None:
        """Refuse settings that have no effect on how `model` trains.

        Args:
            model: What it is to train.
            at: The key of these settings.

        Raises:
            ConfigError: naming each of them.
        """
        followed = model.follows if isinstance(model, Stepped) else frozenset()
        without_effect = (_RECIPE - followed) | (_ignored(model) - ({"use_gpu"} if self.use_gpu == "auto" else set()))
        changed = [one.name for one in fields(self) if vars(self)[one.name] != _default(one)]
        problems = [
            f"{at}.{name}={vars(self)[one.name]} has no effect on model {model.kind}; take it out, "
            f"or set {at}.{name}={json.dumps(_default(one), default=str)} where an option or an experiment brings it"
            for one in fields(self)
            if (name := one.name) in changed and name in without_effect
        ]
        if self.num_workers == 0:
            problems += [
                f"{at}.{name} has no effect in the driver; set {at}.num_workers=1 or more, or take it out"
                for name in changed
                if name in _OF_WORKERS
            ]
        if model.framework == "none" and self.most_workers > 1:
            problems.append(f"model {model.kind} trains in one process only; set {at}.num_workers=1 or 0")
        if problems:
            raise ConfigError(problems)


def _ignored(model: Model) -> frozenset[str]:
    return model.ignores if isinstance(model, Ignores) else frozenset()


def _default(one: Any) -> Any:
    return one.default if one.default_factory is MISSING else one.default_factory()
