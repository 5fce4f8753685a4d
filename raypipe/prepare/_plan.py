"""The plan: everything that can be known, and refused, before a cluster is started.

It resolves which raw columns of which tables the task needs, where each feature input comes from, and refuses a feature
that uses what is known only later.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from raypipe.contract import Column, Contract
from raypipe.core.errors import ConfigError, LeakyColumn
from raypipe.core.naming import did_you_mean
from raypipe.expressions import compile_expression
from raypipe.features import FeatureSet
from raypipe.ingest import TableSpec
from raypipe.joins import view_column
from raypipe.prepare._task import Task
from raypipe.split import Split


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A checked task.

    Attributes:
        task: What is to be predicted.
        split: How rows are assigned.
        features: What the model sees.
        key: The row key of the events.
        event_columns: Columns read from the events table to train and evaluate.
        scoring_columns: Columns read from a table of events to score; what only the label needs is not among them.
        kept: Columns of the joined rows: key, feature inputs, slices.
        inputs: The contract of the feature inputs, as a request or a joined row carries them.
        sources: Input column -> ``request`` or ``view:NAME``.
    """

    task: Task
    split: Split
    features: FeatureSet
    key: tuple[str, ...]
    event_columns: tuple[str, ...]
    scoring_columns: tuple[str, ...]
    kept: tuple[str, ...]
    inputs: Contract
    sources: Mapping[str, str]

    @property
    def tables(self) -> tuple[str, ...]:
        """Tables that the task reads, the events first."""
        return tuple(dict.fromkeys((self.task.events, *(v.table for v in self.task.views.values()))))


def make_plan(
    task: Task, split: Split, features: FeatureSet, tables: Mapping[str, TableSpec], *, slices: tuple[str, ...] = ()
) -> Plan:
    """Check the task against the declared tables. `slices` are columns that evaluation breaks its numbers down by.

    Raises:
        ConfigError: for tables, columns or views that do not exist, all at once.
        LeakyColumn: for a feature on a column that is known only later.
    """
    problems = list(_unknown_tables(task, tables))
    if problems:
        raise ConfigError(problems)
    events = tables[task.events].contract
    available = _available(task, tables)
    problems = [*_unknown_columns(task, features, slices, available), *_time_problems(task, split)]
    if not events.key:
        problems.append(f"data.tables.{task.events}.contract.key is empty: an event table needs a unique row key")
    if problems:
        raise ConfigError(problems)
    if task.leak_guard:
        _check_known(task, features, available)
    raw = _raw_columns(task, features, slices)
    scoring = [name for name in (*events.key, *raw) if name in events.columns]
    labelled = [*scoring, *compile_expression(task.label).columns]
    inputs = {name: available[name][1] for name in features.input_columns}
    kept = dict.fromkeys((*events.key, *features.input_columns, *slices))
    return Plan(
        task=task,
        split=split,
        features=features,
        key=events.key,
        event_columns=tuple(dict.fromkeys(name for name in labelled if name in events.columns)),
        scoring_columns=tuple(dict.fromkeys(scoring)),
        kept=tuple(kept),
        inputs=Contract(columns=inputs),
        sources={name: available[name][0] for name in inputs},
    )


def _unknown_tables(task: Task, tables: Mapping[str, TableSpec]) -> Iterator[str]:
    if task.events not in tables:
        yield f"task.events: no table {task.events!r} under data.tables{did_you_mean(task.events, list(tables))}"
    for name, view in task.views.items():
        if view.table not in tables:
            yield f"task.views.{name}.table: no table {view.table!r} under data.tables{did_you_mean(view.table, list(tables))}"
            continue
        known = list(tables[view.table].contract.columns)
        for column in view.table_columns:
            if column not in known:
                yield f"task.views.{name}: table {view.table} has no column {column!r}{did_you_mean(column, known)}"


def _available(task: Task, tables: Mapping[str, TableSpec]) -> dict[str, tuple[str, Column]]:
    """Every raw column that an event has after the joins: where it comes from and what it is."""
    out = {name: ("request", column) for name, column in tables[task.events].contract.columns.items()}
    for name, view in task.views.items():
        for column in view.columns:
            declared = tables[view.table].contract.columns[column]
            out[view_column(name, column)] = (f"view:{name}", Column(type=declared.type, nullable=True))
    return out


def _unknown_columns(
    task: Task, features: FeatureSet, slices: tuple[str, ...], available: Mapping[str, tuple[str, Column]]
) -> Iterator[str]:
    known = [*available, *task.derive]
    uses = {
        "features": features.input_columns,
        "task.label": compile_expression(task.label).columns,
        "evaluator.slices": slices,
        **{f"task.views.{name}.entity": tuple(view.entity) for name, view in task.views.items()},
        **{f"task.derive.{name}": compile_expression(text).columns for name, text in task.derive.items()},
    }
    if task.prediction_time:
        uses["task.prediction_time"] = compile_expression(task.prediction_time).columns
    for where, columns in uses.items():
        for column in columns:
            if column not in known:
                yield f"{where}: no column {column!r} in the events or views{did_you_mean(column, known)}"


def _time_problems(task: Task, split: Split) -> Iterator[str]:
    if task.prediction_time:
        return
    if split.by_time:
        yield "task.prediction_time is missing: a split by time needs it"
    for name, view in task.views.items():
        if view.event_time:
            yield f"task.prediction_time is missing: view {name} is joined as of it"


def _check_known(task: Task, features: FeatureSet, available: Mapping[str, tuple[str, Column]]) -> None:
    for feature in features.features:
        for column in features.raw_columns_of(feature):
            source, declared = available[column]
            if declared.known == "later" and source == "request":
                raise LeakyColumn(feature, column, task.events)


def _raw_columns(task: Task, features: FeatureSet, slices: tuple[str, ...]) -> tuple[str, ...]:
    """Columns before any derivation that features, time, views and slices use."""
    texts = [*([task.prediction_time] if task.prediction_time else []), *task.derive.values()]
    used = [*features.input_columns, *slices, *(c for view in task.views.values() for c in view.entity)]
    for text in texts:
        used += compile_expression(text).columns
    return tuple(dict.fromkeys(used))
