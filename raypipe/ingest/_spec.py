"""What ingest is told of a table, and what it says became of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from raypipe.contract import Cleaned, Contract, Finding
from raypipe.core.config import config
from raypipe.core.rows import RowCounts
from raypipe.sources import Source
from raypipe.tables import TableRef


@config
class TableSpec:
    """A table of the experiment.

    Attributes:
        source: Where its rows come from.
        contract: What they must be.
        replaced: A file that changed in place: ``replace`` takes its former rows out, ``append`` leaves them beside the
            new ones, ``refuse`` stops.
        changed_contract: After a change of the source's settings, the contract or the code: ``rebuild`` reads everything
            anew, ``new_rows`` leaves the rows that are there.
    """

    source: Source
    contract: Contract
    replaced: Literal["append", "replace", "refuse"] = "replace"
    changed_contract: Literal["rebuild", "new_rows"] = "rebuild"


@dataclass(frozen=True, kw_only=True)
class Ingested:
    """What became of one table.

    Attributes:
        ref: Its version now.
        rows: Counts of the commit that made it: `rows_out` is how many rows the table grew by, and rows of the table that
            newer ones replaced count among those set aside.
        reused: Nothing was new, and nothing was committed.
        reason: Why there was or was not something to do.
        findings: What the contract warns of.
        drift: How the columns found differ from those declared, or found before; one line each.
        cleaned: Cells that cleaning changed, by step.
        gone: URIs that were read before and are no longer there; their rows stay.
        quarantine: URI of the table's quarantine.
    """

    ref: TableRef
    rows: RowCounts
    reused: bool
    reason: str
    findings: tuple[Finding, ...] = ()
    drift: tuple[str, ...] = ()
    cleaned: Mapping[str, Cleaned] = field(default_factory=dict)
    gone: tuple[str, ...] = ()
    quarantine: str = ""
