"""Expressions: the grammar, three-valued logic, exactness, and rows that do not depend on each other."""

import contextlib
import pickle
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.core.errors import ConfigError, FeatureError
from raypipe.expressions import Expression, compile_expression

TEN = datetime(2013, 1, 1, 10, tzinfo=UTC)
TABLE = pa.table(
    {
        "time_hour": pa.array([TEN, None], pa.timestamp("us", "UTC")),
        "minute": [15, 3],
        "arr_delay": [16.0, None],
        "carrier": ["UA", None],
        "big": [2**62, 1],
        "zero": [0, 2],
        "flag": [True, None],
        "day": pa.array([date(2013, 1, 1), None]),
    }
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("time_hour + minutes(minute) - hours(1)", [datetime(2013, 1, 1, 9, 15, tzinfo=UTC), None]),
        ("time_hour - days(1) < time_hour", [True, None]),
        ("time_hour - time_hour", [timedelta(0), None]),
        ("(time_hour + minutes(90) - time_hour) / hours(1)", [1.5, None]),
        ("minutes(minute) > minutes(5) + minutes(5)", [True, False]),
        ("arr_delay > 15", [True, None]),
        ("arr_delay > 15 or true_", [True, True]),
        ("minute * 2 + 1", [31, 7]),
        ("minute - 0.5", [14.5, 2.5]),
        ("-minute", [-15, -3]),
        ("-arr_delay", [-16.0, None]),
        ("7 / 2", [3.5, 3.5]),
        ("1 / zero", [None, 0.5]),
        ("-1.0 / zero", [None, -0.5]),
        ("big * 4", [None, 4]),
        ("big + big", [None, 2]),
        ("big * 4.0", [float(2**64), 4.0]),
        ("big * big * 1e300 * 1e300", [None, None]),
        ("time_hour + days(minute * 10000000)", [None, None]),
        ("1 < minute <= 15", [True, True]),
        ("carrier == 'UA'", [True, None]),
        ("carrier != 'UA'", [False, None]),
        ("carrier < 'V'", [True, None]),
        ("carrier in ['UA', 'AA']", [True, None]),
        ("carrier not in ['UA']", [False, None]),
        ("minute in (15, 3.5, -1)", [True, False]),
        ("flag in [True]", [True, None]),
        ("lower(carrier)", ["ua", None]),
        ("is_null(arr_delay)", [False, True]),
        ("coalesce(arr_delay, 0)", [16.0, 0.0]),
        ("coalesce(carrier, 'none')", ["UA", "none"]),
        ("not flag", [False, None]),
        ("flag and minute > 3", [True, False]),
        ("flag or minute == 3", [True, True]),
        ("day == day", [True, None]),
        ("'literal'", ["literal", "literal"]),
        (" minute ", [15, 3]),
        ("minute\n  + 1", [16, 4]),
    ],
)
def test_an_expression_gives_this_column(text: str, expected: list[Any]) -> None:
    table = TABLE.append_column("true_", pa.array([True, True]))
    result = compile_expression(text).evaluate(table)
    assert isinstance(result, pa.Array)
    assert result.to_pylist() == expected
    assert result.type == compile_expression(text).type_in(table.schema)


