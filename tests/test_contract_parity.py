"""Whatever one row can decide is decided alike over columns and in one record; text is read by one grammar, fast or not."""

import re
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from contract_parts import contract
from hypothesis import example, given, settings
from hypothesis import strategies as st

from raypipe.contract._patterns import _LONGEST, _python, fits, fitting
from raypipe.contract._rules import TEXT_GRAMMAR
from raypipe.contract._values import values_of
from raypipe.core.kinds import ARROW

ALL = contract(
    key=("id",),
    id={"type": "int64", "min": -5},
    code={
        "type": "string",
        "regex": "N[0-9A-Z]+",
        "min_length": 2,
        "max_length": 4,
        "clean": ["trim", {"unicode": "NFKC"}, {"null_if": ["NA"]}],
        "pii": True,
    },
    word={"type": "string", "regex": "(a|b.)*é?", "nullable": False},
    temp={
        "type": "float64",
        "min": -50,
        "max": 130,
        "clean": [
            {"null_if": [-999, "NaN"]},
            {"outliers": {"above": 140, "then": "cap"}},
            {"outliers": {"below": -60, "then": "quarantine"}},
            {"expression": "temp + coalesce(count, 0) * 1.0"},
            {"outliers": {"below": -55, "then": "null"}},
        ],
    },
    count={"type": "int64", "max": 3, "severity": "warn", "one_of": [0, 1, 2, 3, 9]},
    day={"type": "date", "min": "2000-01-01"},
    at={"type": "timestamp", "max": "2020-01-01T00:00:00Z"},
    local={"type": "timestamp", "zone": "UTC", "min": "2000-01-01T00:00:00Z"},
    tags={"type": "list<string>", "max_length": 2},
    ids="list<int64>",
    v={"type": "vector", "min_length": 1},
    ok={"type": "bool", "one_of": [True]},
)
ALL = type(ALL).from_dict(
    ALL.to_dict()
    | {
        "rules": {
            "warm": {"expect": "temp > -20 or is_null(temp)"},
            "later": {"expect": "(is_null(at) or at > at - hours(1)) and coalesce(year(day), 0) < 2030"},
            "told": {"expect": "id > 0", "severity": "warn"},
            "named": {"expect": "length(word) < 4 or id == 1", "severity": "fail", "max_share": 0.5},
        }
    }
)
CELLS: dict[str, st.SearchStrategy[Any]] = {
    "id": st.integers(-7, 3) | st.just(2**63),
    "code": st.sampled_from(["N1", " N12 ", "NA", "n1", "N12345", "N\uff11", "N", "", 3]),
    "word": st.text("ab\né", max_size=6),
    "temp": st.floats(-70, 150) | st.sampled_from([-999, -999.0, float("nan"), float("inf"), 20, "x"]),
    "count": st.integers(-1, 9),
    "day": st.sampled_from(["1999-12-31", "2013-01-01", "2031-01-01", "2013-02-30", "x"]),
    "at": st.sampled_from(["2013-01-01T10:00:00Z", "2020-01-01T00:00:01Z", "1000-01-01T00:00:00Z", "2013-01-01", "x"]),
    "local": st.sampled_from(["2013-01-01T10:00", "1999-12-31 23:59:59.5", "2013-01-01T10:00:00+01:00", "2013-01-01", "x", 3]),
    "tags": st.lists(st.sampled_from(["a", "é", ""]), max_size=3),
    "ids": st.lists(st.integers(-3, 3), max_size=3),
    "v": st.lists(st.floats() | st.integers(-3, 3), max_size=3),
    "ok": st.booleans(),
}
TYPES = {"id": pa.float64(), "v": pa.list_(pa.float64()), "tags": pa.list_(pa.string()), "ids": pa.list_(pa.int64())}
GOOD = {
    "id": 1,
    "code": "N12",
    "word": "ab",
    "temp": 20.5,
    "count": 2,
    "day": "2013-01-01",
    "at": "2013-01-01T10:00:00Z",
    "local": "2013-01-01T10:00",
    "tags": ["a"],
    "ids": [1],
    "v": [0.5],
    "ok": True,
}
CHANGES = st.lists(
    st.sampled_from(sorted(CELLS)).flatmap(lambda name: st.tuples(st.just(name), st.none() | CELLS[name])),
    min_size=1,
    max_size=3,
)
RECORDS = CHANGES.map(lambda changes: GOOD | dict(changes))
"""Rows that keep the contract but for a few cells, so that each rule is the first one broken in some."""


def test_times_without_a_zone_are_of_utc_only_where_that_is_said() -> None:
    naive = pa.table({"x": pa.array([0, 10**15], pa.timestamp("us"))})
    said = contract(x={"type": "timestamp", "zone": "UTC"})
    assert said.check(naive).good["x"].cast(pa.int64()).to_pylist() == [0, 10**15]
    assert contract(x="timestamp").check(naive).bad["row"].to_pylist() == [0, 1]
    assert said.read_records([{"x": "1970-01-01 00:00"}]).rows == said.check(naive.slice(0, 1)).good.to_pylist()


def as_table(record: dict[str, Any]) -> pa.Table:
    return pa.table({name: pa.array([record.get(name)], _type_of(name, record.get(name))) for name in ALL.columns})


