"""The row back end: random well-typed expressions over hostile rows, equal to the columns to the last bit, and safe."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import expression_parts as parts
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from raypipe.core.errors import FeatureError
from raypipe.expressions import FUNCTIONS, OPERATORS, Function, compile_expression

KINDS = tuple(parts.ARROW)
COLUMNS = MappingProxyType({f"{kind}_{i}": kind for kind in KINDS for i in range(2)})
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
VALUES: Mapping[str, st.SearchStrategy[object]] = {
    "bool": st.sampled_from(parts.HOSTILE["bool"]),
    "int64": st.sampled_from(parts.INTS) | st.integers(-(2**63), 2**63 - 1),
    "float64": st.sampled_from(parts.FLOATS) | st.floats(),
    "string": st.sampled_from(parts.TEXTS) | TEXTS,
    "date": st.sampled_from(parts.DATES) | st.integers(-800_000, 3_000_000),
    "timestamp": st.sampled_from(parts.INSTANTS) | st.integers(-(2**63), 2**63 - 1),
    "duration": st.sampled_from(parts.DURATIONS) | st.integers(-(2**63), 2**63 - 1),
}
LITERALS: Mapping[str, st.SearchStrategy[object]] = {
    "bool": st.booleans(),
    "int64": st.sampled_from([0, 1, 7, 2**53 + 1, 2**63 - 1]),
    "float64": st.sampled_from([0.0, 0.5, 1e300, 5e-324]) | st.floats(0, allow_infinity=False, allow_nan=False),
    "string": st.sampled_from(["", "a", "é", "{0}", "'\"\\\n", "');import os#"]) | TEXTS,
}
ROWS = st.lists(st.fixed_dictionaries({name: VALUES[kind] for name, kind in COLUMNS.items()}), min_size=1, max_size=4)
OPTIONS = ("a", "é", "", "UTC", "America/New_York", "Australia/Lord_Howe", 0, 1, 3, -2)
TREES_ARE_LARGE = (HealthCheck.too_slow, HealthCheck.data_too_large)
Draw = Callable[[st.SearchStrategy[object]], object]


def _shapes() -> dict[str, list[tuple[Function, tuple[str, ...]]]]:
    """By kind of the result, the functions that give it and the kinds they then take."""
    out: dict[str, list[tuple[Function, tuple[str, ...]]]] = {kind: [] for kind in KINDS}
    for function in (*FUNCTIONS.values(), *OPERATORS.values()):
        for operation in function.operations:
            out[operation.gives].append((function, operation.takes))
    return out


SHAPES = _shapes()


def _written(function: Function, operands: Sequence[str]) -> str:
    name, bracket, _ = function.signature.partition("(")
    if bracket:
        return f"{name}({', '.join(operands)})"
    if " if " in name:
        return f"({operands[1]} if {operands[0]} else {operands[2]})"
    if len(operands) == 1:
        return f"({name.removesuffix('a')}{operands[0]})"
    return f"({operands[0]} {name.split()[1]} {operands[1]})"


def _leaf(draw: Draw, kind: str) -> str:
    if kind in LITERALS and draw(st.integers(0, 3)) == 0:
        return repr(draw(LITERALS[kind]))
    return str(draw(st.sampled_from([name for name, found in COLUMNS.items() if found == kind])))


def _operand(draw: Draw, function: Function, position: int, kind: str, depth: int) -> str:
    if " in " in function.signature and position == 1:
        return repr(draw(st.lists(LITERALS[kind], min_size=1, max_size=3)))
    if position in function.options:
        return repr(draw(st.sampled_from([value for value in OPTIONS if not function.options[position](value)])))
    if kind == "float64" and draw(st.booleans()):
        kind = "int64"  # which fits wherever a float64 does
    if " if " in function.signature and position == 2 and draw(st.integers(0, 4)) == 0:
        return "None"
    return _tree(draw, kind, depth)


def _tree(draw: Draw, kind: str, depth: int) -> str:
    if depth == 0 or draw(st.integers(0, 5)) == 0:
        return _leaf(draw, kind)
    names = sorted({function.signature for function, _ in SHAPES[kind]})
    name = draw(st.sampled_from(names))
    function, takes = draw(st.sampled_from([shape for shape in SHAPES[kind] if shape[0].signature == name]))  # type: ignore[misc]
    if function.is_variadic:
        takes = takes * draw(st.integers(1, 2))  # type: ignore[operator]
    kinds = [takes[0] if taken == "literal" else taken for taken in takes]
    return _written(function, [_operand(draw, function, i, taken, depth - 1) for i, taken in enumerate(kinds)])


@st.composite
def well_typed(draw: Draw) -> str:
    return _tree(draw, str(draw(st.sampled_from(KINDS))), 4)


@given(well_typed(), ROWS)
@settings(max_examples=400, suppress_health_check=TREES_ARE_LARGE)
def test_a_row_gives_the_same_bits_alone_in_company_and_by_its_function(text: str, rows: list[dict[str, object]]) -> None:
    assume(len(text) <= 2000)
    parts.agreed(text, {name: (kind, [row[name] for row in rows]) for name, kind in COLUMNS.items()})


@given(well_typed(), st.permutations(list(COLUMNS)))
@settings(suppress_health_check=TREES_ARE_LARGE)
def test_kinds_that_do_not_fit_are_refused_alike_by_both_back_ends(text: str, shuffled: list[str]) -> None:
    kinds = {name: COLUMNS[other] for name, other in zip(COLUMNS, shuffled, strict=True)}
    assume(len(text) <= 2000)
    expression = compile_expression(text)
    schema = pa.schema([(name, parts.ARROW[kind]) for name, kind in kinds.items()])
    asked = (
        lambda: expression.type_in(schema),
        lambda: expression.kind_in(kinds),
        lambda: expression.row_function(kinds),
        lambda: expression.evaluate(schema.empty_table()),
    )
    assert len({_refusal(ask) for ask in asked}) == 1


def _refusal(ask: Callable[[], object]) -> str:
    try:
        ask()
    except FeatureError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "name",
    [
        *(
            "c0",
            "c1",
            "t0",
            "t1",
            "k0",
            "row",
            "abs",
            "float",
            "len",
            "str",
            "nan",
            "self",
            "hour",
            "lower",
            "import_",
            "é",
            "日本",
        ),
        *("__builtins__", "__import__", "__class__", "exec", "eval", "print", "match", "type", "LOWEST"),
    ],
)
def test_a_column_may_have_any_name_that_can_be_written(name: str) -> None:
    assert parts.agreed(f"{name} + other * 2 + abs({name})", {"other": ("int64", [5]), name: ("int64", [-1])}) == [10]


@pytest.mark.parametrize(
    "literal", ["{0}", "'", '"', "\\", "\n", "\x00", "{", "}}", "{0.__class__}", "%s", "'+c0+'", "${x}", "#", "\u2028"]
)
def test_a_literal_is_never_part_of_the_source(literal: str) -> None:
    columns: Mapping[str, tuple[str, Sequence[object]]] = {"s": ("string", ["a", None])}
    assert parts.agreed(f"concat(s, {literal!r})", columns) == ["a" + literal, None]
    assert parts.agreed(f"replace(s, 'a', {literal!r})", columns) == [literal, None]
    assert parts.agreed(f"s in [{literal!r}]", columns) == [False, None]


@pytest.mark.parametrize(
    ("text", "kinds", "problem"),
    [
        ("minut + b", {"minute": "int64"}, "unknown column minut; did you mean minute?"),
        ("a + 1", {"b": "int64"}, "unknown column a; correct"),
        ("is_null(a)", {"a": "list<string>"}, "column a is list<string>, which expressions do not take"),
        ("is_null(a)", {"a": "literal"}, "column a is literal, which expressions do not take"),
        ("a == a", {"a": "null"}, "column a is null, which expressions do not take"),
        ("hours(a)", {"a": "float64"}, "hours needs a whole number, not float64"),
    ],
)
def test_kinds_that_do_not_fit_are_named(text: str, kinds: Mapping[str, str], problem: str) -> None:
    expression = compile_expression(text)
    for ask in (expression.kind_in, expression.row_function):
        with pytest.raises(FeatureError) as caught:
            ask(kinds)
        assert problem in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        " or ".join(["flag"] * 240),
        " < ".join(["n"] * 490),
        f"concat({', '.join(['concat(s, s)'] * 20)})",
        "coalesce(" * 39 + "n" + ", n)" * 39,
        "(" * 30 + "n" + " + 1)" * 30,
        "1 if flag else " * 39 + "2",
        "not " * 39 + "flag",
    ],
)
def test_the_longest_and_deepest_expressions_work_in_both_back_ends(text: str) -> None:
    parts.agreed(text, {"flag": ("bool", [True, None]), "n": ("int64", [1, None]), "s": ("string", ["a", None])})


def test_columns_are_taken_by_position_in_the_order_of_the_expression() -> None:
    expression = compile_expression("b - a")
    assert expression.columns == ("b", "a")
    assert expression.row_function({"a": "int64", "b": "int64"})(10, 3) == 7


def test_coarser_times_become_microseconds_or_null() -> None:
    table = pa.table(
        {"t": pa.array([1, 2**62, None], pa.timestamp("s", "UTC")), "u": pa.array([1, -(2**62), None], pa.duration("ms"))}
    )
    assert parts.plain(compile_expression("t").evaluate(table)) == [1_000_000, None, None]
    assert parts.plain(compile_expression("u").evaluate(table)) == [1000, None, None]
