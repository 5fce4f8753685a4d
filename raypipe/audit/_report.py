"""What an audit found, as plain values: measures of every check, which the policy compares with its bounds."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

CheckName = Literal["entity_overlap", "duplicates", "time_overlap", "known_later", "proxies", "statistics", "look_ahead"]
Severity = Literal["fail", "warn", "off"]

CHECKS: Mapping[CheckName, str] = {
    "entity_overlap": "The same entity in train and in another split",
    "duplicates": "The same row in train and in another split",
    "time_overlap": "Train rows that are not older than the rows of a later split",
    "known_later": "Columns whose value is known only later than the prediction",
    "proxies": "Single columns that tell the label",
    "statistics": "Statistics of train rows that other rows went into",
    "look_ahead": "Joined values that are later than the prediction",
}
"""What each check looks for."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One thing that a check measured.

    Attributes:
        check: The check.
        column: The column, several of them, or the view; "" for whole rows.
        value: What the bound of the check is for.
        text: What it is, in one line.
        noise: What chance alone may give; a value that is not above is never a leak.
        margin: How far the value may be from that of more rows; a value counts that is above its bound by more.
        weight: ``leak`` is judged by the severity of the check, a ``hint`` is a warning at most.
    """

    check: CheckName
    column: str
    value: float
    text: str
    noise: float = 0.0
    margin: float = 0.0
    weight: Literal["leak", "hint"] = "leak"


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that an audit measured.

    Attributes:
        subject: What was audited.
        label: Name of the label.
        task: Its kind.
        split: How rows were assigned, in words.
        by_time: Whether test rows are meant to be later than all others.
        rows: Rows of each split.
        set_aside: Rows in no split, by reason.
        columns: Columns that were looked at as features.
        measures: All that was measured.
        skipped: Checks that had nothing to look at, and why.
    """

    subject: str
    label: str
    task: str
    split: str
    by_time: bool
    rows: Mapping[str, int]
    columns: tuple[str, ...]
    measures: tuple[Measure, ...]
    set_aside: Mapping[str, int] = field(default_factory=dict)
    skipped: Mapping[CheckName, str] = field(default_factory=dict)

    def of(self, check: CheckName) -> tuple[Measure, ...]:
        """The measures of one check, the largest first."""
        found = [measure for measure in self.measures if measure.check == check]
        return tuple(sorted(found, key=lambda measure: -measure.value))

    @property
    def looked_at(self) -> tuple[CheckName, ...]:
        """Checks that had something to look at."""
        return tuple(check for check in CHECKS if check not in self.skipped)

    def to_dict(self) -> dict[str, Any]:
        """As stored."""
        return {**asdict(self), "columns": list(self.columns), "measures": [asdict(measure) for measure in self.measures]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Report":
        """The inverse of `to_dict`."""
        measures = tuple(Measure(**measure) for measure in data["measures"])
        return cls(**{**data, "columns": tuple(data["columns"]), "measures": measures})
