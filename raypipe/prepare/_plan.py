"""The plan: everything that can be known, and refused, before a cluster is started.

It resolves which raw columns of which tables the task needs, where each feature input comes from, and refuses a feature
that uses what is known only later, or what the label is made of.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import pyarrow as pa

from raypipe.contract import Column, Computed, Contract
from raypipe.core.errors import ConfigError
from raypipe.expressions import compile_expression
from raypipe.features import FeatureSet
from raypipe.joins import view_column
from raypipe.prepare import _checks as checks
from raypipe.prepare._declared import Declared
from raypipe.prepare._derive import derivations, raw_columns
from raypipe.prepare._folds import check_labels
from raypipe.prepare._task import Task
from raypipe.split import Split
from raypipe.tables import TableRef


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
        kept: Columns of the joined rows: the key, all columns of events and views that are known in time, slices, and the
            columns of the split. They do not depend on the features (those on columns known later apart, which only a
            task without the leak guard has), so that other features, and an earlier champion, find theirs.
        derive: The derived columns that the joined rows need, with their expressions; features derive their own.
        inputs: The contract of the feature inputs, as a request or a joined row carries them.
        sources: Input column -> ``request`` or ``view:NAME``.
        reads: Table -> the columns that are read of it, as declared.
        personal: Columns of events and views with personal data.
    """

    task: Task
    split: Split
    features: FeatureSet
    key: tuple[str, ...]
    event_columns: tuple[str, ...]
    scoring_columns: tuple[str, ...]
    kept: tuple[str, ...]
    derive: Mapping[str, str]
    inputs: Contract
    sources: Mapping[str, str]
    reads: Mapping[str, pa.Schema]
    personal: tuple[str, ...] = ()

    @property
    def tables(self) -> tuple[str, ...]:
        """Tables that the task reads, the events first."""
        return tuple(dict.fromkeys((self.task.events, *(v.table for v in self.task.views.values()))))

    def check_tables(self, tables: Mapping[str, TableRef]) -> None:
        """Refuse tables that were ingested under other declarations than those of the configuration.

        Raises:
            ConfigError: naming the table, the column, and what to run.
        """
        _check_schemas(tables, self.reads)

    def check_scored_tables(self, tables: Mapping[str, TableRef]) -> None:
        """The same for tables to score, which need not have what only the label needs.

        Raises:
            ConfigError: naming the table, the column, and what to run.
        """
        events = self.reads[self.task.events]
        needed = pa.schema([events.field(name) for name in self.scoring_columns])
        _check_schemas(tables, {**self.reads, self.task.events: needed})


def make_plan(
    task: Task, split: Split, features: FeatureSet, tables: Mapping[str, Declared], *, slices: tuple[str, ...] = ()
) -> Plan:
    """Check the task against the declared tables. `slices` are columns that evaluation breaks its numbers down by.

    Raises:
        ConfigError: for tables, columns or views that do not exist, all at once.
        LeakyColumn: for a feature on a column that is known only later.
        FeatureError: for a feature on a column that the label is made of, or that does not fit its columns.
    """
    _refuse([*checks.unknown_tables(task, tables)])
    events = tables[task.events].contract
    available = checks.available_columns(task, tables)
    keyless = f"data.tables.{task.events}.contract.key is empty: an event table needs a unique row key"
    _refuse(
        [
            *checks.unknown_columns(task, features, split, slices, available=available),
            *checks.repeated_names(task, tables),
            *checks.time_problems(task, split),
            *([] if events.key else [keyless]),
        ]
    )
    if task.leak_guard:
        checks.check_known(task, features, available)
    raw_schema = pa.schema([(name, found.column.arrow_type) for name, found in available.items()])
    features.check(raw_schema)
    schema = checks.derived_schema(task, raw_schema)
    _refuse([*checks.type_problems(task, tables, schema), *checks.split_problems(task, split, schema)])
    checks.check_label_type(task, compile_expression(task.label).type_in(schema))
    check_labels(features, task.kind, split)
    raw = {*events.key, *features.input_columns, *raw_columns(task.derive, before_views(task))}
    comparable = _comparable(task, events)
    used = (*before_views(task), *compile_expression(task.label).columns, *split.columns, *slices)
    labelled = {*raw, *comparable, *raw_columns(task.derive, used)}
    event_columns = tuple(name for name in events.columns if name in labelled)
    inputs = {name: available[name] for name in features.input_columns}
    _refuse([*_unreadable(task, {name: found.column for name, found in inputs.items()})])
    known = [*comparable, *_view_columns(task)]
    later = sorted({*slices, *split.columns, *features.input_columns} - {*events.key, *known})
    return Plan(
        task=task,
        split=split,
        features=features,
        key=events.key,
        event_columns=event_columns,
        scoring_columns=tuple(name for name in events.columns if name in raw),
        kept=tuple(dict.fromkeys((*events.key, *known, *later))),
        derive={name: expression.text for name, expression in derivations(task.derive, used)},
        inputs=Contract(columns={name: _as_input(name, found.column, events) for name, found in inputs.items()}),
        sources={name: found.source for name, found in inputs.items()},
        reads=_reads(task, tables, event_columns),
        personal=tuple(name for name, found in available.items() if found.column.pii),
    )


def _unreadable(task: Task, inputs: Mapping[str, Column]) -> Iterator[str]:
    """Inputs that a request could not be cleaned for, as it lacks what their cleaning reads."""
    for name, column in inputs.items():
        for read in (read for step in column.clean if isinstance(step, Computed) for read in step.columns):
            if read not in inputs:
                where = f"data.tables.{task.events}.contract.columns.{name}"
                yield f"{where}: a feature reads it, and it is cleaned by an expression over {read}, which no feature reads"


def _as_input(name: str, column: Column, events: Contract) -> Column:
    """A key column is never null, in a request as in a table."""
    return replace(column, nullable=False) if name in events.key else column


def _comparable(task: Task, events: Contract) -> list[str]:
    """Event columns known in time: an earlier champion with other features is scored on the same joined rows."""
    return [name for name, column in events.columns.items() if column.known == "before" and name not in task.derive]


def _view_columns(task: Task) -> list[str]:
    return [view_column(name, column) for name, view in task.views.items() for column in view.columns]


def _refuse(problems: list[str]) -> None:
    if problems:
        raise ConfigError(problems)


def _reads(task: Task, tables: Mapping[str, Declared], event_columns: tuple[str, ...]) -> dict[str, pa.Schema]:
    columns = {task.events: list(event_columns)}
    for view in task.views.values():
        columns.setdefault(view.table, []).extend(view.table_columns)
    return {
        table: pa.schema([(name, tables[table].contract.columns[name].arrow_type) for name in dict.fromkeys(names)])
        for table, names in columns.items()
    }


def before_views(task: Task) -> tuple[str, ...]:
    """Raw and derived columns that an event needs before any view is joined: those of its time and of the entities."""
    time = compile_expression(task.prediction_time).columns if task.prediction_time else ()
    return tuple(dict.fromkeys((*time, *(column for view in task.views.values() for column in view.entity))))


def _check_schemas(tables: Mapping[str, TableRef], reads: Mapping[str, pa.Schema]) -> None:
    _refuse(
        [
            f"table {tables[name].label} has no column {field.name} of type {field.type}, which data.tables.{name} declares: "
            "it was ingested under another contract; run python jobs/ingest.py with this experiment"
            for name, schema in reads.items()
            for field in schema
            if field.name not in tables[name].schema.names or tables[name].schema.field(field.name).type != field.type
        ]
    )
