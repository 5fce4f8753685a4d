"""The orders that the data benches ingest: seeded, as CSV or Parquet files with a few bad rows, and their twenty rules."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

COUNTRIES = ("AT", "BE", "CH", "DE", "DK", "ES", "FR", "GB", "IT", "NL", "PL", "SE")
NUM_FILES = 8
BAD_SHARE = 0.001

TYPES: Mapping[str, str] = {
    "id": "int64",
    "ordered_at": "timestamp",
    "paid_at": "timestamp",
    "country": "string",
    "sku": "string",
    "status": "string",
    "quantity": "int64",
    "price": "float64",
    "discount": "float64",
    "weight": "float64",
    "rating": "float64",
    "visits": "int64",
}
"""The default contract: the columns and their types alone."""

CONTRACT: Mapping[str, Any] = {
    "key": ["id"],  # 1 unique, 2 not null
    "max_bad_share": 0.02,
    "columns": {
        "id": {"type": "int64", "min": 0},  # 3
        "ordered_at": {"type": "timestamp", "nullable": False},  # 4
        "paid_at": "timestamp",
        "country": {"type": "string", "nullable": False, "one_of": list(COUNTRIES)},  # 5, 6
        "sku": {"type": "string", "nullable": False, "regex": "[A-Z]{2}-[0-9]{5}"},  # 7, 8
        "status": {"type": "string", "min_length": 2, "max_length": 10},  # 9, 10
        "quantity": {"type": "int64", "nullable": False, "min": 1, "max": 100},  # 11, 12, 13
        "price": {"type": "float64", "min": 0, "max": 10_000},  # 14, 15
        "discount": {"type": "float64", "min": 0, "max": 1},  # 16, 17
        "weight": "float64",
        "rating": {"type": "float64", "max": 5},  # 18
        "visits": "int64",
    },
    "rules": {
        "paid_after_order": {"expect": "is_null(paid_at) or paid_at >= ordered_at"},  # 19
        "light_or_dear": {"expect": "weight < 50 or price > 1"},  # 20
    },
}
"""Twenty rules; the same stand in `benchmarks/data_validators.py` for pandera and Great Expectations."""


def write_orders(folder: Path, *, rows: int, kind: str) -> list[Path]:
    """`rows` orders as `NUM_FILES` files below `folder`, which are left alone when they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"orders-{i}.{kind}" for i in range(NUM_FILES)]
    edges = np.linspace(0, rows, NUM_FILES + 1).astype(int)
    for i, path in enumerate(files):
        if not path.exists():
            table = orders(int(edges[i]), int(edges[i + 1]))
            if kind == "csv":
                pacsv.write_csv(_as_text(table), path)
            else:
                pq.write_table(table, path, row_group_size=131_072)
    return files


def orders(first: int, end: int) -> pa.Table:
    """Orders with the ids `first` to `end`; one in a thousand has a quantity of 0."""
    rng = np.random.default_rng(first)
    num = end - first
    ordered = 1_700_000_000_000_000 + (np.arange(first, end, dtype=np.int64) * 1_000_003)
    sku_N = rng.zipf(1.3, num) % 50_000
    quantity = rng.integers(1, 20, num)
    quantity[rng.random(num) < BAD_SHARE] = 0
    skus = pa.array([f"{chr(65 + i % 26)}{chr(65 + i // 26 % 26)}-{i:05d}" for i in range(50_000)])
    return pa.table(
        {
            "id": np.arange(first, end, dtype=np.int64),
            "ordered_at": pa.array(ordered, pa.timestamp("us", "UTC")),
            "paid_at": pa.array(
                ordered + rng.integers(0, 86_400_000_000, num), pa.timestamp("us", "UTC"), mask=rng.random(num) < 0.1
            ),
            "country": pa.array(COUNTRIES).take(pa.array(rng.integers(0, len(COUNTRIES), num))),
            "sku": skus.take(pa.array(sku_N)),
            "status": pa.array(["new", "paid", "sent", "back"]).take(pa.array(rng.integers(0, 4, num))),
            "quantity": quantity,
            "price": np.round(rng.lognormal(3, 1, num), 2),
            "discount": pa.array(np.round(rng.random(num), 3), mask=rng.random(num) < 0.3),
            "weight": np.round(rng.gamma(2, 1.5, num), 3),
            "rating": pa.array(rng.integers(1, 6, num).astype(np.float64), mask=rng.random(num) < 0.2),
            "visits": rng.poisson(7, num),
        }
    )


def _as_text(table: pa.Table) -> pa.Table:
    """Timestamps as other systems export them: ``2023-11-14T22:13:20.000000Z``."""
    for i, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            texts = pc.binary_join_element_wise(pc.strftime(table.column(i), "%Y-%m-%dT%H:%M:%S"), "Z", "")
            table = table.set_column(i, field.name, texts)
    return table
