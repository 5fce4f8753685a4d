"""`Trained`: what a training gives back."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from raypipe.models import FittedModel
from raypipe.train._spent import Cost, Speed
from raypipe.train._state import Curve, Finished

Origin = Literal["fresh", "resumed", "finished"]


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
        speed: How fast its last run was.
        cost: What all its runs took.
        notes: What the model said about its training.
    """

    model: FittedModel
    curve: Curve
    best_step: int
    seconds: float
    engine: str
    origin: Origin
    speed: Speed = field(default_factory=Speed)
    cost: Cost = field(default_factory=Cost)
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, finished: Finished, *, seconds: float, engine: str, origin: Origin) -> "Trained":
        """From what is in storage."""
        progress = finished.progress
        return cls(
            model=finished.model,
            curve=progress.curve,
            best_step=_best_step(progress.curve),
            seconds=seconds,
            engine=engine,
            origin=origin,
            speed=Speed(**progress.speed),
            cost=Cost(**progress.cost),  # type: ignore[arg-type]  # whole numbers are whole in JSON too
            notes=progress.notes,
        )

    def to_dict(self) -> dict[str, Any]:
        """Scalars for records and trackers: names of `Speed` and `Cost` and their values."""
        return {**self.speed.to_dict(), **self.cost.to_dict()}


def _best_step(curve: Curve) -> int:
    """The first step with the lowest validation loss; the last step when none is reported; 0 for an empty curve."""
    steps = [int(point["step"]) for point in curve]
    losses = [loss if math.isfinite(loss := point.get("validation_loss", math.inf)) else math.inf for point in curve]
    if not steps or math.isinf(min(losses)):
        return steps[-1] if steps else 0
    return steps[losses.index(min(losses))]
