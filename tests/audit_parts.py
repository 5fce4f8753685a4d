"""A clean made-up table for audits, and the seven leaks that are put into it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

NUM_ROWS, START_S, STEP_S = 4_000, 1_577_836_800, 3_600
CUT = NUM_ROWS * 3 // 4


def clean(seed: int = 0) -> dict[str, pa.Array]:
    """Rows in order of time, an hour apart: the last quarter is test; the label is unknown in some."""
    rng = np.random.default_rng(seed)
    amount = rng.gamma(2, 20, NUM_ROWS)
    positive = rng.random(NUM_ROWS) < 1 / (1 + np.exp(2 - amount / 40))
    unknown = rng.random(NUM_ROWS) < 0.05
    at = (START_S + STEP_S * np.arange(NUM_ROWS)).astype("datetime64[s]")
    return {
        "y": pa.array(np.where(unknown, None, positive.astype(object)), pa.bool_()),
        "t": pa.array(at),
        "customer": pa.array(np.where(np.arange(NUM_ROWS) < CUT, 0, 10_000) + rng.integers(0, 700, NUM_ROWS)),
        "split": pa.array(np.where(np.arange(NUM_ROWS) < CUT, "train", "test")),
        "amount": pa.array(amount),
        "shop": pa.array(np.array(["north", "south", "east"])[rng.integers(0, 3, NUM_ROWS)]),
        "rating": pa.array(np.where(rng.random(NUM_ROWS) < 0.2, np.nan, rng.normal(3, 1, NUM_ROWS)), from_pandas=True),
    }


Columns = dict[str, pa.Array]


@dataclass(frozen=True)
class Leak:
    """One way to leak.

    Attributes:
        check: The check that finds it.
        column: What it names.
        seed: Puts it into the clean columns.
        options: Of the command, beside label and split.
    """

    check: str
    column: str
    seed: Callable[[Columns], Columns]
    options: Mapping[str, str] = field(default_factory=dict)


def _returning(columns: Columns) -> Columns:
    return {**columns, "customer": pa.array(np.arange(NUM_ROWS) % 700)}


def _copied(columns: Columns) -> Columns:
    """A tenth of the test rows are copies of train rows, as when rare rows are repeated before a split."""
    index = np.arange(NUM_ROWS)
    index[CUT + 10 :: 10] = np.arange(len(index[CUT + 10 :: 10])) * 7
    copied = {name: column.take(pa.array(index)) for name, column in columns.items()}
    return {**copied, **{name: columns[name] for name in ("t", "customer", "split")}}


def _shuffled(columns: Columns) -> Columns:
    names = np.where(np.random.default_rng(1).random(NUM_ROWS) < 0.75, "train", "test")
    return {**columns, "split": pa.array(names)}


def _filled_in_later(columns: Columns) -> Columns:
    closed = np.where(columns["y"].is_null().to_numpy(zero_copy_only=False), None, "by post")
    return {**columns, "closed_by": pa.array(closed, pa.string())}


def _proxy(columns: Columns) -> Columns:
    label = columns["y"].fill_null(False).to_numpy(zero_copy_only=False)
    return {**columns, "refund": pa.array(np.where(label, 9.0, 0.0) + np.random.default_rng(2).normal(size=NUM_ROWS))}


def _scaled(columns: Columns) -> Columns:
    amount = columns["amount"].to_numpy() + np.linspace(0, 50, NUM_ROWS)
    return {**columns, "amount_scaled": pa.array((amount - amount.mean()) / amount.std())}


def _looked_ahead(columns: Columns) -> Columns:
    late = np.where(np.arange(NUM_ROWS) % 50 == 0, 60, -60)
    return {**columns, "price_since": pa.array(columns["t"].to_numpy() + late.astype("timedelta64[s]"))}


TIMED = {"time": "t"}
LEAKS = (
    Leak("entity_overlap", "customer", _returning, {"entity": "customer"}),
    Leak("duplicates", "", _copied),
    Leak("time_overlap", "", _shuffled, TIMED),
    Leak("known_later", "closed_by", _filled_in_later, TIMED),
    Leak("proxies", "refund", _proxy, TIMED),
    Leak("statistics", "amount_scaled", _scaled, TIMED),
    Leak("look_ahead", "price_since", _looked_ahead, {**TIMED, "joined-at": "price_since"}),
)
