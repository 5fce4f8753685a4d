"""The job ``profile``: a version of a table, or two side by side, as one page."""

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from raypipe.core.cluster import Cluster
from raypipe.core.config import config
from raypipe.core.console import headline, say, table
from raypipe.core.errors import ConfigError
from raypipe.core.job import JobRecord
from raypipe.core.naming import did_you_mean
from raypipe.core.storage import Storage, write_bytes
from raypipe.overview._cards import Card
from raypipe.overview._page import cards_of, render_profile
from raypipe.overview._table import TableOverview, look_over
from raypipe.overview._words import psi_of, signed, signed_percent
from raypipe.tables import Selector, TableRef, Tables

_SHOWN = 5


@config
class ProfileRun:
    """A page about a table.

    Attributes:
        storage: Where the tables are.
        ray: How the job reaches Ray.
        table: Its name.
        version: What to look at: a version, a tag, a day or an instant; null for the latest.
        against: What to set beside it, likewise; null for nothing.
        out: URI of the page; null for ``<root>/reports/<table>/profile-<version>.html``.
        mask: Columns whose values are not shown, beside those that the table's contract calls personal data.
        samples: Rows to show.
    """

    storage: Storage = Storage()
    ray: Cluster = Cluster()
    table: Annotated[str, Field(min_length=1)]
    version: Selector = None
    against: Selector = None
    out: str | None = None
    mask: tuple[str, ...] = ()
    samples: Annotated[int, Field(ge=0, le=50)] = 6


def run_profile(run: ProfileRun, record: JobRecord) -> None:
    """Look over the version, and over the one to compare it with, and write the page.

    Raises:
        TableNotFound: when the table or a version was never written.
        ConfigError: when `mask` names a column that there is not.
    """
    tables = Tables(run.storage)
    now = tables.select(run.table, run.version)
    before = None if run.against is None else tables.select(now.name, run.against)
    latest = tables.open(now.name)  # its contract may know of personal data that an older one did not
    masked = masked_columns(run.mask, [now, latest] if before is None else [now, latest, before])
    run.ray.start()
    headline(f"profile of {now.label}" + (f" against {before.label}" if before is not None else ""))
    seen = _look(tables, now, masked, run.samples)
    old = None if before is None else _look(tables, before, masked, run.samples)
    uri = run.out or run.storage.uri("reports", now.name, _file_name(now, before))
    write_bytes(uri, render_profile(seen, old).encode())
    facts: dict[str, Any] = {"table": now.name, "version": now.version, "rows": seen.num_rows, "columns": len(seen.columns)}
    if old is not None:
        cards = cards_of(seen, old)
        facts |= {"against": old.version, "moved": _show_moved(cards), **_other_columns(cards)}
    say(f"wrote {uri}")
    record.finish(**facts, files=seen.num_files, bytes=seen.num_bytes, masked=sorted(masked & set(seen.columns)), uri=uri)


def masked_columns(named: tuple[str, ...], versions: list[TableRef]) -> frozenset[str]:
    """Columns that are masked in all versions: those `named`, and personal data by the contract of any of the versions.

    Raises:
        ConfigError: for a name that no version has.
    """
    known = {name for ref in versions for name in ref.schema.names}
    wrong = [name for name in named if name not in known]
    if wrong:
        raise ConfigError(
            [f"mask: {versions[0].label} has no column {name!r}{did_you_mean(name, sorted(known))}" for name in wrong]
        )
    return frozenset(named) | {name for ref in versions for name in _personal(ref.facts)}


def _personal(facts: Mapping[str, Any]) -> set[str]:
    contract = facts.get("contract")
    columns = contract.get("columns", {}) if isinstance(contract, Mapping) else {}  # a digest in tables of before
    return {name for name, column in columns.items() if isinstance(column, Mapping) and column.get("pii")}


def _look(tables: Tables, ref: TableRef, masked: frozenset[str], num_samples: int) -> TableOverview:
    at = next((commit.at for commit in tables.history(ref.name) if commit.version == ref.version), None)
    return look_over(ref, masked=masked, num_samples=num_samples, written_at=at)


def _file_name(now: TableRef, before: TableRef | None) -> str:
    return f"profile-{now.version}.html" if before is None else f"profile-{now.version}-against-{before.version}.html"


def _show_moved(cards: list[Card]) -> dict[str, float | None]:
    """The stability index of the columns that moved most; None where there is none, as of nulls in a masked column."""
    moved = [(it, it.change) for it in cards if it.change is not None and 0 < it.moved < math.inf][:_SHOWN]
    rows = [[it.title, psi_of(change), signed_percent(change.null_change), signed(change.mean_shift)] for it, change in moved]
    if rows:
        table("moved most", ["column", "PSI", "nulls", "mean, in deviations"], rows)
    return {it.name: None if change.psi is None else round(change.psi, 6) for it, change in moved}


def _other_columns(cards: list[Card]) -> dict[str, list[str]]:
    """Columns that cannot be compared, by reason."""
    found = {
        "new": [it.name for it in cards if it.before is None],
        "gone": [it.name for it in cards if it.now is None],
        "retyped": [it.name for it in cards if it.is_retyped],
    }
    return {reason: names for reason, names in found.items() if names}
