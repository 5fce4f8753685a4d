"""How a training goes, whatever is learned: the settings of a trainer that models follow."""

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal, Protocol, runtime_checkable

from pydantic import Field, model_validator

from raypipe.core.config import config

Precision = Literal["fp32", "bf16"]


@config
class Schedule:
    """How the learning rate of gradient descent moves over the updates of a training.

    Attributes:
        kind: "constant"; "linear" or "cosine" fall from the full rate to `final_share` of it at the last update.
        warmup_share: Share of all updates in which the rate rises linearly from zero.
        final_share: Share of the full rate that is left at the end; not with "constant".
    """

    kind: Literal["constant", "linear", "cosine"] = "constant"
    warmup_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    final_share: Annotated[float, Field(ge=0, le=1)] | None = None

    @model_validator(mode="after")
    def _end_has_a_fall(self) -> "Schedule":
        if self.kind == "constant" and self.final_share is not None:
            raise ValueError("final_share has no effect on a constant rate; set kind=linear or cosine")
        return self

    def share(self, update: int, num_updates: int) -> float:
        """Share of the full rate at `update` (from 0) of `num_updates`."""
        warmup = round(self.warmup_share * num_updates)
        if update < warmup:
            return (update + 1) / (warmup + 1)
        if self.kind == "constant":
            return 1.0
        done, final = min(1.0, (update - warmup) / max(1, num_updates - warmup)), self.final_share or 0.0
        left = 1.0 - done if self.kind == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
        return final + (1.0 - final) * left


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a training follows. A step is what the model counts: a boosting round, an epoch.

    Attributes:
        patience: Steps without a lower validation loss before training stops; None takes the model's own, 0 never stops.
        min_improvement: How much lower counts as lower for `patience`; the lowest is kept however little lower it is.
        max_updates: Most changes of the weights: batches of gradient descent, boosting rounds.
        max_seconds: Wall-clock bound over all runs of this training, of which one that was killed counts up to its last
            checkpoint; it stops after the step that passes it, a network after the batch.
        max_core_hours: The same for the core-hours of all its processes together.
        checkpoint_every: Steps between checkpoints; None takes the model's own.
        checkpoint_seconds: Also a checkpoint within an epoch, or at its end, when the last one is so old.
        precision: Of the forward and backward pass of networks; weights and sums stay float32.
        clip_norm: Largest norm of the gradient of all weights together.
        accumulate: Pieces in which each batch is computed, to fit into memory; the sum is that of the whole batch.
        schedule: Of the learning rate.
        compile: Compile the network before training (torch.compile).
        deterministic: Also on a GPU the same bits every time, slower; on a CPU they always are.
    """

    patience: int | None = None
    min_improvement: float = 0.0
    max_updates: int | None = None
    max_seconds: float | None = None
    max_core_hours: float | None = None
    checkpoint_every: int | None = None
    checkpoint_seconds: float | None = None
    precision: Precision = "fp32"
    clip_norm: float | None = None
    accumulate: int = 1
    schedule: Schedule = field(default_factory=Schedule)
    compile: bool = False
    deterministic: bool = False


@runtime_checkable
class Ignores(Protocol):
    """A model on which settings of a trainer have no effect that are no part of its recipe.

    Attributes:
        ignores: Those of "keep_best" and "use_gpu"; a trainer refuses them.
    """

    @property
    def ignores(self) -> frozenset[str]:
        """See above."""


STOPPING = frozenset({"patience", "min_improvement", "max_updates", "max_seconds", "max_core_hours", "checkpoint_every"})
"""Settings of a recipe that every model follows whose training is a `Course`."""
DESCENT = STOPPING | {
    *("checkpoint_seconds", "precision", "clip_norm", "accumulate", "schedule", "compile", "deterministic"),
}
"""Settings that models follow which descend a gradient."""
