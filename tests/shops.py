"""A small made-up experiment for tests: orders with two views of their shops, one exact and one as of the order's time."""

import csv
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raypipe.core.config import build
from raypipe.core.storage import Storage
from raypipe.features import FeatureSet
from raypipe.ingest import TableSpec, ingest_tables
from raypipe.joins import Joins
from raypipe.prepare import Plan, Prepared, Task, make_plan, prepare
from raypipe.split import Split, TimeSplit
from raypipe.tables import TableRef

START = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
SHOPS = ("north", "south", "east", "west")
NUM_FILES, HOURS = 3, 24 * 100

TABLES: dict[str, Any] = {
    "orders": {
        "source": {"_target_": "raypipe.sources.Csv", "uri": "orders-*.csv"},
        "contract": {
            "key": ["id"],
            "columns": {
                "id": "int64",
                "placed": {"type": "timestamp", "nullable": False},
                "shop": "string",
                "amount": "float64",
                "size": {"type": "string", "one_of": ["small", "medium", "large"]},
                "delay": {"type": "float64", "known": "later"},
            },
        },
    },
    "shops": {
        "source": {"_target_": "raypipe.sources.Csv", "uri": "shops.csv"},
        "contract": {"columns": {"name": "string", "staff": "int64", "rating": {"type": "float64", "known": "later"}}},
    },
    "prices": {
        "source": {"_target_": "raypipe.sources.Csv", "uri": "prices.csv"},
        "contract": {"columns": {"shop": "string", "since": "timestamp", "price": "float64"}},
    },
}
TASK: dict[str, Any] = {
    "kind": "binary",
    "events": "orders",
    "name": "late",
    "label": "delay > 5",
    "unlabelled": "not delivered",
    "derive": {"noticed": "placed - hours(1)"},
    "prediction_time": "noticed",
    "views": {
        "shops": {"table": "shops", "entity": {"shop": "name"}, "columns": ["staff"]},
        "prices": {"table": "prices", "entity": {"shop": "shop"}, "columns": ["price"], "event_time": "since", "ttl": "6h"},
    },
}
FEATURES: dict[str, Any] = {
    "amount": {"kind": "number", "impute": "median"},
    "views": {"kind": "number", "columns": ["shops_staff", "prices_price"]},
    "where": {"kind": "category", "columns": ["shop"]},
    "noticed": {"kind": "calendar", "zone": "UTC", "parts": ["hour"]},
}
SPLIT = TimeSplit(
    train=("2020-01-01", "2020-03-01"), validation=("2020-03-01", "2020-03-20"), test=("2020-03-20", "2020-04-05")
)
KINDS: dict[str, dict[str, Any]] = {
    "binary": {},
    "multiclass": {"kind": "multiclass", "label": "size", "name": "size"},
    "regression": {"kind": "regression", "label": "delay", "name": "delay"},
}


def orders(num: int = 600, seed: int = 0) -> list[dict[str, Any]]:
    """Rows as written to CSV, a few per hour in order of time; null amounts, shops and delays among them."""
    rng = np.random.default_rng(seed)
    hours = np.sort(rng.integers(0, HOURS, num))
    rows = []
    for i in range(num):
        shop, amount = SHOPS[rng.integers(4)], round(float(rng.uniform(1, 100)), 2)
        delay = amount / 20 + SHOPS.index(shop) + float(rng.normal(0, 1))
        rows.append(
            {
                "id": i,
                "placed": (START + dt.timedelta(hours=int(hours[i]), minutes=int(rng.integers(60)))).isoformat(),
                "shop": "" if i % 29 == 0 else shop,
                "amount": "" if i % 17 == 0 else amount,
                "size": ("small", "medium", "large")[int(amount // 34)],
                "delay": "" if i % 13 == 0 else round(delay, 3),
            }
        )
    return rows


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_orders(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    size = -(-len(rows) // NUM_FILES)
    for i in range(NUM_FILES):
        write_csv(folder / f"orders-{i}.csv", rows[i * size : (i + 1) * size])


def write_all(folder: Path, rows: Sequence[Mapping[str, Any]] | None = None) -> None:
    """All sources; shop `west` is in neither view, prices are known every eight hours and live for six."""
    write_orders(folder, orders() if rows is None else rows)
    write_csv(folder / "shops.csv", [{"name": shop, "staff": 3 + i, "rating": i / 2} for i, shop in enumerate(SHOPS[:3])])
    times = [(START + dt.timedelta(hours=h), h) for h in range(0, HOURS, 8)]
    write_csv(
        folder / "prices.csv",
        [{"shop": shop, "since": at.isoformat(), "price": h % 7 + i} for i, shop in enumerate(SHOPS[:3]) for at, h in times],
    )


def specs(folder: Path | str, tables: Mapping[str, Any] = TABLES, **changes: Any) -> dict[str, TableSpec]:
    """Tables whose sources are in `folder`; `changes` replace settings of a table's contract, by table name."""
    out = {}
    for name, table in tables.items():
        source = {**table["source"], "uri": f"{folder}/{table['source']['uri']}"}
        contract = {**table["contract"], **changes.get(name, {})}
        out[name] = build({"source": source, "contract": contract}, TableSpec)
    return out


@dataclass(frozen=True)
class Shop:
    """The experiment over one folder of sources, here or in a bucket, and one storage root."""

    folder: Path | str
    storage: Storage

    def tables(self) -> dict[str, TableRef]:
        return {name: done.ref for name, done in ingest_tables(specs(self.folder), self.storage).items()}

    def plan(
        self,
        task: Mapping[str, Any] | None = None,
        features: Mapping[str, Any] | None = None,
        split: Split = SPLIT,
        slices: tuple[str, ...] = (),
    ) -> Plan:
        made = build({**TASK, **(task or {})}, Task)
        chosen = build({"derive": made.derive, "features": FEATURES if features is None else features}, FeatureSet)
        return make_plan(made, split, chosen, specs(self.folder), slices=slices)

    def prepared(self, plan: Plan | None = None, joins: Joins | None = None) -> Prepared:
        return prepare(plan or self.plan(), self.tables(), self.storage, joins or Joins())
