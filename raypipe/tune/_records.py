"""What a search found: its trials and the best of them, as they are kept and shown."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

Status = Literal["finished", "stopped", "failed", "interrupted"]


@dataclass(frozen=True, kw_only=True)
class AxisFacts:
    """One axis of a space, as shown and stored.

    Attributes:
        name: Setting or group, as in an override: ``model.max_depth``, ``model``.
        kind: "choice" (of `labels`), "int" or "float" (from `low` to `high`, both included).
        low: Smallest value; None for a choice.
        high: Largest value; None for a choice.
        log: Whether the scale is logarithmic.
        labels: Values of a choice, as written in an override.
        when: Conditions ``GROUP:OPTION|OPTION``; all must hold, else a trial has no value on this axis.
    """

    name: str
    kind: Literal["choice", "int", "float"]
    low: float | None = None
    high: float | None = None
    log: bool = False
    labels: tuple[str, ...] = ()
    when: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict`, also through JSON."""
        return cls(**{**data, "labels": tuple(data["labels"]), "when": tuple(data["when"])})


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial.

    Attributes:
        number: From 0, in the order of proposals.
        sample: Value on each axis that applies: text as in an override for a choice, else a number.
        overrides: What ``jobs/train.py`` takes to train the same, beside the fixed overrides of the search.
        status: "finished"; "stopped" early by the scheduler; "failed"; "interrupted", which a resumed search takes up again.
        value: The search's metric at the best step; None where there is none.
        best_step: The step with the lowest validation loss.
        steps: Steps done.
        max_steps: Most steps that the model takes; 0 where it does not say.
        seconds: Wall-clock of its training, the last run of it.
        error: Why it failed.
        curve: One point a step, as the model reported.
        fingerprint: Of the training, below ``runs`` of the storage root.
        run_id: MLflow run, where there is one.
        cost: What its training took, as of `raypipe.train.Cost`; empty where it did not end, or was done before.
    """

    number: int
    sample: dict[str, Any]
    overrides: tuple[str, ...]
    status: Status
    value: float | None = None
    best_step: int = 0
    steps: int = 0
    max_steps: int = 0
    seconds: float = 0.0
    error: str | None = None
    curve: list[dict[str, float]] = field(default_factory=list)
    fingerprint: str = ""
    run_id: str = ""
    cost: dict[str, float] = field(default_factory=dict)

    @property
    def percent(self) -> int:
        """Of the model's steps, how many are done."""
        return 100 * self.steps // self.max_steps if self.max_steps else 0

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict`, also through JSON."""
        return cls(**{**data, "overrides": tuple(data["overrides"])})


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search and its outcome.

    Attributes:
        name: Of the search.
        metric: What was compared.
        mode: Whether less or more of it is better.
        axes: The space.
        trials: In the order of their numbers, those of earlier runs included.
        best: The best finished trial; None where none finished.
        seconds: Wall-clock of this run.
        num_kept: Trials taken over from earlier runs.
        uri: Folder of the records.
    """

    name: str
    metric: str
    mode: Literal["min", "max"]
    axes: tuple[AxisFacts, ...]
    trials: tuple[Trial, ...]
    best: Trial | None
    seconds: float
    num_kept: int
    uri: str

    def to_dict(self) -> dict[str, Any]:
        """As stored and printed."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`, also through JSON."""
        best = data["best"]
        return cls(
            **{
                **data,
                "axes": tuple(AxisFacts.from_dict(axis) for axis in data["axes"]),
                "trials": tuple(Trial.from_dict(trial) for trial in data["trials"]),
                "best": None if best is None else Trial.from_dict(best),
            }
        )
