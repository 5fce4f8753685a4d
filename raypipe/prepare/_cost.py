"""What a fit will read, keep and hold, known before any row is read."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from raypipe.features import FitState, fit_chunk
from raypipe.features._categories import MAX_ONE_HOT, Known
from raypipe.features._lists import MultiHot
from raypipe.features._protocols import Labels, Spec, State
from raypipe.features._quantiles import MAX_EXACT_VALUES
from raypipe.features._targets import TargetSums
from raypipe.features._treatment import NumberState
from raypipe.ingest import ROWS_PER_PART
from raypipe.prepare._folds import Folding
from raypipe.prepare._plan import Plan
from raypipe.profiles import MAX_DISTINCT
from raypipe.tables import TableRef

BOUNDS = (
    f"value counts are exact up to {MAX_DISTINCT:,} values of a category (a partition); of a number up to "
    f"{MAX_EXACT_VALUES:,}, then in bins of 0.05 %"
)
_TEXT_BYTES = 32
"""What a text is counted with: its bytes, and its place among the others. Longer ones take more."""
_MOMENTS_BYTES, _VALUE_BYTES, _SUM_BYTES = 56, 16, 16
_MERGED = 8  # the driver merges so many states of parts at once into one, and holds both
_COPIES = 2  # a worker holds the rows of a part, and the rows of its splits
_OUTPUT_BYTES = 4 * 3  # float32 or int32: of a feature alone, in its tensor, and in the bytes that are written


@dataclass(frozen=True, kw_only=True)
class FeatureCost:
    """What one feature reads and keeps.

    Attributes:
        feature: Its name.
        kind: Its kind.
        columns: Raw columns that it reads.
        keeps: What is kept of them, in words.
        outputs: Most columns that it gives; how many one_hot and multi_hot give is known only after the fit.
        worker_bytes: Most that this takes of one part.
        driver_bytes: Most that this takes of all parts, merged.
    """

    feature: str
    kind: str
    columns: tuple[str, ...]
    keeps: str
    outputs: int
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
        part_rows: Rows of the largest part of the events; where they are not ingested yet, most that ingest writes to one.
        worker_bytes: Most that a worker holds: rows, states and outputs of a part, text counted with 32 bytes each, views
            apart.
        driver_bytes: Most that the driver holds of states while it merges them.
        view_bytes: Most that the views take, once a machine.
    """

    passes: tuple[str, ...]
    second_passes: Mapping[str, int]
    reads: Mapping[str, tuple[str, ...]]
    features: tuple[FeatureCost, ...]
    part_rows: int
    worker_bytes: int
    driver_bytes: int
    view_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """For the job's line."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class _Size:
    """Rows of the largest part of the events, and of all; parts. Of events that are not ingested yet nothing is known."""

    part: int = ROWS_PER_PART
    all: int = 2**63
    parts: int = _MERGED


@dataclass(frozen=True, kw_only=True)
class _Distinct:
    """Most values of an output that a worker and the driver hold."""

    worker: int
    driver: int


def cost_of(plan: Plan, tables: Mapping[str, TableRef] | None = None, *, broadcast_bytes: int) -> Cost:
    """The cost of a plan; no row is read.

    Args:
        plan: The checked task.
        tables: The versions to fit, when they are ingested: their sizes make the bounds closer.
        broadcast_bytes: Most that a view may take.
    """
    features, events = plan.features, plan.task.events
    parts = None if tables is None else [part.num_rows for part in tables[events].parts]
    size = _Size() if parts is None else _Size(part=max(parts, default=0), all=sum(parts), parts=len(parts))
    state = _empty_state(plan)
    costs = tuple(_feature_cost(plan, name, state, size) for name in features.features)
    parted = {output: spec.partitions for output, (_, spec) in features.partitioned.items()}
    passes = [f"{events}: join, label, split and fit", "joined rows: transform and profile"]
    if parted:
        aside = ", ".join(f"{output} ({num} partitions)" for output, num in parted.items())
        passes.insert(1, f"counts put aside, of {aside}: merge")
    width = sum(_row_bytes(schema) for schema in plan.reads.values())
    states = sum(cost.worker_bytes for cost in costs)
    outputs = sum(cost.outputs for cost in costs)
    return Cost(
        passes=tuple(passes),
        second_passes=parted,
        reads={table: tuple(schema.names) for table, schema in plan.reads.items()},
        features=costs,
        part_rows=size.part,
        worker_bytes=size.part * (_COPIES * width + _OUTPUT_BYTES * outputs) + states,
        driver_bytes=_COPIES * sum(cost.driver_bytes for cost in costs) + min(_MERGED, size.parts) * states,
        view_bytes=sum(_view_bytes(plan, view.table, tables, broadcast_bytes) for view in plan.task.views.values()),
    )


def _empty_state(plan: Plan) -> FitState:
    """What a fit keeps of no rows: which states there are."""
    labels = Labels(y_N=np.empty(0), fold_N=np.empty(0, np.int64), num_folds=_num_folds(plan))
    return fit_chunk(plan.features, plan.inputs.schema.empty_table(), labels if plan.features.needs_labels else None)


def _num_folds(plan: Plan) -> int:
    return Folding(split=plan.split, key=plan.key).num_folds


def _feature_cost(plan: Plan, name: str, state: FitState, size: _Size) -> FeatureCost:
    spec = plan.features.features[name]
    partitions = spec.partitions if isinstance(spec, Known) else 1
    distinct = _distinct(spec, size)
    states = list(state.features[name].states.values())
    keeps = list(dict.fromkeys(_kept(one, partitions) for one in states))
    return FeatureCost(
        feature=name,
        kind=spec.kind,
        columns=plan.features.raw_columns_of(name),
        keeps="; ".join(keeps) or "nothing",
        outputs=_num_outputs(name, spec),
        worker_bytes=sum(_bytes(one, distinct.worker, plan) for one in states),
        driver_bytes=sum(_bytes(one, distinct.driver, plan) for one in states),
    )


def _distinct(spec: Spec, size: _Size) -> _Distinct:
    """Of a feature with partitions a worker merges whole ones in the second pass, and the driver gets the most frequent."""
    if isinstance(spec, Known) and spec.partitions > 1:
        return _Distinct(worker=min(size.all, MAX_DISTINCT), driver=min(size.all, spec.partitions * spec.limit))
    return _Distinct(worker=min(size.part, MAX_DISTINCT), driver=min(size.all, MAX_DISTINCT))


def _num_outputs(name: str, spec: Spec) -> int:
    """Most columns that a feature gives."""
    if isinstance(spec, Known) and spec.encode == "one_hot":
        return len(spec.names_of(name)) * min(spec.limit, MAX_ONE_HOT)
    return spec.max_size if isinstance(spec, MultiHot) else len(spec.outputs_of(name))


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


def _view_bytes(plan: Plan, table: str, tables: Mapping[str, TableRef] | None, most: int) -> int:
    return most if tables is None else min(most, tables[table].num_rows * _row_bytes(plan.reads[table]))


def _row_bytes(schema: pa.Schema) -> int:
    return sum(_width(field.type) for field in schema)


def _width(found: pa.DataType) -> int:
    """Bytes of a value in memory."""
    try:
        return max(1, int(found.bit_width) // 8)
    except ValueError:
        return _TEXT_BYTES