@pytest.mark.parametrize(
    ("text", "problem", "caret"),
    [
        ("a +", "syntax error", 3),
        ("", "syntax error", 0),
        ("a ) b", "syntax error", 2),
        ("a; b", "syntax error", 1),
        ("x := 3", "syntax error", 2),
        ("'\\d' == a", "syntax error", 0),
        ("__import__('os')", "unknown function __import__", 0),
        ("1 + minuts(x)", "unknown function minuts; did you mean minutes or minute?", 4),
        ("1 + zzz(x)", "unknown function zzz (functions: is_null, coalesce, ", 4),
        ("a.b", "Attribute is not in the grammar", 0),
        ("'é' + a.b", "Attribute is not in the grammar", 6),
        ("a.lower()", "methods are not in the grammar", 0),
        ("1 + a[0]", "Subscript is not in the grammar", 4),
        ("[x for x in y]", "ListComp is not in the grammar", 0),
        ("lambda: 1", "Lambda is not in the grammar", 0),
        ("a if b", "syntax error: expected 'else' after 'if' expression", 0),
        ("a if b is c else d", "`is` is not in the grammar", 5),
        ("a if None else b", "None stands for null as a value of `a if condition else b` only; ask with is_null(x)", 5),
        ("a == None", "None stands for null", 5),
        ("coalesce(a, None)", "None stands for null", 12),
        ("...", "Ellipsis is not a number, text or boolean", 0),
        ("contains(a, b)", "contains: expected a text literal, such as 'AA'", 12),
        ("contains(a, '')", "contains: expected a text literal that is not empty", 12),
        ("contains(a, lower('B'))", "contains: expected a text literal", 12),
        ("replace(a, 'b', 1)", "replace: expected a text literal", 16),
        ("replace(a, '', 'b')", "replace: expected a text literal that is not empty", 11),
        ("substr(a, b, 1)", "substr: expected a whole number from -1000000 to 1000000 as a literal", 10),
        ("substr(a, True, 1)", "substr: expected a whole number from -1000000 to 1000000 as a literal", 10),
        ("substr(a, -1000001, 1)", "substr: expected a whole number from -1000000", 10),
        ("substr(a, 1, -1)", "substr: expected a literal length from 0 to 1000000", 13),
        ("substr(a, 1, 1000001)", "substr: expected a literal length from 0 to 1000000", 13),
        ("hour(t, zone)", "hour: expected the zone as a text literal, such as 'America/New_York'", 8),
        ("hour(t, 'America/New_Yrk')", "unknown time zone 'America/New_Yrk'; did you mean America/New_York", 8),
        ("date(t, '../../etc/passwd')", "unknown time zone '../../etc/passwd'", 8),
        ("f'{a}'", "JoinedStr is not in the grammar", 0),
        ("a ** 2", "operator Pow is not in the grammar", 0),
        ("a @ b", "operator MatMult is not in the grammar", 0),
        ("+a", "operator UAdd is not in the grammar", 0),
        ("a is b", "`is` is not in the grammar", 0),
        ("a in b", "`in` takes a list of literals", 5),
        ("a in [b]", "`in` takes a list of literals only", 6),
        ("a in []", "`in` takes a list of literals", 5),
        ("a in [-'b']", "`-` needs a number", 6),
        ("1 < a in [1]", "`in` cannot be chained", 0),
        ("hours(1, 2)", "hours takes 1 argument: hours(n)", 0),
        ("hours(x=1)", "hours takes 1 argument: hours(n)", 0),
        ("hour()", "hour takes 1 to 2 arguments: hour(t, 'zone')", 0),
        ("substr(a, 1)", "substr takes 3 arguments: substr(text, start, length)", 0),
        ("coalesce(a)", "coalesce takes 2 to 20 arguments: coalesce(a, b, ...)", 0),
        ("lower(*a)", "Starred is not in the grammar", 6),
        ("None", "None stands for null", 0),
        ("a + 9999999999999999999", "whole number outside of int64", 4),
        ("1e999", "number too large", 0),
        ("'\\ud800'", "lone surrogate", 0),
        ("a\n+", "syntax error", 3),
    ],
)
def test_what_is_not_in_the_grammar_is_refused_with_a_caret(text: str, problem: str, caret: int) -> None:
    with pytest.raises(ConfigError) as caught:
        compile_expression(text)
    first, _, pointer = str(caught.value).splitlines()
    assert problem in first
    assert pointer.index("^") == 4 + caret


@pytest.mark.parametrize("text", ["not " * 400 + "a", "-" * 1000 + "a", "(" * 90 + "a" + ")" * 90 + " +", "a + " * 600 + "a"])
def test_an_expression_too_deep_or_too_long_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        compile_expression(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("minut + 1", "unknown column minut; did you mean minute?"),
        ("carrier > 1", "cannot compare string with int64"),
        ("carrier + 'x'", "cannot compute string + string"),
        ("time_hour + 1", "cannot compute timestamp + int64"),
        ("time_hour * hours(1)", "cannot compute timestamp * duration"),
        ("hours(1) - time_hour", "cannot compute duration - timestamp"),
        ("hours(arr_delay)", "hours needs a whole number, not float64"),
        ("not minute", "`not` needs a boolean, not int64"),
        ("-carrier", "`-` needs a number or a duration, not string"),
        ("flag and minute", "`and` needs booleans, not bool and int64"),
        ("flag and flag and minute", "`and` needs booleans, not bool and bool and int64"),
        ("1 if minute else 2", "`if` needs a boolean between two values of one kind, not int64 if int64 else int64"),
        ("1 if flag else carrier", "`if` needs a boolean between two values of one kind, not int64 if bool else string"),
        ("None if flag else None", "both values of `if` are None"),
        ("concat(carrier, minute)", "concat needs texts, not string and int64; to_text(x) makes text"),
        ("hour(day)", "hour needs a timestamp, not date"),
        ("year(day, 'UTC')", "year needs a timestamp, or a date and no zone, not date"),
        ("year(minute)", "year needs a timestamp, or a date and no zone, not int64"),
        ("date(day)", "date needs a timestamp, not date"),
        ("time_hour // hours(1)", "cannot compute timestamp // duration"),
        ("day + days(1)", "cannot compute date + duration"),
        ("log(carrier)", "log needs a number, not string"),
        ("least(carrier, 1)", "least needs values of one kind, not string and int64"),
        ("to_text(arr_delay)", "to_text needs int64, bool or text, not float64"),
        ("contains(minute, '1')", "contains needs text, not int64"),
        ("day == '2013-01-01'", "cannot compare date with string"),
        ("day in ['2013-01-01']", "cannot compare date with string"),
        ("carrier in ['UA', 1.5]", "cannot compare string with float64"),
        ("flag in [1]", "cannot compare bool with int64"),
        ("unsigned", "column unsigned is uint64, which expressions do not take"),
        ("lower(minute)", "lower needs text, not int64"),
        ("coalesce(carrier, 1)", "coalesce needs values of one kind, not string and int64"),
        ("carrier in [1]", "cannot compare string with int64"),
        ("naive > naive", "column naive holds timestamps without a zone"),
        ("listed == listed", "which expressions do not take"),
    ],
)
@pytest.mark.parametrize("num_rows", [2, 0])
def test_types_that_do_not_fit_are_named_with_and_without_rows(text: str, problem: str, num_rows: int) -> None:
    table = TABLE.append_column("naive", pa.array([None, None], pa.timestamp("us")))
    table = table.append_column("listed", pa.array([[1], None], pa.list_(pa.int64())))
    table = table.append_column("unsigned", pa.array([1, None], pa.uint64()))
    with pytest.raises(FeatureError) as caught:
        compile_expression(text).evaluate(table.slice(0, num_rows))
    assert problem in str(caught.value)


