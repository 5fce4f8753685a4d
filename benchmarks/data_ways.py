"""Ways to bring orders from files into Parquet or a table; each is one process: ``python -m benchmarks.data_ways --way ...``.

Each way is warmed up with a tenth of the rows before it is timed, and starts Ray before that.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from benchmarks.data_orders import CONTRACT, NUM_FILES, TYPES, write_orders
from raypipe.core.cluster import stop


class Way(Protocol):
    """One way to take the files in."""

    def start(self) -> None:
        """Start Ray, or do nothing; not timed."""

    def run(self, folder: Path, out: Path) -> Mapping[str, int]:
        """Take the files in `folder` into the empty folder `out`; gives counts."""


class RayData:
    """Ray Data reads the Parquet files and writes them, without any check."""

    def start(self) -> None:
        _ray()

    def run(self, folder: Path, out: Path) -> Mapping[str, int]:
        import ray

        rows = ray.data.read_parquet(str(folder))
        rows.write_parquet(str(out))
        return {"out": len(list(out.glob("*.parquet")))}


class PolarsCsv:
    """Polars scans the CSV with its schema and sinks it to Parquet: all cores, streaming, no check but the types."""

    def start(self) -> None:
        pass

    def run(self, folder: Path, out: Path) -> Mapping[str, int]:
        import polars as pl

        kinds = {"int64": pl.Int64, "float64": pl.Float64, "string": pl.String, "timestamp": pl.Datetime("us", "UTC")}
        scan = pl.scan_csv(
            folder / "*.csv", schema={name: pl.String if t == "timestamp" else kinds[t] for name, t in TYPES.items()}
        )
        times = [
            pl.col(name).str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", time_zone="UTC")
            for name, t in TYPES.items()
            if t == "timestamp"
        ]
        scan.with_columns(times).sink_parquet(out / "orders.parquet")
        return {}


class Raypipe:
    """`ingest_tables`: parsed, checked, hashed, written as parts, committed; bad rows in quarantine."""

    def __init__(self, contract: Mapping[str, Any], kind: str) -> None:
        self._contract, self._kind = contract, kind

    def start(self) -> None:
        from raypipe.core.cluster import Cluster

        Cluster().start()

    def run(self, folder: Path, out: Path) -> Mapping[str, int]:
        from raypipe.contract import Contract
        from raypipe.core.storage import Storage
        from raypipe.ingest import TableSpec, ingest_tables
        from raypipe.sources import Csv, Parquet

        source = Csv(uri=f"{folder}/*.csv") if self._kind == "csv" else Parquet(uri=f"{folder}/*.parquet")
        spec = TableSpec(source=source, contract=Contract.from_dict(self._contract))
        done = ingest_tables({"orders": spec}, Storage(root=str(out)))["orders"]
        return {"in": done.rows.rows_in, "out": done.rows.rows_out}


WAYS: Mapping[str, Way] = {
    "ray": RayData(),
    "raypipe_rules": Raypipe(CONTRACT, "parquet"),
    "polars_csv": PolarsCsv(),
    "raypipe_csv": Raypipe({"columns": dict(TYPES)}, "csv"),
}


def _ray() -> None:
    from raypipe.core.cluster import Cluster

    Cluster(object_store_gib=4).start()


def timed(way: Way, folder: Path) -> tuple[float, Mapping[str, int]]:
    """Seconds and counts of one run."""
    out = Path(tempfile.mkdtemp(prefix="orders-"))
    try:
        start = time.perf_counter()
        counts = way.run(folder, out)
        return time.perf_counter() - start, counts
    finally:
        shutil.rmtree(out)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the seconds of one warm run as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--way", choices=sorted(WAYS), required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder of the generated files, kept between runs")
    asked = parser.parse_args(argv)
    kind = "csv" if asked.way.endswith("csv") else "parquet"
    warm, folder = (asked.data / f"{kind}-{rows}" for rows in (max(NUM_FILES, asked.rows // 10), asked.rows))
    for path, rows in ((warm, max(NUM_FILES, asked.rows // 10)), (folder, asked.rows)):
        write_orders(path, rows=rows, kind=kind)
    way = WAYS[asked.way]
    way.start()
    timed(way, warm)
    seconds, counts = timed(way, folder)
    stop()  # Ray's own lines come before ours
    print(json.dumps({"seconds": seconds, **counts}))


if __name__ == "__main__":
    main()
