"""Stage one, a pass over the events: derive, join views, label, split, write joined rows, and fit the training rows.

A split that must know all rows before it can assign one asks for them in passes of its own before.

The canonical chunk of a fit is the training rows of one part of the table version, in the part's order.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.core.rows import RowCounts
from raypipe.expressions import compile_expression
from raypipe.features import FitState
from raypipe.joins import WHY, counts_of, read_columns, view_column
from raypipe.prepare._checks import check_label_type
from raypipe.prepare._derive import chunked, derivations, raw_columns, with_derived
from raypipe.prepare._fitting import Fitting
from raypipe.prepare._joined import JOINED_AT, JOINED_LABEL, rows_uri
from raypipe.prepare._parquet import write_rows
from raypipe.prepare._plan import Plan, before_views
from raypipe.prepare._views import found_in, timed
from raypipe.split import ALL_SPLITS

UNLABELLED = "the label is null"
OUTSIDE = "outside every window of the split"


@dataclass(frozen=True, kw_only=True)
class JoinedPart:
    """What one part of the events gave; `unmatched` says for how many rows a view gave nothing, and why."""

    rows: RowCounts
    num_rows: Mapping[str, int]
    times: Mapping[str, tuple[str, str]]
    labels: Mapping[str, Mapping[str, int]]
    unmatched: Mapping[str, Mapping[str, int]]
    state: FitState | None


@dataclass(frozen=True, kw_only=True)
class JoinPart:
    """Worker: one Parquet file of the events, whose number names the files that are written.

    Attributes:
        plan: The checked task, with a split that can assign rows.
        schema: Of the table of the events.
        views: View name -> where its rows are (`placed_views`).
        uri: Folder of the joined rows.
        fitting: What is fitted in this pass; None when all is fitted already.
    """

    plan: Plan
    schema: pa.Schema
    views: Mapping[str, Any]
    uri: str
    fitting: Fitting | None

    def __call__(self, source: tuple[int, str]) -> JoinedPart:
        """Join, label, split and write the file at `source` = (number, uri); fit its training rows."""
        stem, plan, has_time = stem_of(source[0]), self.plan, self.plan.task.prediction_time is not None
        joined = labelled(source, plan, self.schema, self.views)
        reasons, splits = _reasons(joined, plan)
        rows = joined.select([*plan.kept, *([JOINED_AT] if has_time else []), JOINED_LABEL])
        aside = {self._named(reason): num for reason, num in _counts(reasons.drop_null()).items()}
        by_split = {name: rows.filter(pc.and_(pc.is_null(reasons), pc.equal(splits, name))) for name in ALL_SPLITS}
        for name, table in by_split.items():
            if table.num_rows:
                write_rows(rows_uri(self.uri, name, stem), table)
        train = by_split["train"]
        return JoinedPart(
            rows=RowCounts(joined.num_rows, sum(t.num_rows for t in by_split.values()), dict(sorted(aside.items()))),
            num_rows={name: t.num_rows for name, t in by_split.items()},
            times={
                name: _bounds(t) for name, t in by_split.items() if has_time and t.num_rows > t.column(JOINED_AT).null_count
            },
            labels={name: _label_counts(t, plan) for name, t in by_split.items()},
            unmatched={name: counts_of(joined.column(_why(name))) for name in plan.task.views},
            state=self.fitting.fit(train, stem) if self.fitting is not None and train.num_rows else None,
        )

    def _named(self, reason: str) -> str:
        return self.plan.task.unlabelled or UNLABELLED if reason == UNLABELLED else reason


@dataclass(frozen=True, kw_only=True)
class AskPart:
    """Worker: what a split wants to know of the labelled rows of one file of the events.

    Attributes:
        plan: The checked task, with no more than the split needs (`for_split`).
        schema: Of the table of the events.
        views: View name -> where its rows are.
        question: What the split asks.
    """

    plan: Plan
    schema: pa.Schema
    views: Mapping[str, Any]
    question: Callable[[pa.Table], Any]

    def __call__(self, source: tuple[int, str]) -> Any:
        """The answer of the file at `source` = (number, uri)."""
        rows = labelled(source, self.plan, self.schema, self.views)
        return self.question(rows.filter(pc.is_valid(rows.column(JOINED_LABEL))))


def stem_of(part: int) -> str:
    """Name of the files that are written of a part of the events."""
    return f"{part:05d}"


def for_split(plan: Plan) -> Plan:
    """`plan` with the columns and views that split, label and key need, and no others."""
    task = plan.task
    used = (*plan.key, *compile_expression(task.label).columns, *plan.split.columns)
    raw = raw_columns(task.derive, used)
    views = {name: view for name, view in task.views.items() if {view_column(name, c) for c in view.columns} & {*raw}}
    task = replace(task, views=views)
    needed = {*raw, *raw_columns(task.derive, before_views(task))}
    return replace(
        plan,
        task=task,
        event_columns=tuple(name for name in plan.event_columns if name in needed),
        derive={name: expression.text for name, expression in derivations(task.derive, used)},
    )


def labelled(source: tuple[int, str], plan: Plan, schema: pa.Schema, views: Mapping[str, Any]) -> pa.Table:
    """All rows of the file of the events at `source` = (number, uri): joined, with derived columns and label."""
    part, uri = source
    events = read_columns(uri, pa.schema([schema.field(name) for name in plan.event_columns]))
    rows = with_derived(enrich(events, plan, views, part), plan.derive, plan.derive)
    return rows.append_column(JOINED_LABEL, label_of(rows, plan))


def enrich(events: pa.Table, plan: Plan, views: Mapping[str, Any], part: int) -> pa.Table:
    """`events` with the prediction time, the columns of all views, and the derived columns that these need.

    Args:
        events: All rows of a part of the events, with `plan.scoring_columns`.
        plan: The checked task.
        views: View name -> where its rows are (`placed_views`).
        part: The number of the part.
    """
    task = plan.task
    events = timed(with_derived(events, task.derive, before_views(task)), task)
    for name, view in task.views.items():
        found = found_in(views[name], events, view, part)
        for column in view.columns:
            events = events.append_column(view_column(name, column), found.column(column))
        events = events.append_column(_why(name), found.column(WHY))
    return events


def label_of(rows: pa.Table, plan: Plan) -> pa.ChunkedArray:
    """The label of each row: bool for binary, text for multiclass, float64 for regression; null where unknown.

    Raises:
        LabelError: when the expression has the wrong type for the task.
    """
    task, label = plan.task, chunked(compile_expression(plan.task.label).evaluate(rows))
    check_label_type(task, label.type)
    if task.kind == "binary":
        return label
    if task.kind == "multiclass":
        return label.cast(pa.string())
    value = label.cast(pa.float64())
    return pc.if_else(pc.is_finite(value), value, pa.scalar(None, pa.float64()))


def _bounds(rows: pa.Table) -> tuple[str, str]:
    bounds = pc.min_max(rows.column(JOINED_AT)).as_py()
    return bounds["min"].isoformat(), bounds["max"].isoformat()


def _label_counts(rows: pa.Table, plan: Plan) -> dict[str, int]:
    if plan.task.kind == "regression":
        return {}
    return _counts(rows.column(JOINED_LABEL).cast(pa.string()))


def _counts(texts: pa.ChunkedArray) -> dict[str, int]:
    return {c["values"]: c["counts"] for c in pc.value_counts(texts).to_pylist()}


def _reasons(rows: pa.Table, plan: Plan) -> tuple[pa.Array, pa.Array]:
    """Why each row is set aside, null where it is not, and its split."""
    splits = plan.split.assign(rows, key=plan.key, at=JOINED_AT if plan.task.prediction_time is not None else None)
    reasons = pc.if_else(pc.is_in(splits, pa.array(ALL_SPLITS)), pa.scalar(None, pa.string()), pc.fill_null(splits, OUTSIDE))
    return pc.if_else(pc.is_null(rows.column(JOINED_LABEL)), UNLABELLED, reasons), splits


def _why(view: str) -> str:
    """Column that says what an event met in a view."""
    return f"{WHY}_{view}"
