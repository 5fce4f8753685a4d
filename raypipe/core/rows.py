"""Row counts: rows in = rows out + rows set aside, by reason. Nothing is lost without being counted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class RowCounts:
    """How many rows entered a step, left it, and were set aside for which reason.

    Raises:
        ValueError: when the counts do not add up; a step that loses rows is a bug, not an input error.
    """

    rows_in: int
    rows_out: int
    set_aside: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that no row was lost."""
        aside = sum(self.set_aside.values())
        if self.rows_in != self.rows_out + aside:
            raise ValueError(f"rows were lost: {self.rows_in} in, {self.rows_out} out, {aside} aside {dict(self.set_aside)}")

    def __add__(self, other: "RowCounts") -> "RowCounts":
        """Counts of two parts of the same step."""
        reasons = {r: self.set_aside.get(r, 0) + other.set_aside.get(r, 0) for r in {*self.set_aside, *other.set_aside}}
        return RowCounts(self.rows_in + other.rows_in, self.rows_out + other.rows_out, dict(sorted(reasons.items())))

    def to_dict(self) -> dict[str, Any]:
        """As stored and printed by every job."""
        return {"in": self.rows_in, "out": self.rows_out, "set_aside": dict(self.set_aside)}
