"""Derived columns of a task: which of them something needs, in an order in which each can be computed."""

from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa

from raypipe.expressions import Expression, compile_expression

Derivation = tuple[str, Expression]


def derivations(derive: Mapping[str, str], wanted: Iterable[str]) -> tuple[Derivation, ...]:
    """The derived columns among `wanted`, and those that they use, each after what it uses.

    Args:
        derive: Expressions by name, without a cycle.
        wanted: Column names; raw ones are passed over.
    """
    found: dict[str, Expression] = {}
    for name in wanted:
        found |= {made: expression for made, expression in _before(derive, name) if made not in found}
    return tuple(found.items())


def with_derived(rows: pa.Table, derive: Mapping[str, str], wanted: Iterable[str]) -> pa.Table:
    """`rows` with the derived columns among `wanted`, and those that they use, appended where they are not there."""
    for name, expression in derivations(derive, wanted):
        if name not in rows.column_names:
            rows = rows.append_column(name, chunked(expression.evaluate(rows)))
    return rows


def chunked(values: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    """An array as a column of a table."""
    return values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values])


def raw_columns(derive: Mapping[str, str], columns: Iterable[str]) -> tuple[str, ...]:
    """`columns` with each derived one replaced by the raw columns behind it."""
    out: dict[str, None] = {}
    for name in columns:
        inner = raw_columns(derive, compile_expression(derive[name]).columns) if name in derive else (name,)
        out |= dict.fromkeys(inner)
    return tuple(out)


def _before(derive: Mapping[str, str], name: str) -> Iterator[Derivation]:
    """`name` after all that it uses; one may come more than once."""
    if name not in derive:
        return
    expression = compile_expression(derive[name])
    for used in expression.columns:
        yield from _before(derive, used)
    yield name, expression