def test_columns_are_listed_once_in_order_and_functions_are_not_columns() -> None:
    assert compile_expression("minutes(b) > minutes(a) + hours(b)").columns == ("b", "a")
    assert compile_expression("a in ['b']").columns == ("a",)
    assert compile_expression("c if b > a else hour(t, 'UTC')").columns == ("c", "b", "a", "t")


def test_an_expression_survives_pickling() -> None:
    expression = pickle.loads(pickle.dumps(compile_expression("minute * 2")))
    assert expression == compile_expression("minute * 2")
    assert expression.evaluate(TABLE).to_pylist() == [30, 6]


def test_narrow_and_dictionary_columns_give_what_wide_ones_give() -> None:
    narrow = pa.table(
        {
            "t": pa.array([TEN], pa.timestamp("s", "Europe/Paris")),
            "i": pa.array([3], pa.uint8()),
            "f": pa.array([0.5], pa.float32()),
            "s": pa.array(["A"], pa.large_string()).dictionary_encode(),
        }
    )
    for text, kind in (
        ("t", pa.timestamp("us", "UTC")),
        ("i * 100", pa.int64()),
        ("f", pa.float64()),
        ("lower(s)", pa.string()),
    ):
        assert compile_expression(text).evaluate(narrow).type == kind
    assert compile_expression("i * 100").evaluate(narrow).to_pylist() == [300]


NUMBERS = st.none() | st.integers(-(2**63), 2**63 - 1)
FLOATS = st.none() | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = ["i + j", "i - j", "i * j", "i / j", "-i", "i * x", "x / j", "x * x - i", "i < x", "i == j or x > 0", "minutes(i)"]


@given(st.lists(st.tuples(NUMBERS, NUMBERS, FLOATS), min_size=1, max_size=8), st.sampled_from(TEXTS))
def test_a_row_gives_the_same_value_alone_and_in_company(rows: list[tuple[Any, ...]], text: str) -> None:
    kinds = {"i": pa.int64(), "j": pa.int64(), "x": pa.float64()}
    table = pa.table({name: pa.array(cells, kinds[name]) for name, cells in zip(kinds, zip(*rows, strict=True), strict=True)})
    expression = compile_expression(text)
    together = expression.evaluate(table).to_pylist()
    alone = [expression.evaluate(table.slice(i, 1))[0].as_py() for i in range(len(rows))]
    chunked = pa.concat_tables([table.slice(i, 1) for i in range(len(rows))])
    assert repr(together) == repr(alone) == repr(expression.evaluate(chunked).to_pylist())


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=8), st.sampled_from("+-*"))
def test_whole_numbers_are_exact_or_null(rows: list[tuple[int | None, int | None]], op: str) -> None:
    table = pa.table({n: pa.array(cells, pa.int64()) for n, cells in zip("ij", zip(*rows, strict=True), strict=True)})
    for row, result in zip(rows, compile_expression(f"i {op} j").evaluate(table).to_pylist(), strict=True):
        i, j = row
        exact = None if i is None or j is None else {"+": i + j, "-": i - j, "*": i * j}[op]
        assert result == (exact if exact is not None and -(2**63) <= exact < 2**63 else None)


@given(
    st.text(max_size=40)
    | st.lists(st.sampled_from(["a", " ", "+", "1", "(", ")", "'", "in", "[", "not", ",", "\n"])).map("".join)
)
def test_any_text_compiles_or_is_refused_as_configuration(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert isinstance(compile_expression(text), Expression)
