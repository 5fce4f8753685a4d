"""Refused alike: the contract's check of records and its check of columns give each cell one verdict and one value.

A cell can be compared where a column of a table can hold it as what it is. Not so: text in a column of numbers, booleans
or lists (a CSV cell, which is parsed), a whole float in a column of integers (what pandas makes of integers with nulls),
lists of several types, objects, integers beyond 64 bits, text that UTF-8 cannot say. The check of records must refuse all
of these: columns never held such a value, so no model was trained on what it would be read as.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from raypipe.bundle._show import show_row, show_value
from raypipe.contract import Column, Contract, Records
from raypipe.core.errors import BundleError
from raypipe.core.kinds import LISTS

_PARSED = ("int64", "float64", "bool", *LISTS)
_ELEMENTS: Mapping[str, Column] = MappingProxyType(
    {"list<string>": Column(type="string"), "list<int64>": Column(type="int64"), "vector": Column(type="float64")}
)
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class _Verdict:
    """Of one cell of a column: the rule that it breaks, or its typed value."""

    rule: str
    value: Any = None

    def __str__(self) -> str:
        return f"refused ({self.rule})" if self.rule else f"taken as {show_value(self.value)}"


_NOT_HELD = _Verdict(rule="type")  # what the check of records must say of a cell that no table can hold


def check_refused_alike(inputs: Contract, records: Sequence[Mapping[str, Any]], read: Records, *, uri: str) -> None:
    """Refuse a contract whose two checks differ on `records`, of which `read` is what the check of records made.

    Raises:
        BundleError: naming the record, the column, and both verdicts.
    """
    refused = {bad["row"]: (bad["column"], bad["rule"]) for bad in read.bad.to_pylist()}
    rows = iter(read.rows)
    accepted = [None if i in refused else next(rows) for i in range(len(records))]
    by_column = {name: _column_verdicts(inputs, name, records) for name in inputs.columns}
    for i, row in enumerate(accepted):
        column, rule = refused.get(i, ("", ""))
        for name, verdicts in by_column.items():
            found = verdicts.get(i, _NOT_HELD)
            expected = rule if name == column else ""
            if found.rule != expected or (row is not None and not _same(found.value, row[name])):
                in_record = "taken" if row is None and not expected else _Verdict(rule=expected, value=row and row[name])
                in_table = "has to be refused (type), as no table holds it" if found is _NOT_HELD else f"{found} in a table"
                problem = f"hostile row {i}: column {name} is {in_record} in a record, and {in_table}"
                raise BundleError(uri, f"{problem}; the row is {show_row(records[i])}")
            if name == column:
                break


def _column_verdicts(inputs: Contract, name: str, records: Sequence[Mapping[str, Any]]) -> dict[int, _Verdict]:
    """Verdicts of the check of columns on one column, by record; without the cells that a table cannot hold."""
    column = inputs.columns[name]
    rules = Contract(columns={name: column}, key=(name,) if name in inputs.key else ())
    by_type: dict[frozenset[type], list[int]] = {}
    for i, record in enumerate(records):
        cell = record.get(name)
        if _is_expressible(column, cell):
            by_type.setdefault(_types(cell), []).append(i)
    return {i: v for at in by_type.values() for i, v in zip(at, _verdicts(rules, name, records, at), strict=True)}


def _verdicts(rules: Contract, name: str, records: Sequence[Mapping[str, Any]], at: Sequence[int]) -> Iterator[_Verdict]:
    checked = rules.check(pa.table({name: pa.array([records[i].get(name) for i in at])}))
    bad = dict(zip(checked.bad["row"].to_pylist(), checked.bad["rule"].to_pylist(), strict=True))
    values = iter(checked.good[name].to_pylist())
    for i in range(len(at)):
        yield _Verdict(rule=bad[i]) if i in bad else _Verdict(rule="", value=next(values))


def _types(cell: object) -> frozenset[type]:
    """Cells with the same ones go into one column: its type, and for a list those of its elements; 1 in [1, 0.5] is a float."""
    if not isinstance(cell, list):
        return frozenset({type(cell)})
    found = frozenset(map(type, cell))
    return frozenset({list, float} if found == {int, float} else {list, *found})


def _is_expressible(column: Column, cell: object) -> bool:
    if isinstance(cell, list):
        elements = _ELEMENTS.get(column.type)
        return elements is not None and len(_types(cell)) <= 2 and all(_is_expressible(elements, e) for e in cell)
    if isinstance(cell, bool) or cell is None:
        return True
    if isinstance(cell, str):
        return column.type not in _PARSED and cell.encode(errors="ignore").decode() == cell
    if isinstance(cell, int):
        return _INT64_MIN <= cell <= _INT64_MAX
    return isinstance(cell, float) and not (column.type == "int64" and math.isfinite(cell) and cell.is_integer())


def _same(value: object, other: object) -> bool:
    if isinstance(value, float) and isinstance(other, float):
        return value.hex() == other.hex()
    return type(value) is type(other) and value == other
