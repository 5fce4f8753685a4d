"""Data for the feature benches: Criteo-like, with a seed, in Parquet files of 250,000 rows.

13 log-normal numbers (10 % null), 26 categories (zipf; cardinalities from 3 to 100,000 evenly on a log scale; values of
eight hex digits; 5 % null) and a label. Each file is one row group, as default writers make of 250,000 rows, plain
string columns with Snappy; files are made one at a time, and each depends on its number and the seed alone.
``python -m benchmarks.features_data ROWS`` makes them and prints the folder.
"""

import argparse
import hashlib
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

SEED = 20
ROWS_PER_FILE = 250_000
NUMBERS = [f"I{i}" for i in range(1, 14)]
CATEGORIES = [f"C{i}" for i in range(1, 27)]
CARDINALITIES = [round(c) for c in np.geomspace(3, 100_000, len(CATEGORIES))]
ZIPF = 1.1


def bench_folder() -> Path:
    """Where data and outputs of benches are kept between runs."""
    return Path(tempfile.gettempdir()) / "raypipe_bench"


def files(num_rows: int, *, rows_per_file: int = ROWS_PER_FILE) -> Sequence[Path]:
    """The files with so many rows, made if they are not there; a file appears whole or not at all."""
    folder = bench_folder() / f"criteo_like_{SEED}_{num_rows}_{rows_per_file}"
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for i, start in enumerate(range(0, num_rows, rows_per_file)):
        path = folder / f"part-{i:05d}.parquet"
        if not path.exists():
            partial = path.with_suffix(".partial")
            table = _table(i, min(rows_per_file, num_rows - start))
            pq.write_table(table, partial, compression="snappy", row_group_size=rows_per_file)
            partial.rename(path)
        made.append(path)
    return made


def _table(number: int, num_rows: int) -> pa.Table:
    rng = np.random.default_rng([SEED, number])
    columns: dict[str, pa.Array] = {"label": pa.array(rng.random(num_rows) < 0.25, pa.int8())}
    for i, name in enumerate(NUMBERS):
        values = rng.lognormal(mean=i / 4, sigma=0.5 + i / 10, size=num_rows)
        columns[name] = pa.array(values, mask=rng.random(num_rows) < 0.1)
    for name, cardinality in zip(CATEGORIES, CARDINALITIES, strict=True):
        shares = _cumulative_shares(cardinality)
        codes = np.searchsorted(shares, rng.random(num_rows)).astype(np.int32)
        indices = pa.array(codes, mask=rng.random(num_rows) < 0.05)
        columns[name] = pa.DictionaryArray.from_arrays(indices, _vocabulary(name, cardinality)).cast(pa.string())
    return pa.table(columns)


@cache
def _cumulative_shares(cardinality: int) -> NDArray[np.float64]:
    weights = 1 / np.arange(1, cardinality + 1) ** ZIPF
    shares: NDArray[np.float64] = np.cumsum(weights) / weights.sum()
    shares[-1] = 1
    return shares


@cache
def _vocabulary(name: str, cardinality: int) -> pa.Array:
    digests = (hashlib.blake2b(f"{name}-{i}".encode(), digest_size=4).hexdigest() for i in range(cardinality))
    return pa.array(digests, pa.string())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=int)
    print(files(parser.parse_args().rows)[0].parent)
