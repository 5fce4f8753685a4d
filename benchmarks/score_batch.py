"""Batch inference through raypipe beside a hand-written `map_batches` with the same bundle, from Parquet to Parquet.

Criteo-like rows in files of 250,000 (`benchmarks.features_data`), 39 features, XGBoost of 100 rounds. By hand: the files of
the table are read with `ray.data.read_parquet`, an actor a CPU loads the bundle once and answers batches, key, score and
label are written. raypipe also checks each row against the model's contract, gives each prediction an id, and commits a Delta
version with counts and lineage. Both run in one process on one cluster, in turn, after a first run of each that is not
counted. ``python -m benchmarks.score_batch --rows 200000`` tries it.
"""

import argparse
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks._figure import Figure
from benchmarks.features_data import CATEGORIES, NUMBERS, bench_folder, files
from raypipe.bundle import Bundle, save_bundle
from raypipe.core.cluster import Cluster
from raypipe.core.config import build
from raypipe.core.storage import Storage
from raypipe.features import FeatureSet
from raypipe.ingest import TableSpec, ingest_tables
from raypipe.joins import Joins
from raypipe.models import Xgboost
from raypipe.prepare import Plan, Task, make_plan, prepare
from raypipe.score import ModelId, Scoring, loaded, score_table
from raypipe.split import HashSplit
from raypipe.tables import TableRef
from raypipe.train import Trainer, train_model

BATCH_ROWS = 131_072
_TRAINING_ROWS = 50_000
_WAYS = ("raypipe", "raypipe_actors", "by_hand")


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is scored; figures are those of the defaults."""

    rows: int = 2_000_000
    rounds: int = 3
    num_actors: int = 2


@dataclass(frozen=True, kw_only=True)
class Ready:
    """What both ways are given."""

    plan: Plan
    table: TableRef
    storage: Storage
    bundle: Path
    digest: str


def score_batch(size: Size | None = None) -> Sequence[Figure]:
    """Rows a second of raypipe's scoring over those of the code by hand."""
    size = size or Size()
    Cluster(num_cpus=size.num_actors).start()
    ready = _ready(size)
    seconds: dict[str, list[float]] = {way: [] for way in _WAYS}
    for turn in range(size.rounds + 1):
        for way in (*_WAYS[turn % len(_WAYS) :], *_WAYS[: turn % len(_WAYS)]):
            took = _timed(way, ready, size)
            if turn:
                seconds[way].append(took)
    ratios = {way: [b / a for a, b in zip(seconds[way], seconds["by_hand"], strict=True)] for way in _WAYS}
    detail: Mapping[str, Any] = {
        "lowest": round(min(ratios["raypipe"]), 2),
        "highest": round(max(ratios["raypipe"]), 2),
        "with_a_pool_of_actors": round(statistics.median(ratios["raypipe_actors"]), 2),
        **{f"{way}_rows_per_s": round(size.rows / statistics.median(found)) for way, found in seconds.items()},
    }
    return [
        Figure(
            name="score_batch_vs_map_batches",
            value=statistics.median(ratios["raypipe"]),
            unit="our rows a second / theirs",
            against=f"read_parquet().map_batches(Predictor, {size.num_actors} actors) by hand, {size.rows:,} rows, "
            f"39 features, the same bundle, {size.rounds} interleaved rounds",
            goal="none",
            met=None,
            command="make bench ONLY=score_batch",
            detail=detail,
        )
    ]


def _ready(size: Size) -> Ready:
    """The table, ingested, and a model of its first rows."""
    folder = bench_folder() / f"score_{size.rows}"
    storage = Storage(root=str(folder / "root"))
    columns = {**dict.fromkeys(NUMBERS, "float64"), **dict.fromkeys(CATEGORIES, "string")}
    contract = {"key": ["id"], "columns": {"id": "int64", "label": "int64", **columns}}
    specs = {
        "rows": _spec(files(size.rows), contract, folder / "rows"),
        "few": _spec(files(_TRAINING_ROWS, rows_per_file=_TRAINING_ROWS), contract, folder / "few"),
    }
    tables = {name: done.ref for name, done in ingest_tables(specs, storage).items()}
    plans = {name: _plan(specs, name) for name in specs}
    prepared = prepare(plans["few"], {"few": tables["few"]}, storage, Joins())
    trained = train_model(
        Xgboost(num_rounds=100),
        trainer=Trainer(),
        load=prepared.training_data,
        uri=storage.uri("runs"),
        fingerprint="score_batch",
    )
    bundle = Bundle(
        inputs=prepared.inputs,
        sources=prepared.sources,
        features=prepared.features,
        model=trained.model,
        target=prepared.target,
        examples=prepared.examples,
        threshold=0.5,
    )
    shutil.rmtree(folder / "bundle", ignore_errors=True)
    digest = save_bundle(bundle, folder / "bundle")
    return Ready(plan=plans["rows"], table=tables["rows"], storage=storage, bundle=folder / "bundle", digest=digest)


