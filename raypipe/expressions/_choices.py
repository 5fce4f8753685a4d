"""Operations on values of any kind: comparisons, three-valued logic, and choices between values."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.expressions._kinds import KINDS
from raypipe.expressions._operation import LITERAL, Function, Operation


def _for_each_kind(columns: Callable[..., pa.Array], row: str, *, gives: str = "") -> tuple[Operation, ...]:
    return tuple(Operation(takes=(kind, kind), gives=gives or kind, columns=columns, row=row) for kind in KINDS)


def _comparison(sign: str, kernel: Callable[[pa.Array, pa.Array], pa.Array]) -> Function:
    return Function(
        signature=f"a {sign} b",
        gives="bool",
        meaning="comparison of values of one kind, int64 and float64 as float64; null when a or b is",
        misfit="cannot compare {0} with {1}",
        operations=_for_each_kind(kernel, f"{{0}} {sign} {{1}}", gives="bool"),
    )


def _is_in(cells: pa.Array, choices: frozenset[object]) -> pa.Array:
    if pa.types.is_floating(cells.type):
        cells = pc.add(cells, 0.0)  # is_in tells -0.0 from 0.0, == does not
    found = pc.is_in(cells, value_set=pa.array(list(choices), cells.type))
    return pc.if_else(cells.is_valid(), found, pa.scalar(None, pa.bool_()))


IN = Function(
    signature="a in [1, 2]",
    gives="bool",
    meaning="whether a equals one of the literals; null when a is",
    misfit="cannot compare {0} with {1}",
    operations=tuple(
        Operation(takes=(kind, LITERAL), gives="bool", columns=_is_in, row="{0} in {1}")
        for kind in ("bool", "int64", "float64", "string")
    ),
)


def _choose(condition: pa.Array, then: pa.Array, otherwise: pa.Array) -> pa.Array:
    return pc.if_else(pc.fill_null(condition, fill_value=False), then, otherwise)


IF = Function(
    signature="a if condition else b",
    gives="kind of a and b",
    meaning="a where the condition is true, b where it is false or null; None is null as a or b",
    misfit="`if` needs a boolean between two values of one kind, not {1} if {0} else {2}",
    operations=tuple(
        Operation(takes=("bool", kind, kind), gives=kind, columns=_choose, row="{1} if {0} else {2}", nulls="own")
        for kind in KINDS
    ),
)


def _logic(word: str, kernel: Callable[[pa.Array, pa.Array], pa.Array], *, decides: bool, meaning: str) -> Function:
    row = (
        f"{decides} if {{0}} is {decides} or {{1}} is {decides} else None if {{0}} is None or {{1}} is None else {not decides}"
    )
    return Function(
        signature=f"a {word} b",
        gives="bool",
        meaning=meaning,
        misfit=f"`{word}` needs booleans, not {{kinds}}",
        operations=(Operation(takes=("bool", "bool"), gives="bool", columns=kernel, row=row, nulls="own"),),
        is_variadic=True,
    )


AND = _logic("and", pc.and_kleene, decides=False, meaning="false when one is false, else null when one is null")
OR = _logic("or", pc.or_kleene, decides=True, meaning="true when one is true, else null when one is null")
NOT = Function(
    signature="not a",
    gives="bool",
    meaning="the opposite; null for null",
    misfit="`not` needs a boolean, not {kinds}",
    operations=(Operation(takes=("bool",), gives="bool", columns=pc.invert, row="not {0}"),),
)


def _first_valid(left: pa.Array, right: pa.Array) -> pa.Array:
    return pc.coalesce(left, right)


def _nearer_end(name: str, sign: str, compare: Callable[[pa.Array, pa.Array], pa.Array], *, meaning: str) -> Function:
    """`least` or `greatest`: the first of equal ones, so that 0.0 and -0.0 have a fixed answer; NaN when one is NaN."""

    def columns(left: pa.Array, right: pa.Array) -> pa.Array:
        return pc.if_else(pc.or_(compare(left, right), pc.not_equal(left, left)), left, right)

    row = f"{{0}} if {{0}} {sign} {{1}} or {{0}} != {{0}} else {{1}}"
    return Function(
        signature=f"{name}(a, b, ...)",
        gives="kind of the arguments",
        meaning=meaning,
        misfit=f"{name} needs values of one kind, not {{kinds}}",
        operations=_for_each_kind(columns, row),
        is_variadic=True,
    )


def _is_null(cells: pa.Array) -> pa.Array:
    return cells.is_null()


CHOICE_FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {
        "is_null": Function(
            signature="is_null(x)",
            gives="bool",
            meaning="whether x is null, of any kind; never null itself, and NaN is not null",
            misfit="is_null takes any value",
            operations=tuple(
                Operation(takes=(kind,), gives="bool", columns=_is_null, row="{0} is None", nulls="own") for kind in KINDS
            ),
        ),
        "coalesce": Function(
            signature="coalesce(a, b, ...)",
            gives="kind of the arguments",
            meaning="the first that is not null, of values of one kind",
            misfit="coalesce needs values of one kind, not {kinds}",
            operations=tuple(
                Operation(takes=(kind, kind), gives=kind, columns=_first_valid, row="{1} if {0} is None else {0}", nulls="own")
                for kind in KINDS
            ),
            is_variadic=True,
        ),
        "least": _nearer_end(
            "least",
            "<=",
            pc.less_equal,
            meaning="the smallest, of values of one kind; null when one is null, NaN when one is NaN",
        ),
        "greatest": _nearer_end(
            "greatest",
            ">=",
            pc.greater_equal,
            meaning="the largest, of values of one kind; null when one is null, NaN when one is NaN",
        ),
    }
)
COMPARISONS: Mapping[str, Function] = MappingProxyType(
    {
        "==": _comparison("==", pc.equal),
        "!=": _comparison("!=", pc.not_equal),
        "<": _comparison("<", pc.less),
        "<=": _comparison("<=", pc.less_equal),
        ">": _comparison(">", pc.greater),
        ">=": _comparison(">=", pc.greater_equal),
    }
)
