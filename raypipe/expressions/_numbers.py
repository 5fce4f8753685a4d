"""Operations on numbers: arithmetic, roundings, logarithms, casts from and to text.

A result that is not exact (int64) or not finite (float64) is null. What IEEE 754 defines to the bit is Python's own
arithmetic in the row back end; logarithms and exponentials, which it does not, are NumPy's in both.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raypipe.expressions._kinds import HIGHEST
from raypipe.expressions._operation import Function, Operation, exact, numpy_values, same, where_valid

NUMBER_GRAMMAR = r"-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?"  # as a contract reads float64 (a test compares them)
_NUMBER = re.compile(NUMBER_GRAMMAR)
_EDGE = 2.0**63  # the first float64 after int64
_INTS, _FLOATS = ("int64", "int64"), ("float64", "float64")

add_exactly = exact(pc.add_checked, operator.add)
subtract_exactly = exact(pc.subtract_checked, operator.sub)
negate_exactly = exact(pc.negate_checked, operator.neg)
abs_exactly = exact(pc.abs_checked, abs)
_multiply_exactly = exact(pc.multiply_checked, operator.mul)


def _as_float(cells: pa.Array) -> pa.Array:
    return pc.cast(cells, pa.float64(), safe=False)


AS_FLOAT = Operation(takes=("int64",), gives="float64", columns=_as_float, row="float({0})")
DIVIDE = Operation(takes=_FLOATS, gives="float64", columns=pc.divide, row="{0} / {1} if {1} else nan", valid="finite")


def _without_zeros(cells: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(cells, pa.scalar(0, cells.type)), pa.scalar(None, cells.type), cells)


def _whole_division(ufunc: np.ufunc) -> Callable[[pa.Array, pa.Array], pa.Array]:
    def kernel(left: pa.Array, right: pa.Array) -> pa.Array:
        right = _without_zeros(right)
        if ufunc is np.floor_divide and pa.types.is_integer(left.type):  # the one quotient out of int64 is -(2**63) // -1
            overflows = pc.and_(pc.equal(left, -(2**63)), pc.equal(right, -1))
            right = pc.if_else(overflows, pa.scalar(None, right.type), right)
        with np.errstate(all="ignore"):
            return where_valid(ufunc(numpy_values(left), numpy_values(right, fill=1)), left, right)

    return kernel


def whole_quotient(left: int, right: int) -> int | None:
    """``left // right``, rounded down; None when that is not an int64."""
    if not right:
        return None
    found = left // right
    return found if found <= HIGHEST else None


divide_whole, remainder_whole = _whole_division(np.floor_divide), _whole_division(np.remainder)
REMAINDER = "{0} % {1} if {1} else None"


def _rounding(ufunc: np.ufunc) -> Callable[[pa.Array], pa.Array]:
    def kernel(cells: pa.Array) -> pa.Array:
        fits = pc.and_(pc.greater_equal(cells, -_EDGE), pc.less(cells, _EDGE))
        cells = pc.if_else(fits, cells, pa.scalar(None, pa.float64()))
        return where_valid(ufunc(numpy_values(cells)).astype(np.int64), cells)

    return kernel


def _rounding_row(one: Callable[[float], int]) -> Callable[[float], int | None]:
    return lambda x: one(x) if -_EDGE <= x < _EDGE else None


def _rounded(name: str, *, how: str, ufunc: np.ufunc, one: Callable[[float], int]) -> Function:
    return Function(
        signature=f"{name}(x)",
        gives="int64",
        meaning=f"x rounded {how} to a whole number; null when that is not an int64",
        misfit=f"{name} needs a number, not {{kinds}}",
        operations=(
            Operation(takes=("int64",), gives="int64", columns=same, row="{0}"),
            Operation(takes=("float64",), gives="int64", columns=_rounding(ufunc), row=_rounding_row(one)),
        ),
    )


