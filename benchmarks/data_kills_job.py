"""One ingest or replay that may be killed: made-up rows whose fate is known, and what must be true after a restart.

``python -m benchmarks.data_kills_job JOB SPEC`` runs the job in a cluster that is there (``RAY_ADDRESS``), to be killed; it
prints ``begin`` when the work begins. `expected` and `found` say what is where, by key.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from raypipe.core.cluster import Cluster
from raypipe.core.config import build
from raypipe.core.storage import Storage
from raypipe.ingest import TableSpec, ingest_tables, replay_table
from raypipe.tables import Quarantine, Tables

NUM_FILES = 24
MAX = {"ingest": 89, "replay": 94}
"""Largest `b` that is good: rows have 0 to 99, so 10 % are set aside, and a replay brings half of them back."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """Where the rows come from, how many there are, and where the table goes."""

    root: str
    rows: int
    source: Mapping[str, Any]

    @property
    def storage(self) -> Storage:
        return Storage(root=self.root)

    def table(self, job: str) -> TableSpec:
        columns = {"a": "int64", "b": {"type": "int64", "max": MAX[job]}, "at": "int64"}
        contract = {"key": ["a"], "duplicates": {"latest": "at"}, "max_bad_share": 0.2, "columns": columns}
        return build({"source": self.source, "contract": contract}, TableSpec)


def rows_of(num: int) -> pl.DataFrame:
    """Rows `a` 0 to `num` with a `b` of 0 to 99, in an order of their own; every tenth is there again, later, as it was."""
    once = pl.DataFrame({"a": range(num), "b": [i * 37 % 100 for i in range(num)], "at": [0] * num})
    return pl.concat([once, once.filter(pl.col("a") % 10 == 0).with_columns(at=pl.lit(1, pl.Int64))])


def write_files(folder: Path, num: int) -> Mapping[str, Any]:
    """The rows as CSV files; gives the settings of their source."""
    folder.mkdir(parents=True)
    rows = rows_of(num)
    size = -(-rows.height // NUM_FILES)
    for i in range(NUM_FILES):
        rows.slice(i * size, size).write_csv(folder / f"{i:02d}.csv")
    return {"_target_": "raypipe.sources.Csv", "uri": f"{folder}/*.csv"}


def run(job: str, spec: Spec) -> None:
    """Do the job in this process."""
    if job == "ingest":
        ingest_tables({"t": spec.table(job)}, spec.storage)
    else:
        replay_table("t", spec.table(job), spec.storage)


def expected(job: str, num: int) -> dict[str, list[tuple[int, int]]]:
    """Keys with their time, by where they must be: in the table, or open in the quarantine."""
    rows = rows_of(num)
    good = rows.filter(pl.col("b") <= MAX[job])
    kept = good.sort("a", "at").unique("a", keep="last")
    lost = good.join(kept, on=["a", "at"], how="anti")
    aside = pl.concat([rows.filter(pl.col("b") > MAX[job]), lost])
    return {"table": _pairs(kept), "open": _pairs(aside)}


def found(spec: Spec) -> dict[str, list[tuple[int, int]]]:
    """Where they are. Each is listed as often as it is there."""
    ref = Tables(spec.storage).open("t")
    log = Quarantine(spec.storage, "t")
    ids = set(log.standings().filter(standing="open")["id"])
    payloads = pl.read_delta(log.uri).filter(pl.col("id").is_in(ids)).unique("id")["payload"]
    rows = [json.loads(payload) for payload in payloads]
    return {
        "table": _pairs(pl.read_delta(ref.uri)),
        "open": sorted((int(row["a"]), int(row["at"])) for row in rows),
    }


def _pairs(frame: pl.DataFrame) -> list[tuple[int, int]]:
    return sorted(frame.select("a", "at").iter_rows())


def main() -> int:
    """Run the job that the command line names."""
    job, spec = sys.argv[1], Spec(**json.loads(sys.argv[2]))
    Cluster().start()
    print("begin", flush=True)
    run(job, spec)
    return 0


def as_argument(spec: Spec) -> str:
    """The spec as the command line takes it."""
    return json.dumps(asdict(spec))


if __name__ == "__main__":
    sys.exit(main())
