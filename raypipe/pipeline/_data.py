"""What the data jobs tell of tables as they were ingested: the story, and the JSON line."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from raypipe.core.console import say, table
from raypipe.core.rows import RowCounts
from raypipe.ingest import Ingested


def show_ingested(done: Mapping[str, Ingested]) -> None:
    """Counts of each table, then what was cleaned, what drifted, what is missing, and what the contract warns of."""
    rows = [
        [found.ref.label, f"{found.rows.rows_in:,}", f"{found.rows.rows_out:,}", aside(found.rows), found.reason]
        for found in done.values()
    ]
    table("tables", ["table", "rows in", "rows out", "set aside", "why"], rows)
    cleaned = [
        [name, step, f"{change.cells:,}", change.before, change.after]
        for name, found in done.items()
        for step, change in found.cleaned.items()
    ]
    if cleaned:
        table("cleaned", ["table", "step", "cells", "for example", "became"], cleaned, text=("step", "for example", "became"))
    for name, found in done.items():
        for line in found.drift:
            say(f"  {name}: {line}")
        for finding in found.findings:
            say(f"  {name}: {finding.severity}: {finding.rule}: {finding.message}")
        if found.gone:
            say(f"  {name}: {len(found.gone)} file(s) are gone, such as {found.gone[0]}; their rows stay in the table")
        if found.rows.set_aside and not found.reused:
            say(f"  {name}: rows set aside are in {found.quarantine}; raypipe quarantine table={name} shows them")


def ingested_facts(done: Mapping[str, Ingested]) -> dict[str, Any]:
    """The same for the JSON line."""
    return {
        "tables": {name: found.ref.version for name, found in done.items()},
        "rows": {name: found.rows.to_dict() for name, found in done.items()},
        "reused": {name: found.reused for name, found in done.items()},
        "findings": {name: [asdict(f) for f in found.findings] for name, found in done.items() if found.findings},
        "drift": {name: list(found.drift) for name, found in done.items() if found.drift},
        "gone": {name: list(found.gone) for name, found in done.items() if found.gone},
        "cleaned": {name: {s: c.cells for s, c in found.cleaned.items()} for name, found in done.items() if found.cleaned},
        "quarantine": {name: found.quarantine for name, found in done.items() if found.rows.set_aside},
    }


def aside(rows: RowCounts) -> str:
    """Rows set aside, by reason, in words."""
    return ", ".join(f"{num:,} {reason}" for reason, num in rows.set_aside.items()) or "0"