def _type_of(name: str, cell: Any) -> pa.DataType | None:
    if isinstance(cell, list):
        return TYPES[name]
    return pa.uint64() if name == "id" and cell == 2**63 else None


@given(RECORDS)
@example({"id": 1, "word": "b\n", "temp": 139.9, "count": 3})
@example(GOOD)
@example(GOOD | {"code": "N1"})
def test_a_row_gets_one_verdict_and_one_value_over_columns_and_as_a_record(record: dict[str, Any]) -> None:
    columns, read = ALL.check(as_table(record)), ALL.read_records([record])
    assert [(r["column"], r["rule"]) for r in columns.bad.to_pylist()] == [
        (r["column"], r["rule"]) for r in read.bad.to_pylist()
    ]
    assert columns.good.equals(ALL.table(read.rows)) if read.rows else columns.good.num_rows == 0


@settings(max_examples=25)
@given(st.lists(RECORDS, min_size=2, max_size=5))
def test_a_row_is_judged_alone_as_in_company_with_all_rules(records: list[dict[str, Any]]) -> None:
    tables = [
        as_table(record)
        for record in records
        if 3 not in (record.get("code"), record.get("local")) and record.get("temp") != "x"
    ]
    tables = [t for t in tables if t["id"].type != pa.uint64()]
    if tables:
        together = ALL.check(pa.concat_tables(tables, promote_options="permissive"))
        alone = [ALL.check(table) for table in tables]
        assert together.good.to_pylist() == [row for checked in alone for row in checked.good.to_pylist()]
        assert together.bad["rule"].to_pylist() == [rule for checked in alone for rule in checked.bad["rule"].to_pylist()]
        assert sum(together.warned.values()) == sum(n for checked in alone for n in checked.warned.values())


ALPHABETS = {
    "int64": "0123456789-+xX eE._",
    "float64": "0123456789-+.eExinfa ",
    "timestamp": "0123456789-+:.TZ ",
    "date": "0123456789-+ ",
}
EXAMPLES = {
    "int64": ["0x10", "-0", "+1", "9223372036854775808"],
    "float64": ["+1", "1e+5", "-.5", "1.", "nan", "-inf", "1e999", "1e-999"],
    "timestamp": [
        "2013-01-01T10Z",
        "2013-01-01T10+05:30",
        "2013-01-01T10:00+05",
        "0999-12-31T23:30:00-01:00",
        "2013-01-01T10:00:00.5-0030",
        "2013-01-01 10:00:00-05:00",
    ],
    "date": ["0999-01-01", "2013-1-01", "2013-02-29"],
}


@pytest.mark.parametrize("kind", ALPHABETS)
def test_the_fast_way_to_read_text_takes_what_the_grammar_takes(kind: Any) -> None:
    zone = "(Z|[+-][0-9]{2}:?([0-9]{2})?)?"
    shape = {"timestamp": rf"[012][0-9]{{3}}-0[1-3]-[0-3][0-9][T ][012][0-9](:[0-6][0-9]){{0,2}}(\.[0-9]{{1,7}})?{zone}"}
    texts = st.text(ALPHABETS[kind], max_size=8) | st.sampled_from(EXAMPLES[kind])
    texts = texts | st.from_regex(shape.get(kind, TEXT_GRAMMAR[kind]), fullmatch=True)

    @given(st.lists(st.none() | texts, min_size=1, max_size=3))
    def check(cells: list[str | None]) -> None:
        array = pa.array([None, *cells], pa.string())[1:]  # with an offset
        for found in (values_of(array, kind), values_of(array.cast(pa.large_string()), kind)):
            for text, value in zip(cells, found, strict=True):
                if text is None or not re.fullmatch(TEXT_GRAMMAR[kind], text):
                    assert not value.is_valid, (text, value)
                elif value.is_valid:
                    assert value == pc.cast(pa.array([text]), ARROW[kind])[0]
            alone = pa.concat_arrays([values_of(pa.array([text], pa.string()), kind) for text in cells])
            assert found.equals(alone)

    check()


@pytest.mark.parametrize(
    ("pattern", "own"),
    [
        ("N[0-9A-Z]+", True),
        (r"\d{4}-\d{2}", True),
        ("[A-Z]{3}", True),
        (r"[^@ ]+@[^@ ]+\.[a-z]+", True),
        (".*", True),
        ("a|b", False),
        ("(a+)+", False),
        (r"\w+", False),
        (r"\s", False),
        ("a$", False),
        ("[[:alpha:]]+", False),
        ("a*a*a*a*b", False),
        ("(?i)a", False),
        ("", True),
    ],
)
def test_a_pattern_means_one_thing_in_both_back_ends(*, pattern: str, own: bool) -> None:
    assert (_python(pattern) is not None) == own
    fit = fits(pattern)

    @given(st.text("aAbN09-@. é\n\u0661", max_size=8) | st.sampled_from(["N12", "2013-01", "ABC", "a@b.cd", "a\n", "٣"]))
    def check(text: str) -> None:
        assert fit(text) == fitting(pa.array([text]), pattern)[0].as_py()

    check()
    long = "a" * (_LONGEST[0] + 1)
    assert fit(long) == fitting(pa.array([long]), pattern)[0].as_py()
