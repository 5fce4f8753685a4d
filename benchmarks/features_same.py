"""Do the ways give the same values? ``python -m benchmarks.features_same DIR DIR``: numbers within 1e-6, indices up to
the order of the vocabulary, types and codec equal.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.features_data import CATEGORIES, NUMBERS

TOLERANCE = 1e-6


def differences(one: Path, other: Path) -> list[str]:
    """What differs between two output folders, a line each; empty when they are the same."""
    kinds = {str(path): _kinds(path) for path in (one, other)}
    wanted = dict.fromkeys(NUMBERS, "float") | dict.fromkeys(CATEGORIES, "int32")
    found = [f"{path}: {got}" for path, (got, _) in kinds.items() if got != wanted]
    found += [f"{path}: compressed with {codecs}" for path, (_, codecs) in kinds.items() if codecs != {"UNCOMPRESSED"}]
    a, b = _rows(one), _rows(other)
    if a.num_rows != b.num_rows or found:
        return [*found, f"{a.num_rows} rows and {b.num_rows} rows"]
    found += [f"{name}: more than {TOLERANCE} apart" for name in NUMBERS if not _close(a[name], b[name])]
    found += [f"{name}: other groups of rows" for name in CATEGORIES if not _same_groups(a[name], b[name])]
    return found


def _files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.parquet"))


def _rows(folder: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(path, columns=[*NUMBERS, *CATEGORIES]) for path in _files(folder)])


def _kinds(folder: Path) -> tuple[dict[str, str], set[str]]:
    kinds: dict[str, str] = {}
    codecs: set[str] = set()
    for path in _files(folder):
        about = pq.read_metadata(path)
        schema = pq.read_schema(path)
        kinds |= {name: str(schema.field(name).type) for name in schema.names}
        codecs |= {about.row_group(0).column(i).compression for i in range(about.num_columns)}
    return kinds, codecs


def _close(a: Any, b: Any) -> bool:
    return bool(np.allclose(a.to_numpy(), b.to_numpy(), rtol=TOLERANCE, atol=TOLERANCE, equal_nan=False))


def _same_groups(a: Any, b: Any) -> bool:
    """True when there is a one-to-one map between the indices; nulls are not allowed."""
    if a.null_count or b.null_count:
        return False
    x, y = a.to_numpy().astype(np.int64), b.to_numpy().astype(np.int64)
    pairs = np.unique((x - x.min()) * (y.max() - y.min() + 1) + (y - y.min())).size
    return bool(pairs == np.unique(x).size == np.unique(y).size)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs=2)
    print(json.dumps({"differences": differences(*parser.parse_args().folders)}))