def _spec(paths: Sequence[Path], contract: Mapping[str, Any], folder: Path) -> TableSpec:
    """The files with a key, and their contract."""
    folder.mkdir(parents=True, exist_ok=True)
    first = 0
    for path in paths:
        rows, out = pq.read_table(path), folder / path.name
        if not out.exists():
            keyed = rows.append_column("id", pa.array(np.arange(first, first + len(rows))))
            pq.write_table(keyed.set_column(0, "label", keyed["label"].cast(pa.int64())), out.with_suffix(".partial"))
            out.with_suffix(".partial").rename(out)
        first += len(rows)
    source = {"_target_": "raypipe.sources.Parquet", "uri": f"{folder}/*.parquet"}
    return build({"source": source, "contract": contract}, TableSpec)


def _plan(specs: Mapping[str, TableSpec], events: str) -> Plan:
    task = build({"kind": "binary", "events": events, "name": "clicked", "label": "label == 1"}, Task)
    features = {
        "numbers": {"kind": "number", "columns": NUMBERS, "impute": "none", "scale": "none"},
        "words": {"kind": "category", "columns": CATEGORIES, "max_size": 10_000},
    }
    return make_plan(task, HashSplit(), build({"derive": {}, "features": features}, FeatureSet), specs)


def _timed(way: str, ready: Ready, size: Size) -> float:
    """Seconds of one run that finds nothing of an earlier one."""
    out = Path(ready.storage.uri("by_hand" if way == "by_hand" else "predictions"))
    shutil.rmtree(out, ignore_errors=True)
    with suppress(FileNotFoundError):
        shutil.rmtree(Path(ready.storage.uri("quarantine")) / "_predictions")
    started = time.perf_counter()
    num = _by_hand(ready, size, out) if way == "by_hand" else _by_raypipe(way, ready, size)
    seconds = time.perf_counter() - started
    if num != size.rows:
        raise SystemExit(f"{way} wrote {num:,} predictions of {size.rows:,} rows")
    return seconds


def _by_raypipe(way: str, ready: Ready, size: Size) -> int:
    model = ModelId(name="clicks", version=1, digest=ready.digest, bundle_uri=str(ready.bundle))
    scoring = Scoring(batch_rows=BATCH_ROWS, num_actors=size.num_actors if way == "raypipe_actors" else None)
    return score_table(ready.plan, {"rows": ready.table}, scoring, model, storage=ready.storage, joins=Joins()).rows.rows_out


class Predictor:
    """What people write: the model once an actor, batches in, answers out."""

    def __init__(self, bundle: str, digest: str) -> None:
        self.bundle = loaded(bundle, digest)

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Key, score and label of each row."""
        return self.bundle.predict(rows).to_table().append_column("id", rows.column("id"))


def _by_hand(ready: Ready, size: Size, out: Path) -> int:
    import ray

    paths = [ready.table.part_uri(part) for part in ready.table.parts]
    pool = ray.data.ActorPoolStrategy(size=size.num_actors)
    # with a whole CPU for each actor none is left for the tasks that read, and the Dataset waits for ever
    options: dict[str, Any] = {"batch_format": "pyarrow", "batch_size": BATCH_ROWS, "compute": pool, "num_cpus": 0.5}
    made = {"bundle": str(ready.bundle), "digest": ready.digest}
    ray.data.read_parquet(paths).map_batches(Predictor, fn_constructor_kwargs=made, **options).write_parquet(str(out))
    return sum(pq.read_metadata(path).num_rows for path in out.glob("*.parquet"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=Size().rows)
    parser.add_argument("--rounds", type=int, default=Size().rounds)
    asked = parser.parse_args()
    for figure in score_batch(Size(rows=asked.rows, rounds=asked.rounds)):
        print(figure.value, figure.unit, dict(figure.detail))
