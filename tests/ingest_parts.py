"""A small table `t` of CSV files for tests of ingest: what is in it, what is in its quarantine, and that both add up."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from raypipe.core.config import build
from raypipe.core.storage import Storage
from raypipe.ingest import Ingested, Replayed, TableSpec, ingest_tables, replay_table
from raypipe.tables import Quarantine, Tables

COLUMNS: dict[str, Any] = {"a": "int64", "b": {"type": "float64", "max": 10}}


@dataclass
class Files:
    """Files of columns a (key, int64) and b (float64, at most 10) in a folder, and the table made of them."""

    folder: Path
    storage: Storage
    settings: Mapping[str, Any] = field(default_factory=dict)

    def write(self, name: str, text: str, *, after: int = 0) -> Path:
        """A file, last changed `after` seconds from a fixed time, so that it can be known from one written before."""
        path = self.folder / name
        path.write_text(text)
        os.utime(path, ns=(0, (1_700_000_000 + after) * 10**9))
        return path

    def spec(self, *, table: Mapping[str, Any] | None = None, **contract: Any) -> TableSpec:
        source = {"_target_": "raypipe.sources.Csv", "uri": f"{self.folder}/*.csv"}
        rules = {"key": ["a"], "columns": COLUMNS, "max_bad_share": 1, **self.settings, **contract}
        return build({"source": source, "contract": rules, **(table or {})}, TableSpec)

    def ingest(self, *, table: Mapping[str, Any] | None = None, **contract: Any) -> Ingested:
        return ingest_tables({"t": self.spec(table=table, **contract)}, self.storage)["t"]

    def replay(self, **contract: Any) -> Replayed:
        return replay_table("t", self.spec(**contract), self.storage)

    def rows(self, version: int | None = None) -> dict[int, Any]:
        """a -> b of the table; no key twice."""
        ref = Tables(self.storage).open("t", version)
        frame = pl.read_delta(ref.uri, version=ref.version)
        assert frame["a"].n_unique() == frame.height == ref.num_rows
        return dict(frame.select("a", "b").sort("a").iter_rows())

    @property
    def quarantine(self) -> Quarantine:
        return Quarantine(self.storage, "t")

    def open(self) -> dict[str, int]:
        """Open rows of the quarantine, by rule."""
        return self.quarantine.counts().get("open", {})

    def num_kept(self) -> int:
        """Rows that are somewhere: in the table, or open in the quarantine."""
        return len(self.rows()) + sum(self.open().values())


def family(folder: Path, **key: Any) -> dict[str, TableSpec]:
    """Children with a parent each, and the table of parents after them."""
    (folder / "parents.csv").write_text("p\nx\ny\n")
    (folder / "children.csv").write_text("c,p\n1,x\n2,z\n3,\n4,y\n")
    foreign = {"parent": {"columns": {"p": "p"}, "table": "parents", **key}}
    contracts = {
        "children": {"columns": {"c": "int64", "p": "string"}, "foreign_keys": foreign, "max_bad_share": 0.5},
        "parents": {"columns": {"p": "string"}},
    }
    source = "raypipe.sources.Csv"
    return {
        name: build({"source": {"_target_": source, "uri": f"{folder}/{name}.csv"}, "contract": contract}, TableSpec)
        for name, contract in contracts.items()
    }
