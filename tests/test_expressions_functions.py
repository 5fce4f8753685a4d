"""What each function and operator gives, by hand, in both back ends; and both on hostile values of every kind."""

import itertools
import zoneinfo
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType

import expression_parts as parts
import pyarrow as pa
import pytest
from expression_parts import EDGE, us
from hypothesis import given
from hypothesis import strategies as st

from raypipe.contract import _rules
from raypipe.expressions import FUNCTIONS, OPERATORS, Function, _numbers, compile_expression

KIND_OF_NAME = MappingProxyType(
    {"b": "bool", "i": "int64", "x": "float64", "s": "string", "d": "date", "t": "timestamp", "u": "duration"}
)
INF, NAN = float("inf"), float("nan")
HOUR, DAY = 3_600_000_000, 86_400_000_000
NEW_YEAR, NEW_YEAR_DAY = us(2013, 1, 1), 15706

CASES: Sequence[tuple[str, Sequence[object], Sequence[object]]] = [
    ("is_null(x)", [None, NAN, 1.0], [True, False, False]),
    ("coalesce(x, 7)", [None, NAN, -0.0], [7.0, NAN, -0.0]),
    ("coalesce(s, lower(s), 'none')", [None, "", "A"], ["none", "", "A"]),
    ("least(x, 0.0)", [None, NAN, -0.0, 1.0, -INF], [None, NAN, -0.0, 0.0, -INF]),
    ("least(0.0, x)", [None, NAN, -0.0], [None, NAN, 0.0]),
    ("least(i, 3, 2)", [None, 1, 9], [None, 1, 2]),
    ("least(i, 2.5)", [2**53 + 1, 2], [2.5, 2.0]),
    ("greatest(x, 0.0)", [None, NAN, -0.0, 1.0, INF], [None, NAN, -0.0, 1.0, INF]),
    ("greatest(s, 'b')", [None, "a", "é", "𝄞"], [None, "b", "é", "𝄞"]),
    ("abs(i)", [None, -3, 3, -EDGE], [None, 3, 3, None]),
    ("abs(x)", [None, -0.0, -INF, NAN], [None, 0.0, INF, NAN]),
    ("abs(u)", [None, -HOUR, -EDGE], [None, HOUR, None]),
    ("sqrt(x)", [None, 4.0, 0.0, -0.0, -1.0, INF, NAN], [None, 2.0, 0.0, -0.0, None, None, None]),
    ("sqrt(i)", [9, -1], [3.0, None]),
    ("log(x)", [None, 1.0, 0.0, -0.0, -1.0, INF, NAN], [None, 0.0, None, None, None, None, None]),
    ("log1p(x)", [None, 0.0, -0.0, -1.0, -2.0, INF], [None, 0.0, -0.0, None, None, None]),
    ("exp(x)", [None, 0.0, -INF, 710.0, INF, NAN], [None, 1.0, 0.0, None, None, None]),
    (
        "floor(x)",
        [None, 1.5, -1.5, -0.0, 1e300, 2.0**63, -(2.0**63), NAN, INF],
        [None, 1, -2, 0, None, None, -EDGE, None, None],
    ),
    ("floor(i)", [None, EDGE - 1, 2**53 + 1], [None, EDGE - 1, 2**53 + 1]),
    ("ceil(x)", [None, 1.5, -1.5, -0.5, 2.0**63 - 1024, 2.0**63], [None, 2, -1, 0, EDGE - 1024, None]),
    ("round(x)", [None, 0.5, 1.5, 2.5, -0.5, 0.49999999999999994, 4503599627370497.5], [None, 0, 2, 2, 0, 0, 4503599627370498]),
    ("to_number(s)", [None, "", "-1.5e3", ".5", "5.", "-0"], [None, None, -1500.0, 0.5, 5.0, -0.0]),
    ("to_number(s)", ["+1", " 1", "1\n", "1_0", "\u0661", "nan", "inf", "0x1", "1e999", "1e-400"], [None] * 9 + [0.0]),
    ("lower(s)", [None, "AB", "İ", "ΩΣ", "ǅ"], [None, "ab", "i", "ω\u03c3", "ǆ"]),
    ("upper(s)", [None, "ab", "straße", "ﬁ", "ñ"], [None, "AB", "STRAẞE", "ﬁ", "Ñ"]),
    ("trim(s)", [None, " \ta b\n", "\u2003é\u00a0", "  "], [None, "a b", "é", ""]),
    ("length(s)", [None, "", "日本", "𝄞", "e\u0301"], [None, 0, 2, 1, 2]),
    ("concat(s, '-', s)", [None, "", "é"], [None, "-", "é-é"]),
    ("substr(s, 1, 2)", [None, "", "a", "ab", "aé日𝄞"], [None, "", "", "b", "é日"]),
    ("substr(s, -2, 2)", [None, "", "a", "abc"], [None, "", "a", "bc"]),
    ("substr(s, -3, 1)", ["a", "abc", "abcd"], ["", "a", "b"]),
    ("substr(s, -1, 5)", ["a", "abc"], ["a", "c"]),
    ("substr(s, 0, 0)", ["a", None], ["", None]),
    ("substr(s, 1000000, 1000000)", ["a", ""], ["", ""]),
    ("substr(s, -1000000, 999999)", ["ab", ""], ["a", ""]),
    ("contains(s, '.')", [None, "a.b", "ab"], [None, True, False]),
    ("starts_with(s, 'é')", [None, "éa", "aé"], [None, True, False]),
    ("ends_with(s, 'é')", [None, "éa", "aé"], [None, False, True]),
    ("replace(s, 'aa', 'b')", [None, "aaa", "AA", ""], [None, "ba", "AA", ""]),
    ("replace(s, '.', '')", ["1.234.5"], ["12345"]),
    ("replace(s, '\\\\', '$1')", ["a\\b"], ["a$1b"]),
    ("to_text(i)", [None, 0, -EDGE], [None, "0", "-9223372036854775808"]),
    ("to_text(b)", [None, True, False], [None, "true", "false"]),
    ("to_text(s)", [None, "a"], [None, "a"]),
    ("seconds(i)", [None, 90, EDGE - 1], [None, 90_000_000, None]),
    ("minutes(i)", [None, 90, -EDGE], [None, 5_400_000_000, None]),
    ("hours(i)", [None, -1], [None, -HOUR]),
    ("days(i)", [None, 2, 106751991, 106751992, -106751991], [None, 2 * DAY, 106751991 * DAY, None, -106751991 * DAY]),
    ("date(t)", [None, NEW_YEAR, NEW_YEAR - 1, -1, -EDGE], [None, NEW_YEAR_DAY, NEW_YEAR_DAY - 1, -1, -106751992]),
    ("date(t, 'America/New_York')", [None, NEW_YEAR], [None, NEW_YEAR_DAY - 1]),
    ("second(t, 'UTC')", [None, 61_999_999, -1], [None, 1, 59]),
    ("minute(t, 'Asia/Kolkata')", [None, NEW_YEAR], [None, 30]),
    ("hour(t)", [None, NEW_YEAR, NEW_YEAR - 1], [None, 0, 23]),
    (
        "hour(t, 'America/New_York')",
        [us(2013, 3, 10, 6, 59), us(2013, 3, 10, 7), us(2013, 11, 3, 5, 30), us(2013, 11, 3, 6, 30)],
        [1, 3, 1, 1],
    ),
    ("hour(t, 'Europe/Paris')", [us(1900, 1, 1, 12), None], [12, None]),
    ("minute(t, 'Europe/Paris')", [us(1900, 1, 1, 12)], [9]),
    ("weekday(d)", [None, NEW_YEAR_DAY, NEW_YEAR_DAY - 1], [None, 1, 0]),
    ("weekday(t, 'America/New_York')", [NEW_YEAR], [0]),
    ("day(d)", [None, NEW_YEAR_DAY - 1, 11016], [None, 31, 29]),
    ("dayofyear(d)", [None, NEW_YEAR_DAY - 1, NEW_YEAR_DAY], [None, 366, 1]),
    ("week(d)", [None, NEW_YEAR_DAY - 2, NEW_YEAR_DAY - 1], [None, 52, 1]),
    ("month(d)", [None, NEW_YEAR_DAY - 1], [None, 12]),
    ("quarter(d)", [None, NEW_YEAR_DAY - 1], [None, 4]),
    ("year(d)", [None, -719162, 2932896, 106751992, -106751992], [None, 1, 9999, None, None]),
    ("year(t, 'America/New_York')", [None, NEW_YEAR], [None, 2012]),
    ("i % 3", [None, 7, -7, -EDGE], [None, 1, 2, 1]),
    ("i % -1", [-EDGE], [0]),
    ("7 % i", [0, -3], [None, -2]),
    ("x % 1", [None, 1.25, -0.25, -0.0, INF, NAN, 5e-324], [None, 0.25, 0.75, 0.0, None, None, 5e-324]),
    ("1 % x", [0.0, -0.0, INF, -INF, -3.0], [None, None, 1.0, None, -2.0]),
    ("i // 3", [None, 7, -7], [None, 2, -3]),
    ("i // -1", [-EDGE, EDGE - 1], [None, -(EDGE - 1)]),
    ("7 // i", [0, -3], [None, -3]),
    ("x // 1", [None, 1.5, -1.5, -0.0, INF, NAN], [None, 1.0, -2.0, -0.0, None, None]),
    ("x // 0.1", [1.0, 1e308], [9.0, None]),
    ("u // days(1)", [None, 0, -1, DAY], [None, 0, -1, 1]),
    ("u // seconds(0)", [0, 1], [None, None]),
    ("u % hours(1)", [None, 90 * 60_000_000, -1], [None, HOUR // 2, HOUR - 1]),
    ("u / hours(1)", [None, 90 * 60_000_000, -EDGE], [None, 1.5, -EDGE / HOUR]),
    ("-u", [None, 1, -EDGE], [None, -1, None]),
    ("-i", [None, 1, -EDGE], [None, -1, None]),
    ("-x", [None, 0.0, INF], [None, -0.0, -INF]),
    ("d - d", [None, 5], [None, 0]),
    ("d - date(seconds(0) + t0)", [NEW_YEAR_DAY, 2**31 - 1], [NEW_YEAR_DAY * DAY, None]),
    ("i + 1", [None, EDGE - 1, -1], [None, None, 0]),
    ("i - 1", [None, -EDGE, 1], [None, None, 0]),
    ("i * 3", [None, EDGE // 2, -1], [None, None, -3]),
    ("i / 3", [None, 9007199254740993], [None, 3002399751580330.5]),
    ("i + 0.5", [2**53 + 1], [9007199254740992.0]),
    ("x * 10", [1e308, INF, NAN, -0.0], [None, None, None, -0.0]),
    ("i == 9007199254740992.0", [2**53 + 1, 2**53], [True, True]),
    ("i < 9007199254740993", [2**53, 2**53 + 1], [True, False]),
    ("x == x", [None, NAN, -0.0], [None, False, True]),
    ("x != x", [None, NAN], [None, True]),
    ("x < 1", [NAN, -INF, None], [False, True, None]),
    ("x >= 1", [NAN, INF], [False, True]),
    ("x == 0", [-0.0], [True]),
    ("b <= True", [None, True, False], [None, True, True]),
    ("b > False", [True, False], [True, False]),
    ("s < 'b'", [None, "a", "é", ""], [None, True, False, True]),
    ("x in [0, 1.5]", [None, -0.0, 1.5, NAN], [None, True, True, False]),
    ("x in [-0.0, 1.5]", [None, -0.0, 0.0, 1.5, NAN], [None, True, True, True, False]),
    ("x not in [0.0, -0.0]", [-0.0, 0.0, 1.0], [False, False, True]),
    ("x in [9007199254740993]", [2.0**53, 3.0], [True, False]),
    ("i in [2.0, 9007199254740992]", [2, 2**53 + 1, 3], [True, True, False]),
    ("i in [9007199254740993]", [2**53, 2**53 + 1], [False, True]),
    ("i not in [-1]", [None, -1, 1], [None, False, True]),
    ("not b", [None, True, False], [None, False, True]),
    ("b and b2", [None, True, False], [None, None, False]),
    ("b or b2", [None, True, False], [None, True, None]),
    ("1 if b else 2", [None, True, False], [2, 1, 2]),
    ("1 if b else 2.5", [None, True], [2.5, 1.0]),
    ("x if x >= 0 else None", [None, -1.0, NAN, 0.0], [None, None, None, 0.0]),
    ("None if x < 0 else floor(x) if x < 10 else 10", [-1.0, 3.5, 99.0, None], [None, 3, 10, 10]),
    ("'short' if i < 500 else 'medium' if i < 1500 else 'long'", [1, 500, 1500, None], ["short", "medium", "long", "long"]),
    ("1 / 0 if is_null(x) else hours(1) / minutes(90)", [None, 1.0], [None, 2 / 3]),
]


@pytest.mark.parametrize(("text", "cells", "expected"), CASES)
def test_a_function_gives_this_in_both_back_ends(text: str, cells: Sequence[object], expected: Sequence[object]) -> None:
    first = next(name for name in compile_expression(text).columns if name in KIND_OF_NAME)
    columns = {
        first: (KIND_OF_NAME[first], cells),
        "b2": ("bool", [None] * len(cells)),
        "t0": ("timestamp", [0] * len(cells)),
    }
    found = parts.agreed(text, columns)
    assert [_shown(value) for value in found] == [_shown(value) for value in expected]


def _shown(value: object) -> object:
    return "nan" if isinstance(value, float) and value != value else parts.bits(value)


def test_every_function_has_a_case_and_one_line_of_meaning() -> None:
    for name, function in FUNCTIONS.items():
        assert any(text.startswith(f"{name}(") for text, _, _ in CASES), name
        assert function.signature.startswith(f"{name}(")
    for function in [*FUNCTIONS.values(), *OPERATORS.values()]:
        assert function.meaning
        assert function.gives
        assert "\n" not in function.meaning


def test_to_number_reads_what_a_contract_reads() -> None:
    assert _rules.TEXT_GRAMMAR["float64"] == _numbers.NUMBER_GRAMMAR


def _options(function: Function, position: int) -> list[str]:
    candidates: list[object] = ["a", "é", "", "UTC", "America/New_York", "Asia/Kathmandu", 0, 1, 3, -2]
    return [repr(value) for value in candidates if not function.options[position](value)]


def _calls() -> list[tuple[str, tuple[str, ...]]]:
    """Every operation of every function and operator but `in`, as text and the kinds of its columns a, b, c."""
    out = set()
    for function in (*FUNCTIONS.values(), *OPERATORS.values()):
        for operation in function.operations:
            names = iter("abc")
            slots = [_options(function, i) if i in function.options else [next(names)] for i in range(len(operation.takes))]
            kinds = tuple(kind for kind in operation.takes if kind != "literal")
            out |= {(_written(function, arguments), kinds) for arguments in itertools.product(*slots)}
    return sorted(call for call in out if "[" not in call[0])


def _written(function: Function, arguments: Sequence[str]) -> str:
    name, bracket, _ = function.signature.partition("(")
    if bracket:
        return f"{name}({', '.join(arguments)})"
    return "b if a else c" if " if " in name else name


@pytest.mark.parametrize(("text", "kinds"), _calls())
def test_an_operation_gives_the_same_bits_in_both_back_ends(text: str, kinds: Sequence[str]) -> None:
    rows = list(itertools.product(*(parts.HOSTILE[kind] for kind in kinds)))[:: 1 if len(kinds) < 3 else 7]
    columns = {name: (kind, [row[i] for row in rows]) for i, (name, kind) in enumerate(zip("abc", kinds, strict=False))}
    _agreed_together(text, columns)


def _agreed_together(text: str, columns: Mapping[str, tuple[str, Sequence[object]]]) -> None:
    expression = compile_expression(text)
    table = pa.table({name: parts.column(values, kind) for name, (kind, values) in columns.items()})
    row = expression.row_function({name: kind for name, (kind, _) in columns.items()})
    by_row = map(row, *(columns[name][1] for name in expression.columns))
    for i, (one, value) in enumerate(zip(parts.plain(expression.evaluate(table)), by_row, strict=True)):
        assert parts.bits(one) == parts.bits(value), [(name, values[i]) for name, (_, values) in columns.items()]


@given(st.floats(), st.floats())
def test_functions_of_floats_give_the_same_bits_in_both_back_ends(x: float, y: float) -> None:
    for text in (
        "log(x)",
        "log1p(x)",
        "exp(x)",
        "sqrt(x)",
        "floor(x)",
        "ceil(x)",
        "round(x)",
        "x % y",
        "x // y",
        "least(x, y)",
    ):
        parts.agreed(text, {"x": ("float64", [x, y]), "y": ("float64", [y, x])})


@given(
    st.datetimes(datetime(1850, 1, 1), datetime(2200, 1, 1)),
    st.sampled_from(["America/New_York", "Europe/Paris", "Asia/Kathmandu", "Australia/Lord_Howe", "Africa/Monrovia"]),
)
def test_a_clock_is_that_of_the_zone_database(at: datetime, zone: str) -> None:
    at = at.replace(tzinfo=UTC)
    local = at.astimezone(zoneinfo.ZoneInfo(zone))
    expected = {
        "year": local.year,
        "month": local.month,
        "day": local.day,
        "hour": local.hour,
        "minute": local.minute,
        "second": local.second,
        "weekday": local.weekday(),
        "dayofyear": local.timetuple().tm_yday,
        "week": local.isocalendar().week,
        "quarter": (local.month + 2) // 3,
        "date": (local.date() - date(1970, 1, 1)).days,
    }
    instant = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    for name, value in expected.items():
        assert parts.agreed(f"{name}(t, '{zone}')", {"t": ("timestamp", [instant])}) == [value]


@given(st.text() | st.from_regex(_numbers.NUMBER_GRAMMAR, fullmatch=True), st.integers(-5, 5), st.integers(0, 5))
def test_functions_of_text_give_the_same_in_both_back_ends(text: str, start: int, length: int) -> None:
    column = {"s": ("string", [text])}
    for call in ("lower(s)", "upper(s)", "trim(s)", "length(s)", "to_number(s)", "replace(s, '0', 'é')", "s < 'm'"):
        parts.agreed(call, column)
    end = start + length
    expected = text[start:] if start < 0 <= end else text[start:end]
    assert parts.agreed(f"substr(s, {start}, {length})", column) == [expected]
