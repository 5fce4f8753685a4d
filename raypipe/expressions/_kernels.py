"""Kernels of the expressions, over Arrow arrays of seven kinds: bool, int64, float64, string, date, timestamp and duration.

Each is elementwise: the value of a row does not depend on the other rows, nor does whether an error is raised.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from raypipe.expressions._grammar import Scalar

_TIMESTAMP, _DURATION = pa.timestamp("us", "UTC"), pa.duration("us")
_MICROSECONDS = {"minutes": 60_000_000, "hours": 3_600_000_000, "days": 86_400_000_000}
_COMPARE = {
    "==": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_CHECKED = {"+": pc.add_checked, "-": pc.subtract_checked, "*": pc.multiply_checked}
_FLOAT = {"+": pc.add, "-": pc.subtract, "*": pc.multiply, "/": pc.divide}
_PYTHON: dict[str, Callable[[int, int], int]] = {"+": operator.add, "-": operator.sub, "*": operator.mul}


class TypesDoNotFit(Exception):  # becomes a FeatureError that names the expression
    """An operation is not defined for the kinds of its operands."""


def normal(column: pa.Array, name: str) -> pa.Array:
    """A column as one of the kinds: the widest number, text decoded, timestamps as microseconds in UTC."""
    found = column.type
    if pt.is_dictionary(found):
        return normal(column.dictionary_decode(), name)
    if pt.is_timestamp(found) and found.tz is None:
        raise TypesDoNotFit(f"column {name} holds timestamps without a zone")
    for belongs, kind in (
        (pt.is_boolean, pa.bool_()),
        (pt.is_integer, pa.int64()),
        (pt.is_floating, pa.float64()),
        (_is_text, pa.string()),
        (pt.is_date, pa.date32()),
        (pt.is_timestamp, _TIMESTAMP),
        (pt.is_duration, _DURATION),
    ):
        if belongs(found):
            return column if found == kind else pc.cast(column, kind, safe=False)
    raise TypesDoNotFit(f"column {name} is {found}, which expressions do not take")


def literal(value: Scalar, num_rows: int) -> pa.Array:
    """A literal for each row."""
    return pa.repeat(pa.scalar(value), num_rows)


def arithmetic(op: str, left: pa.Array, right: pa.Array) -> pa.Array:
    """``+ - * /`` of numbers, and of timestamps and durations where that means something."""
    if _is_number(left) and _is_number(right):
        if op != "/" and pt.is_integer(left.type) and pt.is_integer(right.type):
            return _integers(op, left, right)
        return _finite(_FLOAT[op](_as_float(left), _as_float(right)))
    if op == "/" and pt.is_duration(left.type) and pt.is_duration(right.type):
        return _finite(pc.divide(_as_float(left.cast(pa.int64())), _as_float(right.cast(pa.int64()))))
    result = _TIME_RESULTS.get((op, _kind(left), _kind(right)))
    if result is None:
        raise TypesDoNotFit(f"cannot compute {_kind(left)} {op} {_kind(right)}")
    return _integers(op, left.cast(pa.int64()), right.cast(pa.int64())).cast(result)


_TIME_RESULTS = {
    ("+", "timestamp", "duration"): _TIMESTAMP,
    ("+", "duration", "timestamp"): _TIMESTAMP,
    ("-", "timestamp", "duration"): _TIMESTAMP,
    ("-", "timestamp", "timestamp"): _DURATION,
    ("+", "duration", "duration"): _DURATION,
    ("-", "duration", "duration"): _DURATION,
}


def unary(op: Literal["-", "not"], values: pa.Array) -> pa.Array:
    """Minus a number, or ``not`` a boolean; null stays null."""
    if op == "not":
        _need(values, pa.bool_(), "`not` needs a boolean")
        return pc.invert(values)
    if pt.is_floating(values.type):
        return pc.negate(values)
    _need(values, pa.int64(), "`-` needs a number")
    return _integers("-", literal(0, len(values)), values)


def compare(op: str, left: pa.Array, right: pa.Array) -> pa.Array:
    """A comparison of two values of one kind; int64 and float64 compare as float64."""
    if _is_number(left) and _is_number(right):
        if left.type != right.type:
            left, right = _as_float(left), _as_float(right)
    elif left.type != right.type:
        raise TypesDoNotFit(f"cannot compare {_kind(left)} with {_kind(right)}")
    return _COMPARE[op](left, right)


def is_in(values: pa.Array, choices: Sequence[Scalar]) -> pa.Array:
    """Whether each value is among literals of its own kind; null for null."""
    return pc.if_else(values.is_valid(), _member(values, choices), pa.scalar(None, pa.bool_()))


def _member(values: pa.Array, choices: Sequence[Scalar]) -> pa.Array:
    for choice in choices:
        compare("==", values[:0], literal(choice, 0))
    mixed = pt.is_integer(values.type) and any(isinstance(choice, float) for choice in choices)
    cells = _as_float(values) if mixed else values
    return pc.is_in(cells, value_set=pa.array(choices, cells.type))


def logic(op: Literal["and", "or"], operands: Sequence[pa.Array]) -> pa.Array:
    """``and`` or ``or`` of three-valued booleans."""
    for operand in operands:
        _need(operand, pa.bool_(), f"`{op}` needs booleans")
    combine = pc.and_kleene if op == "and" else pc.or_kleene
    result = operands[0]
    for operand in operands[1:]:
        result = combine(result, operand)
    return result


def call(name: str, arguments: Sequence[pa.Array]) -> pa.Array:
    """One of the functions of the grammar."""
    first = arguments[0]
    if name == "is_null":
        return first.is_null()
    if name == "lower":
        _need(first, pa.string(), "lower needs text")
        return pc.utf8_lower(first)
    if name == "coalesce":
        return _coalesce(arguments)
    _need(first, pa.int64(), f"{name} needs a whole number")
    return _integers("*", first, literal(_MICROSECONDS[name], len(first))).cast(_DURATION)


def _coalesce(arguments: Sequence[pa.Array]) -> pa.Array:
    if len({argument.type for argument in arguments}) > 1:
        if not all(_is_number(argument) for argument in arguments):
            raise TypesDoNotFit(f"coalesce needs values of one kind, not {', '.join(_kind(a) for a in arguments)}")
        arguments = [_as_float(argument) for argument in arguments]
    return pc.coalesce(*arguments)


def _integers(op: str, left: pa.Array, right: pa.Array) -> pa.Array:
    try:
        return _CHECKED[op](left, right)
    except pa.ArrowInvalid:  # some row overflows: that row is null, the others keep their exact value
        results = [
            None if a is None or b is None else _PYTHON[op](a, b)
            for a, b in zip(left.to_pylist(), right.to_pylist(), strict=True)
        ]
        return pa.array([r if r is not None and -(2**63) <= r < 2**63 else None for r in results], pa.int64())


def _finite(values: pa.Array) -> pa.Array:
    return pc.if_else(pc.is_finite(values), values, pa.scalar(None, values.type))


def _as_float(values: pa.Array) -> pa.Array:
    return values if pt.is_floating(values.type) else pc.cast(values, pa.float64(), safe=False)


def _is_number(values: pa.Array) -> bool:
    return bool(pt.is_integer(values.type) or pt.is_floating(values.type))


def _is_text(found: pa.DataType) -> bool:
    return bool(pt.is_string(found) or pt.is_large_string(found) or pt.is_string_view(found))


def _need(values: pa.Array, kind: pa.DataType, problem: str) -> None:
    if values.type != kind:
        raise TypesDoNotFit(f"{problem}, not {_kind(values)}")


def _kind(values: pa.Array) -> str:
    if pt.is_timestamp(values.type):
        return "timestamp"
    return "duration" if pt.is_duration(values.type) else {"double": "float64"}.get(str(values.type), str(values.type))