def _curve(name: str, *, ufunc: np.ufunc, domain: tuple[float, float], meaning: str) -> Function:
    """A function by one NumPy kernel. Outside of `domain` it has no finite value, and NumPy would warn."""
    low, high = domain

    def columns(cells: pa.Array) -> pa.Array:
        with np.errstate(all="ignore"):
            return where_valid(ufunc(numpy_values(cells)), cells)

    def row(x: float) -> float:
        return float(ufunc(x)) if low <= x <= high else math.nan

    operation = Operation(takes=("float64",), gives="float64", columns=columns, row=row, valid="finite")
    return Function(
        signature=f"{name}(x)",
        gives="float64",
        meaning=meaning,
        misfit=f"{name} needs a number, not {{kinds}}",
        operations=(operation,),
    )


def _to_number(texts: pa.Array) -> pa.Array:
    fits = pc.match_substring_regex(texts, f"^(?:{NUMBER_GRAMMAR})$")
    return pc.cast(pc.if_else(fits, texts, pa.scalar(None, pa.string())), pa.float64())


def _to_number_row(text: str) -> float:
    return float(text) if _NUMBER.fullmatch(text) else math.nan


NUMBER_FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {
        "abs": Function(
            signature="abs(x)",
            gives="kind of x",
            meaning="x without its sign, for numbers and durations; null for the smallest int64",
            misfit="abs needs a number or a duration, not {kinds}",
            operations=(
                Operation(takes=("int64",), gives="int64", columns=abs_exactly, row="abs({0})", valid="int64"),
                Operation(takes=("float64",), gives="float64", columns=pc.abs, row="abs({0})"),
                Operation(takes=("duration",), gives="duration", columns=abs_exactly, row="abs({0})", valid="int64"),
            ),
        ),
        "sqrt": _curve("sqrt", ufunc=np.sqrt, domain=(0.0, math.inf), meaning="square root; null below 0"),
        "log": _curve(
            "log", ufunc=np.log, domain=(math.nextafter(0, 1), math.inf), meaning="natural logarithm; null at and below 0"
        ),
        "log1p": _curve(
            "log1p", ufunc=np.log1p, domain=(math.nextafter(-1, 0), math.inf), meaning="log(1 + x); null at and below -1"
        ),
        "exp": _curve(
            "exp", ufunc=np.exp, domain=(-math.inf, 709.782712893384), meaning="e to the power of x; null when too large"
        ),
        "floor": _rounded("floor", how="down", ufunc=np.floor, one=math.floor),
        "ceil": _rounded("ceil", how="up", ufunc=np.ceil, one=math.ceil),
        "round": _rounded("round", how="to the nearest, halves to even,", ufunc=np.rint, one=round),
        "to_number": Function(
            signature="to_number(text)",
            gives="float64",
            meaning="the decimal number that text spells, such as -1.5e3; null for any other text, and when too large",
            misfit="to_number needs text, not {kinds}",
            operations=(Operation(takes=("string",), gives="float64", columns=_to_number, row=_to_number_row, valid="finite"),),
        ),
    }
)

ADD = (
    Operation(takes=_INTS, gives="int64", columns=add_exactly, row="{0} + {1}", valid="int64"),
    Operation(takes=_FLOATS, gives="float64", columns=pc.add, row="{0} + {1}", valid="finite"),
)
SUBTRACT = (
    Operation(takes=_INTS, gives="int64", columns=subtract_exactly, row="{0} - {1}", valid="int64"),
    Operation(takes=_FLOATS, gives="float64", columns=pc.subtract, row="{0} - {1}", valid="finite"),
)
MULTIPLY = (
    Operation(takes=_INTS, gives="int64", columns=_multiply_exactly, row="{0} * {1}", valid="int64"),
    Operation(takes=_FLOATS, gives="float64", columns=pc.multiply, row="{0} * {1}", valid="finite"),
)
WHOLE_DIVIDE = (
    Operation(takes=_INTS, gives="int64", columns=divide_whole, row=whole_quotient),
    Operation(takes=_FLOATS, gives="float64", columns=divide_whole, row="{0} // {1} if {1} else nan", valid="finite"),
)
MODULO = (
    Operation(takes=_INTS, gives="int64", columns=remainder_whole, row=REMAINDER),
    Operation(takes=_FLOATS, gives="float64", columns=remainder_whole, row="{0} % {1} if {1} else nan", valid="finite"),
)
NEGATE = (
    Operation(takes=("int64",), gives="int64", columns=negate_exactly, row="-{0}", valid="int64"),
    Operation(takes=("float64",), gives="float64", columns=pc.negate, row="-{0}"),
)
