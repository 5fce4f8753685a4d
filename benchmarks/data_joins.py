"""As-of join of 10 M events with 1 M values of 100,000 entities: raypipe broadcast and distributed, beside Polars.

Events lie in order of time in Parquet files of 250,000 rows, values in no order; both have integer and text columns. Each way
reads the files, joins (the value's age at most 30 days), and writes the events with the joined columns as Parquet. Polars reads
all into the memory of one process and calls `join_asof` once, with all its threads. Before anything is timed the ways write the
joined rows of fewer events, and a difference stops the bench. ``python -m benchmarks.data_joins --way polars`` is one run: it
says when it is ready, waits for a line on stdin, and says how long it took.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks._figure import Figure
from benchmarks._runs import Memory, measured, rounds, timed
from benchmarks.features_data import bench_folder
from benchmarks.features_run import _say, _stdout_of_this_process_alone
from raypipe.core.cluster import Cluster
from raypipe.core.fragments import map_fragments, share
from raypipe.joins import FeatureView, Partitioned, PartitionedJoin, check_view, look_up, read_columns, rows_schema

ROWS_PER_FILE = 250_000
NUM_ENTITIES = 100_000
YEAR_US, TTL = 365 * 86_400_000_000, timedelta(days=30)
INSTANT = pa.timestamp("us", "UTC")
VIEW = FeatureView(table="values", entity={"entity": "entity"}, columns=("x", "state"), event_time="since", ttl=TTL)
EVENTS = pa.schema([("id", pa.int64()), ("entity", pa.int64()), ("at", INSTANT), ("note", pa.string())])
VALUES = pa.schema([("entity", pa.int64()), ("since", INSTANT), ("x", pa.float64()), ("state", pa.string())])
KEYS = pa.schema([EVENTS.field("entity"), EVENTS.field("at")])
LIMIT_BYTES, PARTITION_BYTES, BYTES_OF_A_KEY = 256 << 20, 64 << 20, 48


@dataclass(frozen=True, kw_only=True)
class Join:
    """How much is joined; figures are those of the defaults."""

    rows: int = 10_000_000
    values: int = 1_000_000
    rounds: int = 3
    keep: Path | None = None

    def command(self, way: str) -> list[str]:
        """How one run is started by hand."""
        keep = [] if self.keep is None else ["--keep", str(self.keep)]
        return ["-m", "benchmarks.data_joins", "--way", way, "--rows", str(self.rows), "--values", str(self.values), *keep]


def data_joins(size: Join | None = None) -> Sequence[Figure]:
    """Time and memory of both strategies beside Polars, and of the largest worker."""
    size = size or Join()
    _same(replace(size, rows=min(size.rows, 600_000), values=min(size.values, 100_000)))
    files(size)
    found = rounds(list(WAYS), size, num=size.rounds)  # type: ignore[arg-type]
    memory = {way: measured(way, size) for way in WAYS}  # type: ignore[arg-type]
    what = f"{size.rows:,} events, {size.values:,} values of {NUM_ENTITIES:,} entities"
    figures = []
    for way in ("broadcast", "distributed"):
        ratios = found.ratios(way, over="polars")
        figures.append(
            Figure(
                name=f"data_joins_{way}_vs_polars",
                value=statistics.median(ratios),
                unit="our seconds / theirs",
                against=f"Polars join_asof in one process, {what}, {len(ratios)} interleaved rounds, Parquet in and out",
                goal="none",
                met=None,
                command="make bench ONLY=data_joins",
                detail={
                    "lowest": round(min(ratios), 2),
                    "highest": round(max(ratios), 2),
                    way: found.medians(way)["total_s"],
                    "polars": found.medians("polars")["total_s"],
                    **{f"{name}_above_idle_gib": round(memory[name].above_idle_gib, 2) for name in (way, "polars")},
                },
            )
        )
    return [*figures, _bound(memory["distributed"], memory["polars"], what)]


def _bound(ours: Memory, theirs: Memory, what: str) -> Figure:
    worst = max(ours.worker_peaks_gib)
    return Figure(
        name="data_joins_worker_gib",
        value=worst,
        unit="GiB",
        against=f"peak PSS of the largest worker, distributed, {what}, partitions of {PARTITION_BYTES >> 20} MiB",
        goal="< 1",
        met=worst < 1,
        command="make bench ONLY=data_joins",
        detail={
            "worker_peaks_gib": [round(peak, 2) for peak in ours.worker_peaks_gib[:4]],
            "polars_gib": round(theirs.peak_gib, 2),
        },
    )


def files(size: Join) -> Mapping[str, Sequence[str]]:
    """Files of events and values, made if they are not there; each depends on the sizes and its number alone."""
    folder = bench_folder() / f"joins_{size.rows}_{size.values}"
    folder.mkdir(parents=True, exist_ok=True)
    made: dict[str, list[str]] = {"events": [], "values": []}
    for name, num in (("events", size.rows), ("values", size.values)):
        for i, start in enumerate(range(0, num, ROWS_PER_FILE)):
            path = folder / f"{name}-{i:05d}.parquet"
            if not path.exists():
                table = (_events if name == "events" else _values)(i, start, min(ROWS_PER_FILE, num - start), num)
                pq.write_table(table, path.with_suffix(".partial"), compression="zstd")
                path.with_suffix(".partial").rename(path)
            made[name].append(str(path))
    return made


def _events(number: int, start: int, num: int, of_all: int) -> pa.Table:
    """A slice of the year, in order of time."""
    rng = np.random.default_rng([1, number])
    begins, ends = YEAR_US * start // of_all, YEAR_US * (start + num) // of_all
    at = np.sort(rng.integers(begins, ends, num))
    entity = (rng.zipf(1.3, num) - 1) % (NUM_ENTITIES + NUM_ENTITIES // 20)  # some have no value
    note = pa.array([f"note {i}" for i in range(100)]).take(pa.array(rng.integers(0, 100, num)))
    return pa.table([np.arange(start, start + num), entity, pa.array(at, INSTANT), note], schema=EVENTS)


def _values(number: int, start: int, num: int, of_all: int) -> pa.Table:
    rng = np.random.default_rng([2, number])
    since = (start + np.arange(num)) * (YEAR_US // of_all)
    rng.shuffle(since)
    state = pa.array([f"state {i}" for i in range(50)]).take(pa.array(rng.integers(0, 50, num)))
    return pa.table([rng.integers(0, NUM_ENTITIES, num), pa.array(since, INSTANT), rng.random(num), state], schema=VALUES)


def with_polars(found: Mapping[str, Sequence[str]], out: Path) -> float:
    """All in memory of one process; returns when the rows were read."""
    import polars as pl

    events, values = pl.read_parquet(list(found["events"])), pl.read_parquet(list(found["values"]))
    read = time.perf_counter()
    joined = events.join_asof(
        values.sort("since"), left_on="at", right_on="since", by="entity", tolerance=TTL, coalesce=False, check_sortedness=False
    )
    joined.drop("since").write_parquet(
        out / "joined.parquet", compression="zstd", compression_level=1, row_group_size=ROWS_PER_FILE
    )
    return read


def broadcast(found: Mapping[str, Sequence[str]], out: Path) -> float:
    """The values in the object store once, the events file by file; returns when the values were there."""
    values = share({"values": _Load(uris=tuple(found["values"]))})["values"]
    placed = time.perf_counter()
    _join_files(values, found, out)
    return placed


def distributed(found: Mapping[str, Sequence[str]], out: Path) -> float:
    """In partitions; returns when these were joined and the events are still to be written."""
    num_events = sum(pq.read_metadata(uri).num_rows for uri in found["events"])
    with tempfile.TemporaryDirectory(dir=bench_folder()) as scratch:
        join = PartitionedJoin(
            name="values",
            view=VIEW,
            schema=VALUES,
            view_uris=tuple(found["values"]),
            event_uris=tuple(found["events"]),
            keys_of=_read_keys,
            at="at",
            uri=scratch,
            num_partitions=-(-num_events * BYTES_OF_A_KEY // PARTITION_BYTES),
            partition_bytes=PARTITION_BYTES,
        ).run()
        placed = time.perf_counter()
        _join_files(join, found, out)
    return placed


WAYS: Mapping[str, Callable[[Mapping[str, Sequence[str]], Path], float]] = {
    "polars": with_polars,
    "broadcast": broadcast,
    "distributed": distributed,
}


@dataclass(frozen=True, kw_only=True)
class _Load:
    """Worker: all values, checked."""

    uris: tuple[str, ...]

    def __call__(self) -> pa.Table:
        rows = pa.concat_tables([read_columns(uri, rows_schema(VIEW, VALUES)) for uri in self.uris])
        return check_view("values", VIEW, rows, limit_bytes=LIMIT_BYTES)


@dataclass(frozen=True, kw_only=True)
class _JoinFile:
    """Worker: the events of one file with what they found."""

    values: Any
    out: Path

    def __call__(self, source: tuple[int, str]) -> int:
        import ray

        part, uri = source
        events = read_columns(uri, EVENTS)
        if isinstance(self.values, Partitioned):
            found = self.values.found(events, part)
        else:
            found = look_up(events, VIEW, ray.get(self.values), at="at")
        joined = pa.table(
            [*events.columns, *(found.column(name) for name in VIEW.columns)], names=[*EVENTS.names, *VIEW.columns]
        )
        pq.write_table(joined, self.out / f"{part:05d}.parquet", compression="zstd", compression_level=1)
        return joined.num_rows


def _read_keys(uri: str) -> pa.Table:
    return read_columns(uri, KEYS)


def _join_files(values: Any, found: Mapping[str, Sequence[str]], out: Path) -> None:
    sources = list(enumerate(found["events"]))
    for _ in map_fragments(_JoinFile(values=values, out=out), sources, title="join"):
        pass


def _same(size: Join) -> None:
    """Stop when a way gives another row than another."""
    with tempfile.TemporaryDirectory(dir=bench_folder()) as scratch:
        tables = {}
        for way in WAYS:
            timed(way, replace(size, keep=Path(scratch, way)))  # type: ignore[arg-type]
            parts = [pq.read_table(path) for path in sorted(Path(scratch, way).iterdir())]
            tables[way] = pa.concat_tables(parts).cast(pa.schema([*EVENTS, VALUES.field("x"), VALUES.field("state")]))
    different = [way for way, table in tables.items() if not table.equals(tables["polars"])]
    nulls = tables["polars"].column("x").null_count
    if different or not 0.05 < nulls / size.rows < 0.95:
        raise SystemExit(
            f"{', '.join(different)} give other rows than Polars, or all find the same ({nulls} nulls of {size.rows})"
        )


def main() -> None:
    """One run of a way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--way", choices=sorted(WAYS), required=True)
    parser.add_argument("--rows", type=int, default=Join().rows)
    parser.add_argument("--values", type=int, default=Join().values)
    parser.add_argument("--keep", type=Path, help="leave the joined rows in this folder")
    asked = parser.parse_args()
    out = _stdout_of_this_process_alone()
    found = files(Join(rows=asked.rows, values=asked.values))
    if asked.way != "polars":
        os.environ["RAY_AUTH_MODE"] = "disabled"  # a cluster of this process only
        Cluster(object_store_gib=1.0).start()
        _run(asked.way, files(Join(rows=100_000, values=10_000)), None)  # so that the workers are there
    _say(out, {"ready": asked.way})
    if sys.stdin.readline():
        _say(out, _run(asked.way, found, asked.keep))
    sys.stdin.readline()


def _run(way: str, found: Mapping[str, Sequence[str]], keep: Path | None) -> dict[str, object]:
    folder = keep or Path(tempfile.mkdtemp(dir=bench_folder()))
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    placed = WAYS[way](found, folder)
    end = time.perf_counter()
    if keep is None:
        shutil.rmtree(folder)
    return {"fit_s": placed - start, "transform_s": end - placed}


if __name__ == "__main__":
    main()
