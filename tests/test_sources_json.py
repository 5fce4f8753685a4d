"""JSON lines as a source: values as JSON writes them, broken lines with their place, keys that come and go."""

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source_rows import one_line, read, write

from raypipe.core.errors import SchemaMismatch, SourceError
from raypipe.core.storage import write_bytes
from raypipe.sources import JsonLines
from raypipe.sources import _json_lines as internals

GOOD = b'{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n'
LONG = b"".join(b'{"a": %d}\n' % i for i in range(50_000))


@pytest.mark.parametrize(
    ("name", "data", "source", "expected"),
    [
        pytest.param("a.jsonl", GOOD, {}, [{"a": "1", "b": "x"}, {"a": "2", "b": "y"}], id="plain"),
        pytest.param("a.jsonl.gz", gzip.compress(GOOD), {}, [{"a": "1", "b": "x"}, {"a": "2", "b": "y"}], id="gz"),
        pytest.param(
            "a.jsonl.zst", pa.compress(GOOD, "zstd", asbytes=True), {}, [{"a": "1", "b": "x"}, {"a": "2", "b": "y"}], id="zst"
        ),
        pytest.param(
            "a.jsonl", b"\xef\xbb\xbf" + GOOD[:-1], {"columns": ("b",)}, [{"b": "x"}, {"b": "y"}], id="mark, open end"
        ),
        pytest.param("a.jsonl", b'{"a": 1}\r\n\r\n{"a": 2}\r\n', {}, [{"a": "1"}, {"a": "2"}], id="lines of Windows"),
        pytest.param("a.jsonl", '{"ä": "日\\u00e9"}\n'.encode("utf-16"), {"encoding": "utf-16"}, [{"ä": "日é"}], id="UTF-16"),
        pytest.param(
            "a.jsonl", b'{"a": 1}\n{"b": null}\n', {}, [{"a": "1", "b": None}, {"a": None, "b": None}], id="keys differ"
        ),
        pytest.param(
            "a.jsonl",
            b'{"a":1,"A":2,"a/b":3,"a~":4,"":5,"it\'s":6}\n',
            {},
            [dict(zip(["a", "A", "a/b", "a~", "", "it's"], "123456", strict=True))],
            id="odd keys",
        ),
        pytest.param(
            "a.jsonl",
            b'{"a":true,"b":-0.5,"c":12345678901234567890123,"d":{"k":[1]},"e":[1]}\n',
            {},
            [{"a": "true", "b": "-0.5", "c": "12345678901234567890123", "d": '{"k":[1]}', "e": "[1]"}],
            id="values",
        ),
        pytest.param(
            "a.jsonl",
            b'{"l":["a",null,1,{"k":2}]}\n{"l":[]}\n{"l":null}\n{}\n',
            {"lists": ("l",)},
            [{"l": ["a", None, "1", '{"k":2}']}, {"l": []}, {"l": None}, {"l": None}],
            id="lists",
        ),
    ],
)
def test_values_are_read_as_json_writes_them(
    tmp_path: Path, name: str, data: bytes, source: Mapping[str, Any], expected: Sequence[Mapping[str, Any]]
) -> None:
    assert read(JsonLines(uri=str(write(tmp_path, name, data)), **source)).rows == expected


def test_broken_lines_are_given_with_their_text_and_place(tmp_path: Path) -> None:
    data = b'{"a": 1}\n\n{"a": 2\n[1]\nnull\n{"a": "\xff"}\nhello\n{"a": 7}'
    path = write(tmp_path, "a.jsonl", data)
    found = read(JsonLines(uri=str(path)))
    assert [row["a"] for row in found.rows] == ["1", "7"]
    assert found.broken == {
        1: 'is not a JSON object: {"a": 2',
        2: "is not a JSON object: [1]",
        3: "is not a JSON object: null",
        4: 'column line holds bytes that are not UTF-8 text: {"a": "\\xff"}\n',
        5: "is not a JSON object: hello",
    }
    lists = read(JsonLines(uri=str(write(tmp_path, "b.jsonl", b'{"l": 3}\n{"l": [1]}\n')), lists=("l",)))
    assert (lists.broken, lists.rows) == ({0: 'l is not a list: {"l": 3}'}, [{"l": ["1"]}])


def test_records_keep_numbers_and_lines_from_block_to_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(internals, "_BLOCK_BYTES", 300)
    texts = ["" if i % 7 == 3 else "{" if i % 11 == 5 else json.dumps({"line": i + 1}) for i in range(500)]
    path = write(tmp_path, "a.jsonl", "\n".join(texts).encode())
    found = read(JsonLines(uri=str(path)))
    assert len(found.broken) + len(found.rows) == sum(text != "" for text in texts)
    assert [line for (_, row), line in found.lines.items() if row not in found.broken] == [int(r["line"]) for r in found.rows]
    assert all(texts[int(str(found.lines[str(path), row])) - 1] == "{" for row in found.broken)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**25), 10**25) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=25)
@given(records=st.lists(st.dictionaries(st.text("aAbé/~'\"\\ ", max_size=2), JSON, max_size=4), min_size=1, max_size=5))
def test_any_value_comes_back_from_its_text(
    tmp_path_factory: pytest.TempPathFactory, records: Sequence[Mapping[str, Any]]
) -> None:
    """Text is itself, anything else is its JSON."""
    path = write(tmp_path_factory.mktemp("json"), "a.jsonl", "".join(json.dumps(r) + "\n" for r in records).encode())
    rows = read(JsonLines(uri=str(path))).rows if any(records) else []
    for record, row in zip(records, rows, strict=bool(rows)):
        for key, value in record.items():
            assert value == (row[key] if isinstance(value, str) or row[key] is None else json.loads(row[key]))


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        pytest.param("a.jsonl", b"", "the file is empty", id="empty"),
        pytest.param("a.jsonl", b"\n\n", "holds no records", id="blank lines"),
        pytest.param("a.jsonl.gz", gzip.compress(LONG)[:-2000], "not a readable JSON lines file", id="truncated gz"),
        pytest.param("a.jsonl", GOOD.decode().encode("utf-16"), "not UTF-8 text.*set the source's encoding", id="UTF-16"),
        pytest.param(
            "a.jsonl", GOOD * 1000 + b'{"c": 1}\n', "has a key 'c' that its first records lack", id="a key that comes later"
        ),
        pytest.param(
            "a.jsonl", b"[" + b"1," * 4000, "has a line of more than 0 MiB, perhaps one JSON document", id="a document"
        ),
    ],
)
def test_a_file_that_is_not_what_it_says_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, data: bytes, words: str
) -> None:
    monkeypatch.setattr(internals, "_BLOCK_BYTES", 1 << 14)
    monkeypatch.setattr(internals, "_MAX_LINE_BYTES", 4096)
    path = write(tmp_path, name, data)
    with pytest.raises(SourceError, match=words) as caught:
        read(JsonLines(uri=str(path)))
    assert one_line(caught.value).startswith(str(path))


def test_keys_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(SchemaMismatch, match=r"missing: price; found instead: prices .prices is perhaps the renamed price"):
        read(JsonLines(uri=str(write(tmp_path, "a.jsonl", b'{"prices": 1}\n'))), columns=["price"])


def test_json_lines_on_s3(s3: str) -> None:
    write_bytes(f"{s3}/json/a.jsonl.gz", gzip.compress(LONG))
    assert [row["a"] for row in read(JsonLines(uri=f"{s3}/json/*.gz")).rows] == [str(i) for i in range(50_000)]
