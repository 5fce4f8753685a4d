"""What a fit will read, keep and hold, known before any row is read."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from raypipe.features import Category, Cross, FitState, fit_chunk
from raypipe.features._counts import MAX_DISTINCT
from raypipe.features._protocols import Labels, State
from raypipe.features._quantiles import MAX_EXACT_VALUES
from raypipe.features._targets import TargetSums
from raypipe.features._treatment import NumberState
from raypipe.prepare._folds import Folding
from raypipe.prepare._plan import Plan

PART_ROWS = 250_000
BOUNDS = (
    f"value counts are exact up to {MAX_DISTINCT:,} values of a category (a partition); of a number up to "
    f"{MAX_EXACT_VALUES:,}, then in bins of 0.05 %"
)
_TEXT_BYTES = 32
"""What a text is counted with: its bytes, and its place among the others. Longer ones take more."""
_MOMENTS_BYTES, _VALUE_BYTES, _SUM_BYTES = 56, 16, 16
_COPIES = 2  # a worker holds the rows of a part, and the rows of its splits


@dataclass(frozen=True, kw_only=True)
class FeatureCost:
    """What one feature reads and keeps.

    Attributes:
        feature: Its name.
        kind: Its kind.
        columns: Raw columns that it reads.
        keeps: What is kept of them, in words.
        worker_bytes: Most that this takes of one part.
        driver_bytes: Most that this takes of all parts.
    """

    feature: str
    kind: str
    columns: tuple[str, ...]
    keeps: str
    worker_bytes: int
    driver_bytes: int


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What fitting and transforming takes.

    Attributes:
        passes: Passes over data, in their order.
        second_passes: Outputs whose values are counted in partitions, and in how many.
        reads: Table -> columns that are read of it.
        features: Each feature.
        part_rows: Rows of the largest part of the events, or `PART_ROWS` where there are none yet.
        worker_bytes: Most that a worker holds at a time, text counted with 32 bytes each, views apart.
        view_bytes: Most that the views take, once a machine.
    """

    passes: tuple[str, ...]
    second_passes: Mapping[str, int]
    reads: Mapping[str, tuple[str, ...]]
    features: tuple[FeatureCost, ...]
    part_rows: int
    worker_bytes: int
    view_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """For the job's line."""
        return asdict(self)


def cost_of(plan: Plan, *, part_rows: int | None = None, view_bytes: int = 0) -> Cost:
    """The cost of a plan; nothing is read.

    Args:
        plan: The checked task.
        part_rows: Rows of the largest part of the events, when that is known.
        view_bytes: Most that a view may take.
    """
    rows = PART_ROWS if part_rows is None else part_rows
    features, events = plan.features, plan.task.events
    state = _empty_state(plan)
    costs = tuple(_feature_cost(plan, name, state, rows) for name in features.features)
    parted = {output: spec.partitions for output, (_, spec) in features.partitioned.items()}
    passes = [f"{events}: join, label, split and fit", "joined rows: transform and profile"]
    passes[1:1] = [f"counts of {output}, put aside in {num} partitions: merge" for output, num in parted.items()]
    width = sum(_width(field.type) for schema in plan.reads.values() for field in schema)
    return Cost(
        passes=tuple(passes),
        second_passes=parted,
        reads={table: tuple(schema.names) for table, schema in plan.reads.items()},
        features=costs,
        part_rows=rows,
        worker_bytes=_COPIES * rows * width + sum(cost.worker_bytes for cost in costs),
        view_bytes=view_bytes * len(plan.task.views),
    )


def _empty_state(plan: Plan) -> FitState:
    """What a fit keeps of no rows: which states there are."""
    labels = Labels(y_N=np.empty(0), fold_N=np.empty(0, np.int64), num_folds=_num_folds(plan))
    return fit_chunk(plan.features, plan.inputs.schema.empty_table(), labels if plan.features.needs_labels else None)


def _num_folds(plan: Plan) -> int:
    return Folding(split=plan.split, key=plan.key).num_folds


def _feature_cost(plan: Plan, name: str, state: FitState, rows: int) -> FeatureCost:
    spec = plan.features.features[name]
    partitions = spec.partitions if isinstance(spec, (Category, Cross)) else 1
    states = list(state.features[name].states.values())
    keeps = list(dict.fromkeys(_kept(one, partitions) for one in states))
    return FeatureCost(
        feature=name,
        kind=spec.kind,
        columns=plan.features.raw_columns_of(name),
        keeps="; ".join(keeps) or "nothing",
        worker_bytes=sum(_bytes(one, min(rows, MAX_DISTINCT), plan) for one in states),
        driver_bytes=sum(_bytes(one, MAX_DISTINCT // partitions, plan) for one in states),
    )


def _kept(state: State, partitions: int) -> str:
    if isinstance(state, NumberState):
        return "moments" if state.values is None else "moments, value counts"
    if isinstance(state, TargetSums):
        return "label sums by value and fold"
    return f"value counts in {partitions} partitions" if partitions > 1 else "value counts"


def _bytes(state: State, distinct: int, plan: Plan) -> int:
    if isinstance(state, NumberState):
        return _MOMENTS_BYTES + (0 if state.values is None else _VALUE_BYTES * min(distinct, MAX_EXACT_VALUES))
    value = _TEXT_BYTES + 8
    if isinstance(state, TargetSums):
        return distinct * (value + _SUM_BYTES * _num_folds(plan))
    return distinct * value


def _width(found: pa.DataType) -> int:
    """Bytes of a value in memory."""
    try:
        return max(1, int(found.bit_width) // 8)
    except ValueError:
        return _TEXT_BYTES
