"""What a transform is to those that run it, and what became of one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import pyarrow as pa

from raypipe.contract import Contract, Finding
from raypipe.tables import TableRef


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a transform takes and promises.

    Attributes:
        inputs: Its own names of tables -> table, or ``table@version``; the first drives what comes out.
        by: Columns whose equal values are worked on together; none: one part of the first input at a time.
        contract: What the new rows must be; None leaves them unchecked.
        shrinks: What became of rows that do not come out.
        functions: The user's own functions, ``package.module:name``.
    """

    inputs: Mapping[str, str]
    by: tuple[str, ...] = ()
    contract: Contract | None = None
    shrinks: Literal["filtered", "grouped"] = "filtered"
    functions: tuple[str, ...] = ()


@runtime_checkable
class Transform(Protocol):
    """Makes a table of others: a part of the configuration, and picklable. Equal rows in, equal rows out."""

    @property
    def recipe(self) -> Recipe:
        """What it takes and promises."""

    def run(self, tables: Mapping[str, pa.Table], *, name: str) -> pa.Table:
        """The new rows of one piece of the inputs, typed; `name` is the table that they are for."""


@dataclass(frozen=True, kw_only=True)
class TransformRows:
    """Where rows went: ``first + exploded = out + filtered or grouped + set aside``.

    Attributes:
        rows_in: Rows of each input.
        rows_out: Rows of the new table.
        exploded: How many more than those of the first input were made.
        lost: How many fewer, by what became of them.
        set_aside: Rows in quarantine, by rule.
    """

    rows_in: Mapping[str, int]
    rows_out: int
    exploded: int = 0
    lost: Mapping[str, int] = field(default_factory=dict)
    set_aside: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that they add up; rows that are lost without a name are a bug."""
        first = next(iter(self.rows_in.values()))
        if first + self.exploded != self.rows_out + sum(self.lost.values()) + sum(self.set_aside.values()):
            raise ValueError(f"rows were lost: {self}")

    def to_dict(self) -> dict[str, Any]:
        """As stored in the commit and printed by the job."""
        plain = {"in": dict(self.rows_in), "out": self.rows_out, "exploded": self.exploded}
        return {**plain, **self.lost, "set_aside": dict(self.set_aside)}


@dataclass(frozen=True, kw_only=True)
class Transformed:
    """What became of one transform.

    Attributes:
        ref: The version of its table now.
        rows: Counts of the run that made it, as of `TransformRows.to_dict`.
        reused: Nothing had changed, and nothing was done.
        reason: Why there was or was not something to do.
        findings: What the contract warns of.
    """

    ref: TableRef
    rows: Mapping[str, Any]
    reused: bool
    reason: str
    findings: tuple[Finding, ...] = ()
