"""Whether a row group of a Parquet file can hold rows for which an expression is true, by its statistics."""

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

_MIRROR: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.Gt,
    ast.LtE: ast.GtE,
    ast.Gt: ast.Lt,
    ast.GtE: ast.LtE,
    ast.Eq: ast.Eq,
}


@dataclass(frozen=True, kw_only=True)
class _Bounds:
    low: Any
    high: Any


def may_hold(text: str, group: pq.RowGroupMetaData, partitions: Mapping[str, str | None]) -> bool:
    """False only when a comparison of a column with a number or text, among those that all must hold, rules all rows out."""
    bounds = _bounds(group, partitions)
    return all(_may_be(part, bounds) for part in _conjuncts(ast.parse(text.strip(), mode="eval").body))


def _conjuncts(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
        return [part for value in node.values for part in _conjuncts(value)]
    return [node]


def _may_be(node: ast.expr, bounds: Mapping[str, _Bounds]) -> bool:
    if not isinstance(node, ast.Compare) or len(node.ops) != 1:
        return True
    left, kind, right = node.left, type(node.ops[0]), node.comparators[0]
    if isinstance(right, ast.Name):
        left, kind, right = right, _MIRROR.get(kind, kind), left
    if not isinstance(left, ast.Name) or left.id not in bounds or (value := _constant(right)) is None:
        return True
    known = bounds[left.id]
    if isinstance(known.low, str) != isinstance(value, str):
        return True  # the expression itself says what is wrong with that
    can_be = _CAN_BE.get(kind)
    return can_be is None or can_be(known, value)


_CAN_BE: dict[type[ast.cmpop], Callable[[_Bounds, Any], bool]] = {
    ast.Lt: lambda known, value: not known.low >= value,
    ast.LtE: lambda known, value: not known.low > value,
    ast.Gt: lambda known, value: not known.high <= value,
    ast.GtE: lambda known, value: not known.high < value,
    ast.Eq: lambda known, value: not (known.low > value or known.high < value),
}
"""Said by what rules rows out, so that NaN, which some writers take for a bound, rules out none."""


def _constant(node: ast.expr) -> float | str | None:
    sign = -1 if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) else 1
    inner = node.operand if isinstance(node, ast.UnaryOp) else node
    if not isinstance(inner, ast.Constant) or isinstance(inner.value, bool):
        return None
    value = inner.value
    if isinstance(value, str) and inner is node:
        return value
    return sign * value if isinstance(value, (int, float)) and (inner is node or sign < 0) else None


def _bounds(group: pq.RowGroupMetaData, partitions: Mapping[str, str | None]) -> dict[str, _Bounds]:
    """Of columns with statistics of numbers or text, and of partitions."""
    columns = [group.column(i) for i in range(group.num_columns)]
    folders = {name: value for name, value in partitions.items() if name not in {c.path_in_schema for c in columns}}
    found = {name: _Bounds(low=value, high=value) for name, value in folders.items() if value is not None}
    for column in columns:
        stats = column.statistics
        if stats is not None and stats.has_min_max and type(stats.min) in (int, float, str):
            found[column.path_in_schema] = _Bounds(low=stats.min, high=stats.max)
    return found
