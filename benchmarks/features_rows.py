"""How long one row takes, and 64: ``python -m benchmarks.features_rows`` prints medians in microseconds as JSON.

Each figure is the median over 30 rounds of the mean of a round of calls, Python's garbage collector off; records differ from
call to call. The flights spec derives its departure from two columns, as its task does. The fitted scikit-learn pipeline
gets a one-row data frame that exists already.
"""

import datetime as dt
import gc
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa
from omegaconf import OmegaConf

from benchmarks._figure import ROOT
from benchmarks.features_data import CATEGORIES, files
from benchmarks.features_ways import COLUMNS, column_transformer, feature_set
from raypipe.core.config import build
from raypipe.features import FeatureSet, FittedFeatures, fit_chunk, merge_states, solve

ROUNDS = 30
NUM_ROWS = 20_000
GROUPS = ("features", "task")
KNOWN_TEXTS = {"carrier": 16, "origin": 3, "dest": 105}
Record = Mapping[str, object]


def main() -> None:
    """Fit both specs, time them, print."""
    criteo = pa.concat_tables(_read(path) for path in files(NUM_ROWS))
    wide = fitted(feature_set(), criteo)
    flights = fitted(flights_features(), flights_rows())
    records = criteo.slice(0, 1_000).to_pylist()
    found = {
        "flights_row_us": per_call_us(flights.row, flights_rows().slice(0, 1_000).to_pylist(), calls=2_000),
        "row_us": per_call_us(wide.row, records, calls=1_000),
        "rows_64_us": per_call_us(wide.transform, [criteo.slice(64 * i, 64) for i in range(100)], calls=100),
        "rows_64_of_records_us": per_call_us(wide.transform_rows, [records[i : i + 64] for i in range(100)], calls=100),
        "sklearn_row_us": _sklearn_us(criteo),
    }
    print(json.dumps(found))


def per_call_us(work: Callable[[Any], object], inputs: Sequence[Any], *, calls: int) -> float:
    """Median over the rounds of the mean time of a call."""
    chosen = [inputs[i % len(inputs)] for i in range(calls)]
    for given in chosen:
        work(given)
    rounds = []
    gc.disable()
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for given in chosen:
            work(given)
        rounds.append((time.perf_counter() - start) / calls * 1e6)
    gc.enable()
    return statistics.median(rounds)


def fitted(features: FeatureSet, rows: pa.Table) -> FittedFeatures:
    """Fitted on a table in memory."""
    return solve(features, merge_states([fit_chunk(features, rows)]), rows.schema).features


def flights_features() -> FeatureSet:
    """The spec of the flights experiment."""
    features, task = (OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / group / "flights.yaml")) for group in GROUPS)
    return build({"features": features, "derive": cast("Any", task)["derive"]}, FeatureSet)


def flights_rows() -> pa.Table:
    """Made-up joined rows with the columns that the flights spec reads; a tenth of the numbers is null."""
    rng = np.random.default_rng(0)
    columns: dict[str, pa.Array] = {}
    for name, kind in flights_columns().items():
        if name in KNOWN_TEXTS:
            columns[name] = pa.array([f"T{i:02d}" for i in rng.integers(KNOWN_TEXTS[name], size=NUM_ROWS)])
        elif pa.types.is_timestamp(kind):
            start = dt.datetime(2013, 1, 1, tzinfo=dt.UTC)
            columns[name] = pa.array([start + dt.timedelta(minutes=int(m)) for m in rng.integers(525_600, size=NUM_ROWS)], kind)
        else:
            numbers = rng.lognormal(3, 1, NUM_ROWS).round(1 if pa.types.is_floating(kind) else 0)
            columns[name] = pa.array(numbers, mask=rng.random(NUM_ROWS) < 0.1).cast(kind)
    return pa.table(columns)


def flights_columns() -> dict[str, pa.DataType]:
    """Columns that the flights spec reads, with the types that the contracts of its tables give them."""
    whole = {"distance", "sched_dep_time", "sched_arr_time", "planes_year", "planes_engines", "planes_seats", "minute"}
    kinds: dict[str, pa.DataType] = {}
    for name in flights_features().input_columns:
        if name in KNOWN_TEXTS:
            kinds[name] = pa.string()
        elif name == "time_hour":
            kinds[name] = pa.timestamp("us", "UTC")
        else:
            kinds[name] = pa.int64() if name in whole else pa.float64()
    return kinds


def _sklearn_us(rows: pa.Table) -> float:
    frame = rows.to_pandas().astype(dict.fromkeys(CATEGORIES, object))
    pipeline = column_transformer().fit(frame)
    return per_call_us(pipeline.transform, [frame.iloc[i : i + 1] for i in range(5)], calls=5)


def _read(path: Any) -> pa.Table:
    import pyarrow.parquet as pq

    return pq.read_table(path, columns=COLUMNS)


if __name__ == "__main__":
    main()
