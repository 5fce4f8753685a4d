"""What the feature engine costs beside Ray's preprocessors, scikit-learn and Polars; one row; bounds; two nodes.

The work and the ways are in features_ways.py, the data in features_data.py. Before anything is timed the ways write
the features of a few rows, and a difference stops the bench.
"""

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks._figure import Figure, run_json
from benchmarks._runs import Memory, Rounds, Work, measured, rounds, timed
from benchmarks.features_data import bench_folder, files
from benchmarks.features_same import differences
from benchmarks.features_ways import WAYS

SMALL = Work(rows=20_000, rows_per_file=2_500, warm_rows=0)


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much work; figures are those of the defaults."""

    rows: int = 2_000_000
    rounds: int = 5

    @property
    def work(self) -> Work:
        """In eight files, warmed up with a tenth of the rows in as many files."""
        return Work(rows=self.rows, rows_per_file=self.rows // 8, warm_rows=self.rows // 10)

    @property
    def large(self) -> Work:
        """Ten times the rows in 80 files, warmed up with eight of them."""
        return Work(rows=10 * self.rows, rows_per_file=self.rows // 8, warm_rows=self.rows)


def feature_benches(size: Size) -> Mapping[str, Callable[[], Sequence[Figure]]]:
    """The benches by name."""
    benches = {
        "features_same": same,
        "features_chain": chain,
        "features_sklearn": sklearn,
        "features_polars": polars,
        "features_large": large,
        "features_memory": memory,
        "features_bounds": bounds,
        "features_row": row,
        "features_nodes": nodes,
    }
    return {name: partial(bench, size) for name, bench in benches.items()}


def same(_: Size) -> Sequence[Figure]:
    """Do all ways give the same values?"""
    with tempfile.TemporaryDirectory(dir=bench_folder()) as scratch:
        folders = {way: Path(scratch) / way for way in WAYS}
        for way, folder in folders.items():
            timed(way, replace(SMALL, keep=folder))
        found = {way: differences(folders["polars"], folder) for way, folder in folders.items()}
    if any(found.values()):
        raise SystemExit(f"the ways do not give the same values: {found}")
    different = {way: lines for way, lines in found.items() if lines}
    if different:
        raise SystemExit(f"the ways do not give the same values, so nothing is timed: {different}")
    return [
        Figure(
            name="features_same_values",
            value=0,
            unit="differences",
            against=f"{', '.join(WAYS)} on {SMALL.rows:,} rows: numbers within 1e-6, indices up to the order of values",
            goal="0",
            met=True,
            command="make bench ONLY=features_same",
        )
    ]


def chain(size: Size) -> Sequence[Figure]:
    """Both paths against Ray's own preprocessors, one run of which on rows in memory stands beside."""
    same(size)
    found = rounds(["raypipe", "raypipe_dataset", "ray_chain"], size.work, num=size.rounds)
    compared = _Compared(bench="features_chain", work=size.work, found=found)
    extra = {"ray_chain_in_memory_s": round(timed("ray_chain_in_memory", size.work).total_s, 1)}
    return [
        compared.faster("features_vs_ray_chain", ours="raypipe", theirs="ray_chain", goal=40, extra=extra),
        compared.faster("features_dataset_vs_ray_chain", ours="raypipe_dataset", theirs="ray_chain", goal=10, extra=extra),
    ]


def sklearn(size: Size) -> Sequence[Figure]:
    """Against scikit-learn's ColumnTransformer; both are warmed up with as many rows."""
    same(size)
    work = replace(size.work, warm_rows=size.rows)
    found = rounds(["raypipe", "sklearn"], work, num=size.rounds)
    compared = _Compared(bench="features_sklearn", work=work, found=found)
    return [compared.faster("features_vs_sklearn", ours="raypipe", theirs="sklearn", goal=20, extra={})]


def polars(size: Size) -> Sequence[Figure]:
    """Against Polars alone; both are warmed up with as many rows, and one cold run of each stands beside."""
    same(size)
    work = replace(size.work, warm_rows=size.rows)
    found = rounds(["raypipe", "polars"], work, num=size.rounds)
    cold = replace(size.work, warm_rows=0)
    colds = {f"{way}_cold_s": round(timed(way, cold).total_s, 2) for way in ("raypipe", "polars")}
    compared = _Compared(bench="features_polars", work=work, found=found)
    return [compared.share_of_polars("features_vs_polars", goal=1.0, highest=1.1, extra=colds)]


def large(size: Size) -> Sequence[Figure]:
    """Against Polars with ten times the rows."""
    same(size)
    for path in files(size.large.rows, rows_per_file=size.large.rows_per_file):
        path.read_bytes()  # into the page cache, where the next round finds them in any case
    found = rounds(["raypipe", "polars"], size.large, num=size.rounds)
    compared = _Compared(bench="features_large", work=size.large, found=found)
    return [compared.share_of_polars("features_vs_polars_10x", goal=0.9, highest=float("inf"), extra={})]


def memory(size: Size) -> Sequence[Figure]:
    """Memory of all ways at the same rows."""
    work = replace(size.work, warm_rows=SMALL.rows)
    found = {way: measured(way, work) for way in WAYS}
    value = found["sklearn"].above_idle_gib / found["raypipe"].above_idle_gib
    return [
        Figure(
            name="features_memory_vs_sklearn",
            value=value,
            unit="their memory / ours",
            against=f"scikit-learn's ColumnTransformer, {size.rows:,} rows; peak PSS above idle",
            goal=">= 5",
            met=value >= 5,
            command="make bench ONLY=features_memory",
            detail={way: _memory_detail(held) for way, held in found.items()},
        )
    ]


