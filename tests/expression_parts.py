"""Plain values for the tests of expressions: hostile rows, tables of them, and values compared to the last bit."""

import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import pyarrow as pa

from raypipe.expressions import compile_expression

ARROW = {
    "bool": pa.bool_(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "string": pa.string(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", "UTC"),
    "duration": pa.duration("us"),
}
EDGE = 2**63
INTS = [None, 0, 1, -1, 2, 3, -7, 60, 2**31, 2**53, 2**53 + 1, -(2**53) - 1, EDGE - 1, -EDGE, EDGE // 3_600_000_000]
FLOATS = [
    *(None, float("nan"), struct.unpack("<d", struct.pack("<Q", 0xFFF8000000000123))[0]),  # a NaN with a sign and a payload
    *(0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -0.5, -7.25, 0.1, 5e-324, -5e-324, 1e-308, 709.782712893384, 709.7827128933841),
    *(float("inf"), -float("inf"), 1.7976931348623157e308, 1e300, 9.2e18, 2.0**53, 2.0**63, -(2.0**63), 2.0**63 - 1024),
]
TEXTS = [
    *(None, "", "a", "UA", "ua", "aaa", "abcabc", " a\t", "\u2003a\u00a0", "\x1c\x85", "\x00", "İstanbul", "ΣΑΣ", "straße"),
    *(
        "ǅ",
        "ﬁ",
        "日本",
        "𝄞x",
        "e\u0301",
        "0",
        "-0",
        "12",
        "-1.5e3",
        ".5",
        "5.",
        "1e999",
        "1e-400",
        "1e",
        "1_0",
        "\u0661",
        "nan",
    ),
    *("inf", "+1", " 1", "1\n", "0x10", "9007199254740993", "1.7976931348623159e308", "2.4703282292062328e-324"),
]
DATES = [None, 0, -1, 59, 11016, 15706, -25567, -(2**31), 2**31 - 1, -719162, 2932896, 106751991, 106751992, -106751992]


def us(*at: int) -> int:
    """Microseconds since the epoch of an instant in UTC."""
    return int(datetime(*at, tzinfo=UTC).timestamp()) * 1_000_000  # type: ignore[arg-type, misc]


INSTANTS = [
    *(None, 0, -1, 1, EDGE - 1, -EDGE, us(1900, 1, 1), us(1883, 11, 18, 16, 59, 59), us(2013, 1, 1, 4, 59, 59) + 999_999),
    *(us(2013, 3, 10, 6, 59, 59), us(2013, 3, 10, 7), us(2013, 11, 3, 5, 59), us(2013, 11, 3, 6), us(2000, 2, 29, 23, 59, 59)),
    *(us(2012, 12, 31, 23), us(1916, 4, 30, 22), us(2400, 2, 29), us(1, 1, 1), us(9999, 12, 31, 23, 59, 59)),
]
DURATIONS = [None, 0, 1, -1, 60_000_000, 3_600_000_000, -5_400_000_000, 86_400_000_000, EDGE - 1, -EDGE]
HOSTILE: Mapping[str, Sequence[object]] = {
    "bool": [None, True, False],
    "int64": INTS,
    "float64": FLOATS,
    "string": TEXTS,
    "date": DATES,
    "timestamp": INSTANTS,
    "duration": DURATIONS,
}


def column(values: Sequence[object], kind: str) -> pa.Array:
    """Plain values as a column of their kind."""
    plain = {"date": pa.int32(), "timestamp": pa.int64(), "duration": pa.int64()}.get(kind, ARROW[kind])
    return pa.array(values, plain).cast(ARROW[kind])


def plain(cells: pa.Array) -> list[object]:
    """The values of a column in plain form."""
    found: list[object] = cells.cast({"date32[day]": pa.int32()}.get(str(cells.type), _plain_type(cells.type))).to_pylist()
    return found


def _plain_type(found: pa.DataType) -> pa.DataType:
    return pa.int64() if pa.types.is_timestamp(found) or pa.types.is_duration(found) else found


def bits(value: object) -> object:
    """What tells values apart: the type, the bits of a float, null from NaN."""
    return (type(value), struct.pack("<d", value) if isinstance(value, float) else value)


def agreed(text: str, columns: Mapping[str, tuple[str, Sequence[object]]]) -> list[object]:
    """The plain values of an expression over columns given as kind and values, after comparing all ways to compute them."""
    expression = compile_expression(text)
    kinds = {name: kind for name, (kind, _) in columns.items()}
    table = pa.table({name: column(values, kind) for name, (kind, values) in columns.items()})
    row = expression.row_function(kinds)
    together = expression.evaluate(table)
    assert together.type == expression.type_in(table.schema) == ARROW[expression.kind_in(kinds)]
    assert expression.evaluate(table.slice(0, 0)).type == together.type
    alone = [plain(expression.evaluate(table.slice(i, 1)))[0] for i in range(table.num_rows)]
    by_row = [row(*(columns[name][1][i] for name in expression.columns)) for i in range(table.num_rows)]
    for i, value in enumerate(plain(together)):
        assert bits(value) == bits(alone[i]) == bits(by_row[i]), (text, {n: v[i] for n, (_, v) in columns.items()})
    return by_row
