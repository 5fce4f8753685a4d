"""Stage one, a pass over the events: derive, join views, label, split, write joined rows, and fit the training rows.

The canonical chunk of a fit is the training rows of one part of the table version, in the part's order.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raypipe.core.rows import RowCounts
from raypipe.core.storage import arrow_filesystem, path_of
from raypipe.expressions import compile_expression
from raypipe.features import FitState
from raypipe.joins import join_view
from raypipe.prepare._checks import check_label_type
from raypipe.prepare._derive import chunked, with_derived
from raypipe.prepare._fitting import Fitting
from raypipe.prepare._joined import JOINED_AT, JOINED_LABEL, rows_uri
from raypipe.prepare._parquet import write_rows
from raypipe.prepare._plan import Plan, before_views
from raypipe.split import SPLITS

_INSTANT = pa.timestamp("us", "UTC")
UNLABELLED = "the label is null"
OUTSIDE = "outside every window of the split"


@dataclass(frozen=True, kw_only=True)
class JoinedPart:
    """What one part of the events gave."""

    rows: RowCounts
    num_rows: Mapping[str, int]
    times: Mapping[str, tuple[str, str]]
    labels: Mapping[str, Mapping[str, int]]
    unmatched: Mapping[str, int]
    state: FitState | None


@dataclass(frozen=True, kw_only=True)
class JoinPart:
    """Worker: one Parquet file of the events, whose stem names the files that are written.

    Attributes:
        plan: The checked task.
        views: View name -> its rows, or a Ray object reference to them.
        uri: Folder of the joined rows.
        fitting: What is fitted in this pass; None when all is fitted already.
    """

    plan: Plan
    views: Mapping[str, Any]
    uri: str
    fitting: Fitting | None

    def __call__(self, source: tuple[str, str]) -> JoinedPart:
        """Join, label, split and write the file at `source` = (stem, uri); fit its training rows."""
        stem, uri = source
        plan, timed = self.plan, self.plan.task.prediction_time is not None
        events = pq.read_table(path_of(uri), columns=list(plan.event_columns), filesystem=arrow_filesystem(uri))
        joined = with_derived(enrich(events, plan, self.views), plan.derive, plan.derive)
        label = label_of(joined, plan)
        splits = plan.split.assign(joined, key=plan.key, at=JOINED_AT if timed else None)
        reasons = pc.if_else(
            pc.is_null(label), UNLABELLED, pc.if_else(pc.is_null(splits), OUTSIDE, pa.scalar(None, pa.string()))
        )
        rows = joined.select([*plan.kept, *([JOINED_AT] if timed else [])]).append_column(JOINED_LABEL, label)
        aside = Counter(self._named(r) for r in reasons.drop_null().to_pylist())
        by_split = {name: rows.filter(pc.and_(pc.is_null(reasons), pc.equal(splits, name))) for name in SPLITS}
        for name, table in by_split.items():
            if table.num_rows:
                write_rows(rows_uri(self.uri, name, stem), table)
        train = by_split["train"]
        return JoinedPart(
            rows=RowCounts(events.num_rows, sum(t.num_rows for t in by_split.values()), dict(sorted(aside.items()))),
            num_rows={name: t.num_rows for name, t in by_split.items()},
            times={name: _bounds(t) for name, t in by_split.items() if timed and t.num_rows > t.column(JOINED_AT).null_count},
            labels={name: _label_counts(t, plan) for name, t in by_split.items()},
            unmatched=_unmatched(joined, plan),
            state=self.fitting.fit(train, stem) if self.fitting is not None and train.num_rows else None,
        )

    def _named(self, reason: str) -> str:
        return self.plan.task.unlabelled or UNLABELLED if reason == UNLABELLED else reason


def enrich(events: pa.Table, plan: Plan, views: Mapping[str, Any]) -> pa.Table:
    """`events` with the prediction time, the columns of all views, and the derived columns that these need.

    Args:
        events: Rows with `plan.scoring_columns`.
        plan: The checked task.
        views: View name -> its rows, or a Ray object reference to them.
    """
    task = plan.task
    events = with_derived(events, task.derive, before_views(task))
    if task.prediction_time:
        at = compile_expression(task.prediction_time).evaluate(events)
        events = events.append_column(JOINED_AT, chunked(at).cast(_INSTANT))
    for name, view in task.views.items():
        events = join_view(events, name, view, fetch(views[name]), at=JOINED_AT if view.event_time else None)
    return events


def fetch(rows: Any) -> pa.Table:
    """The table behind a Ray object reference, or the table itself."""
    import ray

    return ray.get(rows) if isinstance(rows, ray.ObjectRef) else rows


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
    counts = pc.value_counts(rows.column(JOINED_LABEL).cast(pa.string()))
    return {c["values"]: c["counts"] for c in counts.to_pylist()}


def _unmatched(rows: pa.Table, plan: Plan) -> dict[str, int]:
    """Rows for which a view gave nothing: all its columns are null."""
    out = {}
    for name, view in plan.task.views.items():
        nulls = [pc.is_null(rows.column(f"{name}_{column}")) for column in view.columns]
        missing = nulls[0]
        for null in nulls[1:]:
            missing = pc.and_(missing, null)
        out[name] = int(pc.sum(missing).as_py() or 0)
    return out
