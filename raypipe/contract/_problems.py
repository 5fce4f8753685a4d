"""What is wrong with a contract as a whole: rules that name columns it does not have, or types that they cannot take."""

from collections.abc import Iterator, Mapping
from typing import Protocol

from raypipe.contract._column import Column
from raypipe.contract._judge import drift_kinds
from raypipe.contract._rows import OverRow
from raypipe.contract._steps import Computed
from raypipe.contract._table_rules import Drift, Duplicates, ForeignKey, Freshness, Latest, RowRule
from raypipe.core.naming import did_you_mean

_NUMBERS, _TIMES = ("int64", "float64"), ("timestamp", "date")


class Declared(Protocol):
    """The settings of a contract."""

    @property
    def columns(self) -> Mapping[str, Column]:
        """By name."""

    @property
    def key(self) -> tuple[str, ...]:
        """Columns of the key."""

    @property
    def duplicates(self) -> Duplicates:
        """What becomes of repeated keys."""

    @property
    def rules(self) -> Mapping[str, RowRule]:
        """Conditions."""

    @property
    def unique(self) -> tuple[tuple[str, ...], ...]:
        """Other keys."""

    @property
    def foreign_keys(self) -> Mapping[str, ForeignKey]:
        """By name."""

    @property
    def freshness(self) -> Freshness | None:
        """Age of the newest row."""

    @property
    def distribution(self) -> Mapping[str, Drift]:
        """By column."""


def problems_of(contract: Declared) -> Iterator[str]:
    """One line for each thing that does not fit, the most basic first."""
    yield from _of_names(contract)
    yield from _of_keys(contract)
    yield from _of_expressions(contract)
    yield from _of_personal(contract)
    yield from _of_tables(contract)


def _of_names(contract: Declared) -> Iterator[str]:
    known = list(contract.columns)
    named = [("key", name) for name in contract.key]
    named += [("unique", name) for columns in contract.unique for name in columns]
    named += [(f"foreign_keys.{key}", name) for key, foreign in contract.foreign_keys.items() for name in foreign.columns]
    named += [("distribution", name) for name in contract.distribution]
    named += [("freshness", contract.freshness.column)] if contract.freshness else []
    named += [("duplicates.latest", contract.duplicates.latest)] if isinstance(contract.duplicates, Latest) else []
    for what, name in named:
        if name not in known:
            yield f"{what} column {name} is not among the columns{did_you_mean(name, known)}"


def _of_keys(contract: Declared) -> Iterator[str]:
    for what, columns in [("key", contract.key), *(("unique", columns) for columns in contract.unique)]:
        if len(set(columns)) != len(columns):
            yield f"{what} names a column twice: {', '.join(columns)}"
        for name in columns:
            if name in contract.columns and contract.columns[name].arrow_type.num_fields:
                yield f"{what} column {name} is a list; a key is made of single values"
    for name in contract.key:
        if name in contract.columns and contract.columns[name].optional:
            yield f"key column {name} is optional, and a key is never null"
    if contract.duplicates != "refuse" and not contract.key:
        yield "duplicates are told by the key, and there is none"


def _of_expressions(contract: Declared) -> Iterator[str]:
    for name, rule in contract.rules.items():
        if problem := OverRow(rule.expect, contract.columns).problem("bool"):
            yield f"rules.{name}: {problem}"
    for name, column in contract.columns.items():
        for step in column.clean:
            if isinstance(step, Computed) and (problem := OverRow(step.expression, contract.columns).problem(column.type)):
                yield f"columns.{name}.clean: {problem}"
    for name in contract.rules:
        if name in contract.foreign_keys:
            yield f"{name} is the name of a rule and of a foreign key; counts would be mixed"


def _of_personal(contract: Declared) -> Iterator[str]:
    personal = {name for name, column in contract.columns.items() if column.pii}
    freshness = contract.freshness
    if freshness and freshness.column in personal:
        yield f"freshness.column {freshness.column} is personal, and its newest value would be shown"
    for name in (name for name in contract.distribution if name in personal):
        yield f"distribution.{name}: the column is personal, and its profile would be kept with each version"
    for name, column in contract.columns.items():
        read = {source for step in column.clean if isinstance(step, Computed) for source in step.columns}
        for source in sorted(read & personal - {name}) if not column.pii else ():
            yield f"columns.{name} is made from {source}, which is personal; say pii: true for it, too"


def _of_tables(contract: Declared) -> Iterator[str]:
    kinds = {name: column.type for name, column in contract.columns.items()}
    freshness, duplicates = contract.freshness, contract.duplicates
    if freshness and (kind := kinds.get(freshness.column)) not in _TIMES:
        yield f"freshness.column {freshness.column} is {kind}, not a timestamp or a date"
    if isinstance(duplicates, Latest) and (kind := kinds.get(duplicates.latest)) not in (*_NUMBERS, *_TIMES):
        yield f"duplicates.latest {duplicates.latest} is {kind}, which has no order in time"
    for name, drift in contract.distribution.items():
        has_psi, has_mean = drift_kinds(kinds.get(name, ""))
        if drift.max_psi is not None and not has_psi:
            yield f"distribution.{name}: max_psi is not for {kinds.get(name)}, which moves with the table's age"
        if drift.max_mean_shift is not None and not has_mean:
            yield f"distribution.{name}: max_mean_shift is for numbers, not {kinds.get(name)}"
