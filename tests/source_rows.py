"""What several tests of sources do: write files, read a source whole, and look at an error's line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from raypipe.core.errors import RaypipeError
from raypipe.sources import BROKEN, ROW, Scan, Source


@dataclass(frozen=True)
class Read:
    """Everything that a source gave at one scan."""

    scan: Scan
    table: pa.Table
    schemas: Mapping[str, pa.Schema] = field(default_factory=dict)
    sha256s: Mapping[str, str | None] = field(default_factory=dict)
    lines: Mapping[tuple[str, int], int | None] = field(default_factory=dict)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Rows that are whole, without the reader's own columns."""
        return [
            {name: value for name, value in row.items() if name not in (ROW, BROKEN)}
            for row in self.table.to_pylist()
            if row.get(BROKEN) is None
        ]

    @property
    def broken(self) -> dict[int, str]:
        """What is wrong with records, by number."""
        return {row[ROW]: row[BROKEN] for row in self.table.to_pylist() if row.get(BROKEN) is not None}

    @property
    def state(self) -> dict[str, Any]:
        """The state after a commit, with the digests that ingest adds."""
        files = {
            uri: {**entry, "sha256": self.sha256s.get(uri, entry.get("sha256"))}
            for uri, entry in self.scan.state.get("files", {}).items()
        }
        return {**self.scan.state, **({"files": files} if files else {})}


def read(source: Source, seen: Mapping[str, Any] | None = None, columns: Sequence[str] | None = None) -> Read:
    scan = source.scan(seen or {})
    tables, schemas, sha256s, lines = [], {}, {}, {}
    for fragment in scan.fragments:
        with source.open(fragment) as reading:
            schemas[fragment.uri] = reading.schema
            found = list(reading.tables(columns if columns is not None else reading.schema.names))
            for table in found:
                lines |= {(fragment.uri, row): reading.line_of(row) for row in table.column(ROW).to_pylist()}
            tables += found
            sha256s[fragment.uri] = reading.sha256
    table = pa.concat_tables(tables) if tables else pa.table({})
    return Read(scan=scan, table=table, schemas=schemas, sha256s=sha256s, lines=lines)


def write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def one_line(error: RaypipeError) -> str:
    text = str(error)
    assert "\n" not in text
    assert len(text) < 900
    return text
