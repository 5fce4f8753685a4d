"""What an operation is: its type rule, its kernel over columns and its kernel of one row, side by side.

Both kernels take values in plain form (`_kinds`) and give the same bits. To add a function, add a `Function` to the
table of its subject (`_numbers`, `_texts`, `_times`, `_choices`): grammar, types, both back ends and the law tests read
it from there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from raypipe.expressions._kinds import HIGHEST, LOWEST

Scalar = bool | int | float | str
Option = Callable[[object], str]
LITERAL = "literal"
MOST_ARGUMENTS = 20


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation on operands of fixed kinds.

    Attributes:
        takes: Kinds of the operands; `literal` for one that is written in the expression, passed on as a Python value.
        gives: Kind of the result.
        columns: The operation on plain Arrow arrays of one length, null in, null out.
        row: The operation on plain Python values: a function, or a Python expression with ``{0}``, ``{1}``... in place of
            the operands, for what is worth saving a call. A function may give None.
        valid: Which results are values, the others being null: `int64`, those in its range; `finite`, neither NaN nor
            infinite. The kernel of the columns sees to `int64` itself, as an array cannot hold the others.
        nulls: What happens to a null operand: it makes the result null before `row` is asked, or is `row`'s own affair.
    """

    takes: tuple[str, ...]
    gives: str
    columns: Callable[..., pa.Array]
    row: str | Callable[..., object]
    valid: Literal["all", "int64", "finite"] = "all"
    nulls: Literal["null", "own"] = "null"


@dataclass(frozen=True, kw_only=True)
class Function:
    """A function, or an operator, as people write it: one operation for each choice of kinds.

    Attributes:
        signature: How it is written.
        gives: Kind of the result, in words.
        meaning: One line: what it gives, and for which operands that is null.
        misfit: What to say of operands of other kinds; ``{0}``, ``{1}`` are their kinds, ``{kinds}`` all of them.
        operations: In order of preference; int64 operands become float64 where only that fits.
        options: By position, the check of an argument that must be a literal: what is wrong with it, or an empty text.
        is_variadic: Whether it takes 2 to 20 operands of one kind, two at a time; the operation is associative.
    """

    signature: str
    gives: str
    meaning: str
    misfit: str
    operations: tuple[Operation, ...]
    options: Mapping[int, Option] = field(default_factory=dict)
    is_variadic: bool = False

    @property
    def num_arguments(self) -> tuple[int, int]:
        """Least and most arguments that it takes."""
        lengths = [len(operation.takes) for operation in self.operations]
        return min(lengths), MOST_ARGUMENTS if self.is_variadic else max(lengths)


def exact(checked: Callable[..., pa.Array], one: Callable[..., int]) -> Callable[..., pa.Array]:
    """The kernel of an operation on int64: exact, and null in those rows that overflow."""

    def kernel(*columns: pa.Array) -> pa.Array:
        try:
            return checked(*columns)
        except pa.ArrowInvalid:  # some row overflows: that row is null, the others keep their exact value
            rows = zip(*(column.to_pylist() for column in columns), strict=True)
            results = [None if None in row else one(*row) for row in rows]
            return pa.array([r if r is not None and LOWEST <= r <= HIGHEST else None for r in results], pa.int64())

    return kernel


def numpy_values(column: pa.Array, fill: int = 0) -> NDArray[np.generic]:
    """Numbers of a column as a contiguous array, with `fill` in place of nulls."""
    found: NDArray[np.generic] = pc.fill_null(column, fill).to_numpy(zero_copy_only=False)
    return found


def where_valid(values: NDArray[np.generic], *columns: pa.Array) -> pa.Array:
    """An Arrow array of `values`, null where one of `columns` is."""
    if not any(column.null_count for column in columns):
        return pa.array(values)
    return pa.array(values, mask=reduce(np.logical_or, (column.is_null().to_numpy(zero_copy_only=False) for column in columns)))


def same(cells: pa.Array) -> pa.Array:
    """The kernel that changes nothing."""
    return cells
