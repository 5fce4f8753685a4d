"""Files that are wrong in every way that we could think of, and what becomes of each."""

import gzip
import io
import os
import zipfile
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from bad_inputs import case, kept, refused

from raypipe.core.errors import (
    ConfigError,
    ContractViolation,
    DuplicateKeys,
    InputError,
    SchemaMismatch,
    StorageError,
)

TWO = [(1, "x"), (2, "y")]
GOOD = b"a,b\n1,x\n2,y\n"
IN_PLACE = b"a,b\n2,z\n3,w\n"
NOON = datetime(2013, 1, 1, 12, tzinfo=UTC)
lines = partial(case, kind="JsonLines")


def zipped(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, b"a,b\n1,x\n")
    return out.getvalue()


def named_in_latin_1(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.csv")).write_bytes(GOOD)


CSV = [
    case("empty", b"", refused("the file is empty")),
    case("a header only", b"a,b\n", refused("a header but no rows")),
    case("truncated gz", gzip.compress(GOOD * 50)[:-30], refused("not a readable CSV file.*Truncated"), uri="t.csv.gz"),
    case("no gz", GOOD, refused("not a readable CSV file"), uri="t.csv.gz"),
    case("a zip of two members", zipped("1.csv", "2.csv"), refused("holds 2 files, expected one; zip one"), uri="t.zip"),
    case("Latin 1 as UTF-8", b"a,b\n1,x\n2,\xe9\n", kept(TWO[:1], r"column b .* not utf-8 text: .xe9", broken=1)),
    case("UTF-16 as UTF-8", "a,b\n1,x\n".encode("utf-16"), refused("not UTF-8 text.*set the source's encoding")),
    case("bytes of no encoding", b"a,b\n1,\x81\n", refused("not CP1252 text"), source={"encoding": "cp1252"}),
    case("a byte order mark", b"\xef\xbb\xbf" + GOOD, kept(TWO)),
    case("two files glued together", GOOD + b"\xef\xbb\xbf" + GOOD, refused("is not unique, 2 row", DuplicateKeys)),
    case("NUL bytes at the end", GOOD + bytes(99), kept(TWO, "expected 2 fields, got 1", broken=1)),
    case("NUL bytes in cells", b"a,b\n1,x\0\n2\0,y\n", kept([(1, "x\0")], type_a=1)),
    case("ragged lines", b"a,b\n1,x\n2\n3,z,z\n\n4,w\n", kept([(1, "x"), (4, "w")], "expected 2 fields, got 3", broken=2)),
    case("ragged and no UTF-8", b"a,b\n1,x\n2,\xff,3\n", refused("Expected 2 columns, got 3.*correct the file")),
    case("a quote left open", b'a,b\n1,"x\n2,y\n3,z\n', refused("a quote that is never closed, in the record on line 2")),
    case("a header twice", b"a,b,a\n1,x,2\n", refused("two columns named a; rename one")),
    case("a renamed column", b"a,bb\n1,x\n", refused(r"missing: b;.*bb is perhaps the renamed b", SchemaMismatch)),
    case("a missing column", b"a\n1\n", refused(r"1 declared column\(s\) missing: b", SchemaMismatch)),
    case(
        "a Cyrillic letter in the header",
        "\u0430,b\n1,x\n".encode(),
        refused("missing: a; found instead: \u0430", SchemaMismatch),
    ),
    case("columns in another order", b"b,c,a\nx,7,1\ny,7,2\n", kept(TWO)),
    case("a new column, refused", b"a,b,c\n1,x,2\n", refused("1 column.*not declared: c; declare them"), drift="refuse"),
    case(
        "a new column, later", GOOD, kept([*TWO, (3, "z")], told="new column c"), then={"2.csv": b"a,b,c\n3,z,7\n"}, uri="*.csv"
    ),
    case("a new column twice", b"a,b,c,c\n1,x,2,3\n", refused("two columns named c; rename one"), drift="add"),
    case("a new column of another case", b"a,b,A\n1,x,2\n", refused("Delta Lake has not .*: 'A'", StorageError), drift="add"),
    case("a line end in the header", b'a,"b\n(EUR)"\n1,x\n', refused(r"found instead: 'b\\n\(EUR\)'", SchemaMismatch)),
    case("a name that raypipe needs", b"a,b,__row\n1,x,2\n", refused("named __row, a name that raypipe needs; rename it")),
    case(
        "1,000 other columns",
        b",".join(b"c%d" % i for i in range(1000)) + b"\n1\n",
        refused("c11 and 988 more", SchemaMismatch),
    ),
    case("semicolons", b"a;b\n1;x\n", refused("found instead: a;b.*delimiter", SchemaMismatch)),
    case("thousands", b'a,b\n1,"1,234.5"\n2,1.5\n', kept([(2, 1.5)], "'1,234.5' is not", type_b=1), b="float64"),
    case(
        "times without a zone",
        b"a,b\n1,2013-01-01T12:00:00\n2,01/02/2013\n3,2013-01-01T12:00:00Z\n",
        kept([(3, NOON)], "has no time zone; expected a timestamp such as", type_b=2),
        b="timestamp",
    ),
    case(
        "times that are none",
        b"a,b\n1,2013-06-30T23:59:60Z\n2,2013-02-30T00:00:00Z\n3,0001-01-01T00:00:00Z\n4,2013-01-01T00:00:00+99:00\n",
        kept([], "02-30T00:00:00Z' is not a timestamp", type_b=4),
        b="timestamp",
    ),
    case("days that are none", b"a,b\n1,2013-02-30\n2,0000-00-00\n", kept([], "02-30' is not a date", type_b=2), b="date"),
    case("whole numbers of 64 bits and more", b"a,b\n9223372036854775808,x\n1e3,y\n0x1F,z\n1.0,w\n", kept([], type_a=4)),
    case("NaN and infinity", b"a,b\n1,NaN\n2,inf\n3,-Infinity\n4,1e999\n5,\n", kept([(5, None)], type_b=4), b="float64"),
    case("NA that nobody declared", b"a,b\n1,NA\n2,-\n3,null\n", kept([], "'NA' is not", type_b=3), b="float64"),
    case("digits of other scripts", "a,b\n\uff11\uff12,x\n\u0663,y\n\u22124,z\n".encode(), kept([], type_a=3)),
    case("letters that look alike", "a,b\nA,1\n\u0410,2\n".encode(), kept([("A", "1"), ("\u0410", "2")]), a="string"),
    case(
        "two forms of é",
        "a,b\né,1\né,2\n".encode(),
        refused("is not unique", DuplicateKeys),
        a={"type": "string", "clean": [{"unicode": "NFC"}]},
    ),
    case("spaces around numbers", b"a,b\n 1, x\n2 ,y\n3,z\n", kept([(3, "z")], "' 1' is not a whole number", type_a=2)),
    case("spaces, trimmed", b"a,b\n 1,x\n2\xc2\xa0,y\n", kept(TWO, told="trim of a"), a={"type": "int64", "clean": ["trim"]}),
    case("leading zeros", b"a,b\n007,x\n7,y\n", kept([("007", "x"), ("7", "y")]), a="string"),
    case("line ends in quotes", b'a,b\n1,"x\r\n,""y"\n2,y\n', kept([(1, 'x\r\n,"y'), (2, "y")])),
    case("no value in the key", b"a,b\n,x\n1,\n", kept([(1, None)], "is null", null_a=1)),
    case("no value where one must be", b"a,b\n1,\n2,y\n", kept(TWO[1:], null_b=1), b={"type": "string", "nullable": False}),
    case(
        "yes and no",
        b"a,b\n1,yes\n2,TRUE\n3,0\n",
        kept([(2, True), (3, False)], "'yes' is not true or false", type_b=1),
        b="bool",
    ),
    case("one of many is empty", {"1.csv": GOOD, "2.csv": b""}, refused("2.csv: the file is empty"), uri="*.csv"),
    case("brackets in the file's name", {"t[1].csv": GOOD}, kept(TWO), uri="t[1].csv"),
    case("a mark of ranges in the file's name", {"t#bytes=0-5.csv": GOOD}, kept(TWO), uri="*.csv"),
    case("a file's name in Latin 1", named_in_latin_1, refused("no UTF-8 text; rename it"), uri="*.csv"),
    case("a line end in the file's name", {"t\n.csv": GOOD}, refused("name holds line ends"), uri="*.csv"),
    case("no file", {}, refused("no such file; correct the source's uri")),
    case("a folder", lambda folder: (folder / "t.csv").mkdir(), refused("no such file; correct the source's uri")),
    case(
        "a link to nowhere",
        lambda folder: (folder / "t.csv").symlink_to("nowhere"),
        refused("no such file; correct the source's uri"),
    ),
    case("a file that is gone later", {"1.csv": GOOD}, refused("no such file"), uri="1.csv", then={"1.csv": None}),
    case(
        "one of many is gone later",
        {"1.csv": GOOD, "2.csv": b"a,b\n3,z\n"},
        kept([*TWO, (3, "z")]),
        uri="*.csv",
        then={"2.csv": None},
    ),
    case("changed in place, replaced", GOOD, kept([(2, "z"), (3, "w")]), then=IN_PLACE),
    case(
        "changed in place, on top",
        GOOD,
        refused("is not unique, 1 row", DuplicateKeys),
        then=IN_PLACE,
        table={"replaced": "append"},
    ),
    case(
        "changed in place, refused",
        GOOD,
        refused("that are in table t changed since; give new names"),
        then=IN_PLACE,
        table={"replaced": "refuse"},
    ),
]

JSON = [
    lines("empty", b"\n\n", refused("holds no records")),
    lines(
        "broken lines",
        b'{"a": 1, "b": "x"}\n{"a": 2, "b": \n{"a":3}{"a":4}\n[5]\nnull\n',
        kept(TWO[:1], "is not a JSON object: null", broken=4),
    ),
    lines(
        "one array, not lines",
        b'[{"a": 1, "b": "x"},\n{"a": 2, "b": "y"}]\n',
        refused("2 of 2 rows.*is not a JSON object|missing: a", InputError),
    ),
    lines("a key twice", b'{"a": 1, "a": 2, "b": "x"}\n{"a": 2, "b": "y"}\n', kept(TWO[1:], "has key a twice", broken=1)),
    lines(
        "values in values",
        b'{"a": {"k": 1}, "b": "x"}\n{"a": [2], "b": "y"}\n{"a": 3, "b": null}\n',
        kept([(3, None)], "'{\"k\":1}' is not a whole", type_a=2),
    ),
    lines(
        "numbers too large",
        b'{"a": 12345678901234567890123, "b": "x"}\n{"a": 1e2, "b": "y"}\n{"a": 2.0, "b": "z"}\n',
        kept([], type_a=3),
    ),
    lines("NaN", b'{"a": 1, "b": NaN}\n{"a": 2, "b": 0.5}\n', kept([(2, 0.5)], type_b=1), b="float64"),
    lines(
        "half a character",
        b'{"a": 1, "b": "\\ud800"}\n{"a": 2, "b": "\xff"}\n{"a": 3, "b": "\\u00e9"}\n',
        kept([(3, "é")], broken=2),
    ),
    lines(
        "a key misspelled in one line",
        b'{"a": 1, "b": "x"}\n{"a": 2, "bb": "y"}\n',
        kept(TWO[:1], "is null", null_b=1),
        b={"type": "string", "nullable": False},
    ),
    lines(
        "a new key, refused",
        b'{"a": 1, "b": "x"}\n{"a": 2, "bb": "y"}\n',
        refused("1 column.*not declared: bb"),
        drift="refuse",
    ),
    lines("no such key", b'{"a": 1, "bb": "y"}\n', refused("bb is perhaps the renamed b", SchemaMismatch)),
    lines(
        "a list that is none",
        b'{"a": 1, "b": ["x"]}\n{"a": 2, "b": "x"}\n',
        kept([(1, ["x"])], "b is not a list", broken=1),
        source={"lists": ["b"]},
        b="list<string>",
    ),
]

REPEATED = b"a,b\n1,5\n2,2\n1,7\n1,6\n"
CONTRACT = [
    case("a key twice", REPEATED, refused(r"key \(a\) is not unique, 2 row.*a=1; correct", DuplicateKeys)),
    case("a key of many lines twice", b'a,b\n"x\ny",1\n"x\ny",2\n', refused("a=x y; correct", DuplicateKeys), a="string"),
    case("a key twice, first", REPEATED, kept([(1, "5"), (2, "2")], duplicate_a=2), duplicates="first"),
    case("a key twice, last", REPEATED, kept([(1, "6"), (2, "2")], duplicate_a=2), duplicates="last"),
    case("a key twice, latest", REPEATED, kept([(1, 7), (2, 2)], duplicate_a=2), duplicates={"latest": "b"}, b="int64"),
    case("another set that repeats", b"a,b\n1,x\n2,x\n", refused(r"key \(b\) is not unique", DuplicateKeys), unique=[["b"]]),
    case("a rule", GOOD, kept(TWO[:1], "expected a < 2; found a=2", small=1), rules={"small": {"expect": "a < 2"}}),
    case(
        "a rule that warns",
        GOOD,
        kept(TWO, told="small: 1 of 2 rows"),
        rules={"small": {"expect": "a < 2", "severity": "warn"}},
    ),
    case(
        "a rule that fails",
        GOOD,
        refused("small: 1 of 2 rows .* allowed share 0.2", ContractViolation, small=1),
        rules={"small": {"expect": "a < 2", "severity": "fail", "max_share": 0.2}},
    ),
    case(
        "too many bad rows",
        b"a,b\nx,1\ny,2\n3,3\n",
        refused("2 of 3 rows.*row 0 of .*t.csv, column a: 'x' is not", ContractViolation, type_a=2),
        max_bad_share=0.5,
    ),
    case("too few rows", GOOD, refused("rows: 2 rows, expected at least 3", ContractViolation), rows={"min": 3}),
    case("too many rows", GOOD, refused("rows: 2 rows, expected at most 1", ContractViolation), rows={"max": 1}),
    case(
        "too old",
        b"a,b\n1,2013-01-01T12:00:00Z\n",
        refused("freshness: the newest b is 2013-01-01T12:00:00.*at most 2d", ContractViolation),
        b="timestamp",
        freshness={"column": "b", "max_age": "2d"},
    ),
    case(
        "more nulls than before",
        {"1.csv": GOOD},
        refused("distribution of b: change of the share of nulls is 1, expected", ContractViolation),
        uri="*.csv",
        then={"2.csv": b"a,b\n3,\n4,\n"},
        distribution={"b": {"max_null_change": 0.1}},
    ),
    case(
        "a table that nobody wrote",
        GOOD,
        refused("table parents is neither among data.tables nor written before", ConfigError),
        foreign_keys={"parent": {"columns": {"b": "p"}, "table": "parents"}},
    ),
    case(
        "a declared sentinel",
        b"a,b\n1,-999\n2,y\n",
        kept([(1, None), TWO[1]], told="null_if of b"),
        b={"type": "string", "clean": [{"null_if": ["-999"]}]},
    ),
]
