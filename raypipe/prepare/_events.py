"""The driver of stage one: from table versions to joined rows, and the merged state of the features fitted in the same pass."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import chain
from operator import add
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raypipe.core.errors import EmptySplit, LabelError, SourceError
from raypipe.core.fragments import map_fragments, share
from raypipe.core.storage import arrow_filesystem, join, path_of, write_json
from raypipe.core.tensors import Target
from raypipe.features import FitState, merge_states
from raypipe.joins import FeatureView, Joins, check_view
from raypipe.prepare._fitting import Fitting
from raypipe.prepare._join import UNLABELLED, JoinedPart, JoinPart
from raypipe.prepare._joined import JOINED_MANIFEST, Joined
from raypipe.prepare._plan import Plan
from raypipe.split import SPLITS
from raypipe.tables import TableRef


@dataclass(frozen=True, kw_only=True)
class JoinedEvents:
    """Joined rows, and the state of all training rows when features were fitted with them."""

    joined: Joined
    state: FitState | None


def join_events(
    plan: Plan, tables: Mapping[str, TableRef], joins: Joins, *, uri: str, digest: str, fitting: Fitting | None
) -> JoinedEvents:
    """Join, label, split and write all events at `uri`; `fitting` fits the training rows in the same pass.

    Raises:
        SourceError: events without rows.
        LabelError, EmptySplit, ViewTooLarge, DuplicateKeys, FeatureError: before the rows are marked complete.
    """
    events = tables[plan.task.events]
    if not events.parts:
        way_out = "ingest a source with rows that the contract takes, or name another table under task.events"
        raise SourceError(events.label, "the events have no rows, so there are no training rows", way_out)
    views = broadcast_views(plan, tables, joins)
    sources = [(f"{i:05d}", events.part_uri(part)) for i, part in enumerate(events.parts)]
    work = JoinPart(plan=plan, views=views, uri=uri, fitting=fitting)
    parts: list[JoinedPart] = []
    states = _states(map_fragments(work, sources, title="join, label and split"), parts)
    first = next(states, None)  # there is none without training rows, or with nothing to fit
    state = None if first is None else merge_states(chain([first], states))
    num_rows = {name: sum(part.num_rows[name] for part in parts) for name in SPLITS}
    stems = [stem for stem, _ in sources]
    joined = Joined(
        uri=uri,
        digest=digest,
        tables={name: tables[name].version for name in plan.tables},
        rows=reduce(add, (part.rows for part in parts)),
        num_rows=num_rows,
        times=_times(parts),
        target=_target(plan, parts, num_rows),
        columns=plan.kept,
        files={name: tuple(s for s, part in zip(stems, parts, strict=True) if part.num_rows[name]) for name in SPLITS},
        unmatched={name: sum(part.unmatched[name] for part in parts) for name in plan.task.views},
    )
    if fitting is not None and state is not None:
        state = fitting.finish(state, joined.files["train"])
    write_json(join(uri, JOINED_MANIFEST), joined.to_dict())
    return JoinedEvents(joined=joined, state=state)


def broadcast_views(plan: Plan, tables: Mapping[str, TableRef], joins: Joins) -> dict[str, Any]:
    """Each view read and checked by a Ray task; references into the object store, which every worker maps.

    Raises:
        ViewTooLarge, DuplicateKeys: naming the view.
    """
    loads = {
        name: _LoadView(
            name=name,
            view=view,
            uris=tuple(tables[view.table].part_uri(part) for part in tables[view.table].parts),
            schema=tables[view.table].schema,
            limit_bytes=joins.broadcast_bytes,
        )
        for name, view in plan.task.views.items()
    }
    return share(loads)


@dataclass(frozen=True, kw_only=True)
class _LoadView:
    """Worker: all rows of one view; `schema` is that of its table, which may have no parts."""

    name: str
    view: FeatureView
    uris: tuple[str, ...]
    schema: pa.Schema
    limit_bytes: int

    def __call__(self) -> pa.Table:
        columns = list(self.view.table_columns)
        read = [pq.read_table(path_of(uri), columns=columns, filesystem=arrow_filesystem(uri)) for uri in self.uris]
        rows = pa.concat_tables(read) if read else self.schema.empty_table()
        return check_view(self.name, self.view, rows, limit_bytes=self.limit_bytes)


def _states(parts: Iterator[JoinedPart], counted: list[JoinedPart]) -> Iterator[FitState]:
    """The states of the parts in their order; the driver holds one at a time, and in `counted` the rest of each part."""
    for part in parts:
        counted.append(replace(part, state=None))
        if part.state is not None:
            yield part.state


def _target(plan: Plan, parts: Sequence[JoinedPart], num_rows: Mapping[str, int]) -> Target:
    task = plan.task
    nulls = sum(part.rows.set_aside.get(UNLABELLED, 0) for part in parts)
    if nulls and task.unlabelled is None:
        total = sum(part.rows.rows_in for part in parts)
        way_out = "name the reason with task.unlabelled=TEXT to set them aside, or correct the label"
        raise LabelError(task.name, f"null in {nulls} of {total} rows", way_out)
    for name in SPLITS:
        if not num_rows[name]:
            raise EmptySplit(name, num_rows)
    if task.kind == "regression":
        return Target(kind="regression", name=task.name)
    counts = {name: sum((Counter(part.labels[name]) for part in parts), Counter()) for name in SPLITS}
    for name in SPLITS:
        if len(counts[name]) == 1:
            only = next(iter(counts[name]))
            raise LabelError(task.name, f"split {name} has one class only ({only})", "change the label or the split")
    classes = ("false", "true") if task.kind == "binary" else tuple(sorted(counts["train"]))
    unseen = sorted({label for name in SPLITS for label in counts[name]} - set(classes))
    if unseen:
        raise LabelError(
            task.name, f"class {unseen[0]} is not among the training rows", "change the split or group rare classes"
        )
    return Target(kind=task.kind, name=task.name, classes=classes)


def _times(parts: Sequence[JoinedPart]) -> dict[str, tuple[str, str]]:
    found = {name: [part.times[name] for part in parts if name in part.times] for name in SPLITS}
    return {name: (min(t[0] for t in times), max(t[1] for t in times)) for name, times in found.items() if times}
