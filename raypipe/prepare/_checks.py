"""What can be wrong with a task before any row is read: names, types, times, and features that are known only later."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from raypipe.contract import Column
from raypipe.core.errors import FeatureError, LabelError, LeakyColumn
from raypipe.core.naming import did_you_mean
from raypipe.expressions import compile_expression
from raypipe.features import FeatureSet
from raypipe.joins import view_column
from raypipe.prepare._declared import Declared
from raypipe.prepare._derive import derivations, raw_columns
from raypipe.prepare._task import Task
from raypipe.split import KFold, PredefinedSplit, Split, StratifiedSplit


@dataclass(frozen=True, kw_only=True)
class Available:
    """A raw column that an event has after the joins: ``request`` or ``view:NAME``, its table, and its declaration."""

    source: str
    table: str
    column: Column


def available_columns(task: Task, tables: Mapping[str, Declared]) -> dict[str, Available]:
    """Every raw column that an event has after the joins. A column of a view may be null: a row may have no match.

    A column of an exact view that is known later than its row stays known later; an as-of view says by its event time
    when its rows are known.
    """
    events = tables[task.events].contract
    out = {name: Available(source="request", table=task.events, column=column) for name, column in events.columns.items()}
    for name, view in task.views.items():
        for column in view.columns:
            declared = tables[view.table].contract.columns[column]
            known = "before" if view.event_time else declared.known
            found = Column(type=declared.type, nullable=True, known=known, pii=declared.pii)
            out[view_column(name, column)] = Available(source=f"view:{name}", table=view.table, column=found)
    return out


def unknown_tables(task: Task, tables: Mapping[str, Declared]) -> Iterator[str]:
    """Tables, and columns of views, that are not declared."""
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


def repeated_names(task: Task, tables: Mapping[str, Declared]) -> Iterator[str]:
    """Columns that a derivation or a view would make a second time."""
    taken = dict.fromkeys(tables[task.events].contract.columns, f"in table {task.events}")
    made = [(name, f"task.derive.{name}") for name in task.derive]
    made += [(view_column(name, column), f"task.views.{name}") for name, view in task.views.items() for column in view.columns]
    for name, where in made:
        if name in taken:
            yield f"{where}: column {name} is {taken[name]} already; choose another name"
        taken[name] = f"made by {where}"


def unknown_columns(
    task: Task, features: FeatureSet, split: Split, slices: tuple[str, ...], *, available: Mapping[str, Available]
) -> Iterator[str]:
    """Columns that the task uses and that no event has."""
    known = [*available, *task.derive]
    uses = {
        "features": features.input_columns,
        "task.label": compile_expression(task.label).columns,
        "split": split.columns,
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


def time_problems(task: Task, split: Split) -> Iterator[str]:
    """Splits and views that need a prediction time where the task has none."""
    if task.prediction_time:
        return
    if split.by_time:
        yield "task.prediction_time is missing: a split by time needs it"
    for name, view in task.views.items():
        if view.event_time:
            yield f"task.prediction_time is missing: view {name} is joined as of it"


def type_problems(task: Task, tables: Mapping[str, Declared], schema: pa.Schema) -> Iterator[str]:
    """Values of the wrong type for what they are used for. `schema` holds raw and derived columns."""
    if task.prediction_time:
        found = compile_expression(task.prediction_time).type_in(schema)
        if not pa.types.is_timestamp(found):
            yield f"task.prediction_time: {task.prediction_time} gives {found}, expected a timestamp"
    for name, view in task.views.items():
        contract = tables[view.table].contract.schema
        for setting, column in (("event_time", view.event_time), ("known_time", view.known_time)):
            if column and not pa.types.is_timestamp(contract.field(column).type):
                yield f"task.views.{name}.{setting}: {column} is {contract.field(column).type}, not a timestamp"
        for left, right in view.entity.items():
            ours, theirs = schema.field(left).type, contract.field(right).type
            if ours != theirs:
                yield f"task.views.{name}.entity: {left} is {ours} but {view.table}.{right} is {theirs}; give both one type"


def split_problems(task: Task, split: Split, schema: pa.Schema) -> Iterator[str]:
    """Splits by classes where there are none, and by a column that names no split. `schema` holds raw and derived columns."""
    if isinstance(split, StratifiedSplit | KFold) and split.needs_classes and task.kind == "regression":
        setting = "split.by" if isinstance(split, StratifiedSplit) else "split.stratify"
        problem = f"split: {type(split).__name__} by the label needs classes, and task.kind is regression"
        yield f"{problem}; name columns under {setting}"
    if isinstance(split, PredefinedSplit):
        found = schema.field(split.column).type
        if not (pa.types.is_string(found) or pa.types.is_integer(found) or pa.types.is_boolean(found)):
            yield f"split.column: {split.column} is {found}; expected text, whole numbers or booleans"


def derived_schema(task: Task, schema: pa.Schema) -> pa.Schema:
    """`schema` with the derived columns.

    Raises:
        FeatureError: naming the expression that does not fit its columns.
    """
    for name, expression in derivations(task.derive, task.derive):
        schema = schema.append(pa.field(name, expression.type_in(schema)))
    return schema


def check_label_type(task: Task, found: pa.DataType) -> None:
    """Refuse a label whose type is not that of its kind of task.

    Raises:
        LabelError: with the way out.
    """
    number = pa.types.is_integer(found) or pa.types.is_floating(found)
    if task.kind == "binary" and not pa.types.is_boolean(found):
        raise LabelError(task.name, f"{task.label} gives {found}, not true or false", "write a comparison such as x > 15")
    if task.kind == "multiclass" and pa.types.is_floating(found):
        raise LabelError(task.name, f"{task.label} gives decimal numbers", "use task.kind=regression or a column of classes")
    if task.kind == "regression" and not number:
        raise LabelError(task.name, f"{task.label} gives {found}, not a number", "use task.kind=binary or multiclass")


def check_known(task: Task, features: FeatureSet, available: Mapping[str, Available]) -> None:
    """Refuse features on values that are known only after the prediction, and on what the label is made of.

    Raises:
        LeakyColumn: naming the feature and the column, that of a view's entity included.
        FeatureError: naming the feature and the column that the label reads, too.
    """
    label = raw_columns(task.derive, compile_expression(task.label).columns)
    for feature in features.features:
        for column in features.raw_columns_of(feature):
            for used in (column, *_entity_of(available[column].source, task)):
                if available[used].column.known == "later":
                    raise LeakyColumn(feature, used, available[used].table)
                if used in label:
                    way_out = "take it out, or set task.leak_guard=false where its value is known at the prediction"
                    raise FeatureError(feature, f"uses column {used}, of which the label is made ({task.label})", way_out)


def _entity_of(source: str, task: Task) -> tuple[str, ...]:
    if not source.startswith("view:"):
        return ()
    return raw_columns(task.derive, task.views[source.removeprefix("view:")].entity)
