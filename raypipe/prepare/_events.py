"""The driver of stage one: from table versions to joined rows, and the merged state of the features fitted in the same pass."""

import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import chain
from operator import add
from typing import Any

import pyarrow as pa

from raypipe.core.errors import EmptySplit, LabelError, SourceError
from raypipe.core.fragments import map_fragments
from raypipe.core.storage import join, write_json
from raypipe.core.tensors import Target
from raypipe.features import FitState, merge_states
from raypipe.joins import Joins
from raypipe.prepare._fitting import Fitting
from raypipe.prepare._join import UNLABELLED, AskPart, JoinedPart, JoinPart, for_split, stem_of
from raypipe.prepare._joined import ASIDE, JOINED_AT, JOINED_MANIFEST, Joined
from raypipe.prepare._plan import Plan
from raypipe.prepare._views import placed_views
from raypipe.split import ALL_SPLITS, Split, fit_split, splits_of
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
        ConfigError: rows that cannot be split as asked.
        LabelError, EmptySplit, ViewTooLarge, DuplicateKeys, FeatureError: before the rows are marked complete.
    """
    events = tables[plan.task.events]
    if not events.parts:
        way_out = "ingest a source with rows that the contract takes, or name another table under task.events"
        raise SourceError(events.label, "the events have no rows, so there are no training rows", way_out)
    sources = [(i, events.part_uri(part)) for i, part in enumerate(events.parts)]
    parts: list[JoinedPart] = []
    with placed_views(plan, tables, joins, scratch=join(uri, ASIDE, uuid.uuid4().hex)) as views:
        ready = replace(plan, split=_fitted_split(plan, views, events, sources))
        work = JoinPart(plan=ready, schema=events.schema, views=views, uri=uri, fitting=fitting)
        states = _states(map_fragments(work, sources, title="join, label and split"), parts)
        first = next(states, None)  # there is none without training rows, or with nothing to fit
        state = None if first is None else merge_states(chain([first], states))
    counted = {name: sum(part.num_rows[name] for part in parts) for name in ALL_SPLITS}
    num_rows = {name: num for name, num in counted.items() if num or name in splits_of(plan.split)}
    stems = [stem_of(part) for part, _ in sources]
    why = {name: reduce(add, (Counter(part.unmatched[name]) for part in parts)) for name in plan.task.views}
    joined = Joined(
        uri=uri,
        digest=digest,
        tables={name: tables[name].version for name in plan.tables},
        rows=reduce(add, (part.rows for part in parts)),
        num_rows=num_rows,
        times=_times(parts),
        target=_target(plan, parts, num_rows),
        columns=plan.kept,
        files={name: tuple(s for s, part in zip(stems, parts, strict=True) if part.num_rows[name]) for name in num_rows},
        unmatched={name: counts.total() for name, counts in why.items()},
        unmatched_why={name: dict(sorted(counts.items())) for name, counts in why.items()},
    )
    if fitting is not None and state is not None:
        state = fitting.finish(state, joined.files["train"])
    write_json(join(uri, JOINED_MANIFEST), joined.to_dict())
    return JoinedEvents(joined=joined, state=state)


def _fitted_split(plan: Plan, views: Mapping[str, Any], events: TableRef, sources: Sequence[tuple[int, str]]) -> Split:
    """The split that assigns rows, after the passes over the events that it asks for."""
    lean = for_split(plan)

    def ask(question: Callable[[pa.Table], Any], /) -> Iterable[Any]:
        work = AskPart(plan=lean, schema=events.schema, views=views, question=question)
        return map_fragments(work, sources, title="look at the rows to split")

    return fit_split(plan.split, ask, key=plan.key, at=JOINED_AT if plan.task.prediction_time else None)


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
    for name in num_rows:
        if not num_rows[name]:
            raise EmptySplit(name, num_rows)
    if task.kind == "regression":
        return Target(kind="regression", name=task.name)
    counts = {name: sum((Counter(part.labels[name]) for part in parts), Counter()) for name in num_rows}
    for name in num_rows:
        if len(counts[name]) == 1:
            only = next(iter(counts[name]))
            raise LabelError(task.name, f"split {name} has one class only ({only})", "change the label or the split")
    classes = ("false", "true") if task.kind == "binary" else tuple(sorted(counts["train"]))
    unseen = sorted({label for name in num_rows for label in counts[name]} - set(classes))
    if unseen:
        raise LabelError(
            task.name, f"class {unseen[0]} is not among the training rows", "change the split or group rare classes"
        )
    return Target(kind=task.kind, name=task.name, classes=classes)


def _times(parts: Sequence[JoinedPart]) -> dict[str, tuple[str, str]]:
    found = {name: [part.times[name] for part in parts if name in part.times] for name in ALL_SPLITS}
    return {name: (min(t[0] for t in times), max(t[1] for t in times)) for name, times in found.items() if times}
