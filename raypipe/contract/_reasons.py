"""Why a cell or a row is refused: what was found and what was expected, in one short line. Personal values are masked."""

from collections.abc import Collection, Mapping
from datetime import date, datetime

from raypipe.contract._column import Column
from raypipe.contract._rules import HIDDEN, Rule, listed, not_of_type, shown


def masked(record: Mapping[str, object], personal: Collection[str]) -> dict[str, object]:
    """The record with ``***`` in place of personal values that are there."""
    return {name: HIDDEN if name in personal and value is not None else value for name, value in record.items()}


def explain(rule: Rule, column: Column, cell: object, *, naive: bool = False) -> str:
    """Why `cell` of `column` breaks `rule`.

    Args:
        rule: The rule.
        column: The column.
        cell: As it came; a time as text or as Python has it.
        naive: For `type`: whether the text is a time that lacks only its zone.
    """
    if rule == "null":
        return "is null"
    found = HIDDEN if column.pii else shown(_readable(cell))
    if rule == "type":
        return not_of_type(column.type, found, naive=naive)
    broken = {
        "min": f"is less than {_bound(column.min)}",
        "max": f"is more than {_bound(column.max)}",
        "min_length": f"is shorter than {column.min_length}",
        "max_length": f"is longer than {column.max_length}",
        "one_of": f"is not one of {listed(column.one_of or ())}",
        "regex": f"does not match {column.regex}",
        "outliers": "is an outlier",
    }
    return f"{found} {broken[rule]}"


def explain_row(expected: str, values: Mapping[str, object], columns: Mapping[str, Column]) -> str:
    """Why a row with these values does not meet what was expected."""
    found = (f"{name}={HIDDEN if columns[name].pii else shown(_readable(value))}" for name, value in values.items())
    return f"expected {' '.join(expected.split())}; found {', '.join(found)}"


def _bound(bound: float | str | None) -> str:
    return f"{bound:g}" if isinstance(bound, float) else str(bound)


def _readable(cell: object) -> object:
    return cell.isoformat() if isinstance(cell, (date, datetime)) else cell