def bounds(size: Size) -> Sequence[Figure]:
    """Memory with ten times the rows, the object store capped at 1 GiB."""
    work = replace(size.large, warm_rows=SMALL.rows, object_store_gib=1.0)
    files(work.rows, rows_per_file=work.rows_per_file)
    found = measured("raypipe", work)
    worst = max(found.worker_peaks_gib)
    return [
        Figure(
            name="features_worker_gib",
            value=worst,
            unit="GiB",
            against=f"peak PSS of the largest worker, {work.rows:,} rows, object store of 1 GiB",
            goal="< 1.5",
            met=worst < 1.5,
            command="make bench ONLY=features_bounds",
            detail=_memory_detail(found),
        )
    ]


def row(_: Size) -> Sequence[Figure]:
    """One row, and 64."""
    found = run_json("-m", "benchmarks.features_rows")
    limits = [
        ("features_row_flights_us", found["flights_row_us"], "one row of the flights spec, row function", 10),
        ("features_row_us", found["row_us"], "one row of 39 columns, row function", 40),
        ("features_rows_64_us", found["rows_64_us"], "64 rows of 39 columns, columns back end, from Arrow", 300),
    ]
    times_faster = found["sklearn_row_us"] / found["row_us"]
    common: Mapping[str, Any] = {"command": "make bench ONLY=features_row"}
    figures = [
        Figure(name=name, value=value, unit="us", against=against, goal=f"< {limit}", met=value < limit, **common)
        for name, value, against, limit in limits
    ]
    ratio = Figure(
        name="features_row_vs_sklearn",
        value=times_faster,
        unit="their time / ours",
        against="the same fitted ColumnTransformer, one row of 39 columns in a data frame",
        goal=">= 200",
        met=times_faster >= 200,
        detail={name: round(value, 1) for name, value in found.items()},
        **common,
    )
    return [*figures, ratio]


def nodes(size: Size) -> Sequence[Figure]:
    """One node and two give the same bytes."""
    options = ["--rows", str(size.rows), "--rows-per-file", str(size.rows // 8)]
    one, two = (run_json("-m", "benchmarks.features_nodes", "--nodes", str(num), *options) for num in (1, 2))
    differ = [name for name in {*one["files"], *two["files"]} if one["files"].get(name) != two["files"].get(name)]
    differ += ["fitted"] if one["fitted"] != two["fitted"] else []
    return [
        Figure(
            name="features_two_nodes",
            value=len(differ),
            unit="differing digests",
            against=f"one node of two CPUs and {two['nodes']} nodes of one, {size.rows:,} rows, {len(one['files'])} files",
            goal="0",
            met=not differ and two["nodes"] == 2 and bool(one["files"]),
            command="make bench ONLY=features_nodes",
            detail={"fitted": one["fitted"], "differing": sorted(differ)},
        )
    ]


@dataclass(frozen=True, kw_only=True)
class _Compared:
    """Rounds of one bench, and what was done in them."""

    bench: str
    work: Work
    found: Rounds

    def faster(self, name: str, *, ours: str, theirs: str, goal: float, extra: Mapping[str, Any]) -> Figure:
        """How many times as fast one of ours is."""
        ratios = self.found.ratios(theirs, over=ours)
        value = statistics.median(ratios)
        return Figure(
            name=name,
            value=value,
            unit="their seconds / ours",
            against=f"{theirs}, {self._work(ratios)}",
            goal=f">= {goal:g}",
            met=value >= goal,
            command=f"make bench ONLY={self.bench}",
            detail={**self._detail(ratios, (ours, theirs)), **extra},
        )

    def share_of_polars(self, name: str, *, goal: float, highest: float, extra: Mapping[str, Any]) -> Figure:
        """Our part of the seconds of Polars; every round must be below `highest`."""
        ratios = self.found.ratios("raypipe", over="polars")
        value = statistics.median(ratios)
        return Figure(
            name=name,
            value=value,
            unit="our seconds / theirs",
            against=f"Polars alone, {self._work(ratios)}",
            goal=f"<= {goal:g}" + (f", highest below {highest:g}" if highest < float("inf") else ""),
            met=value <= goal and max(ratios) < highest,
            command=f"make bench ONLY={self.bench}",
            detail={**self._detail(ratios, ("raypipe", "polars")), **extra},
        )

    def _work(self, ratios: Sequence[float]) -> str:
        return f"fit and transform of {self.work.rows:,} rows, {len(ratios)} interleaved rounds"

    def _detail(self, ratios: Sequence[float], ways: Sequence[str]) -> dict[str, Any]:
        times = {way: self.found.medians(way) for way in ways}
        spread = {"lowest": round(min(ratios), 3), "highest": round(max(ratios), 3)}
        return {**spread, **times, "rows": self.work.rows, "warm_rows": self.work.warm_rows}


def _memory_detail(held: Memory) -> dict[str, Any]:
    return {
        "above_idle_gib": round(held.above_idle_gib, 2),
        "idle_gib": round(held.idle_gib, 2),
        "peak_gib": round(held.peak_gib, 2),
        "worker_peaks_gib": [round(peak, 2) for peak in held.worker_peaks_gib[:4]],
    }
