"""CSV files on which line each record is, and large ones cut into ranges that several CPUs read."""

import bz2
import gzip
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_rows import read, write

from raypipe.core.storage import write_bytes
from raypipe.sources import ROW, Csv

GOOD = b"a,b\n1,x\n2,y\n"
LONG = b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * 7919 % 1000) for i in range(50_000))
COMMENTS = {"comment": "#", "newlines_in_quotes": False}


@pytest.mark.parametrize(
    ("data", "settings", "lines"),
    [
        pytest.param(GOOD, {}, [2, 3], id="regular"),
        pytest.param(GOOD[:-1], {}, [2, 3], id="no line end at the end"),
        pytest.param(b"a,b\n\n1,x\n\r\n\n2,y", {}, [3, 6], id="blank lines"),
        pytest.param(b'a,b\n1,"x\n\nx"\n2,y\n3,z\n', {}, [2, 5, 6], id="line ends in quotes"),
        pytest.param(b'j"unk\n\na,b\n1,x\n2\n3,y\n', {"skip_lines": 1}, [4, 5, 6], id="lines before the header, a broken line"),
        pytest.param(b"1,x\n2,y\n", {"names": ("a", "b")}, [1, 2], id="no header"),
        pytest.param(b"#\na,b\n#\n1,x\n#\n#\n2,y\n", COMMENTS, [4, 7], id="comments"),
        pytest.param(b'a,b\n1,5" pipe\n2,y\n', {}, [2, 3], id="a stray quote"),
        pytest.param(b'a,b\n1,5" pipe\n\n2,y\n', {}, [None, None], id="a stray quote and blank lines: not sure"),
        pytest.param(b"a,b\r1,x\r2,y\r", {}, [None, None], id="lines of an old Mac"),
    ],
)
def test_records_are_found_on_their_lines(
    tmp_path: Path, data: bytes, settings: dict[str, Any], lines: list[int | None]
) -> None:
    source = Csv(uri=str(write(tmp_path, "a.csv", data)), **settings)
    (fragment,) = source.scan({}).fragments
    with source.open(fragment) as reading:
        rows = [row for table in reading.tables(["a"]) for row in table.column(ROW).to_pylist()]
        assert [reading.line_of(row) for row in sorted(rows)] == lines


def test_a_large_file_without_line_ends_in_quotes_is_cut_into_ranges(tmp_path: Path) -> None:
    text = b"\n".join([b"a,b", *(b"%d,%s" % (i, b"x" * (i % 97)) for i in range(20_000)), b"broken"])
    path = write(tmp_path, "a.csv", text)
    found = read(Csv(uri=str(path), newlines_in_quotes=False, range_bytes=1 << 16))
    assert len(found.scan.fragments) > 10
    assert sum(f.num_bytes for f in found.scan.fragments) == len(text)
    assert [row["a"] for row in found.rows] == [str(i) for i in range(20_000)]
    last = found.scan.fragments[-1].uri
    (at,) = found.broken
    assert found.lines[last, at] == 20_002
    assert found.lines[last, 0] == 2 + int(next(r["a"] for r in found.rows if found.lines[last, 0] == int(r["a"]) + 2))
    assert read(Csv(uri=str(path))).rows == found.rows


@given(
    cells=st.lists(st.text("aé日", max_size=70_000 // 40), min_size=1, max_size=60),
    end=st.sampled_from(["\n", "\r\n"]),
    closed=st.sampled_from(["closed", "open"]),
)
def test_ranges_share_no_line_and_lose_none(
    tmp_path_factory: pytest.TempPathFactory, cells: list[str], end: str, closed: str
) -> None:
    rows = [f"{i},{cell}" for i, cell in enumerate(cells)] + [f"{len(cells)},{'y' * 140_000}", f"{len(cells) + 1},z"]
    path = write(tmp_path_factory.mktemp("ranges"), "a.csv", (end.join(["a,b", *rows]) + end * (closed == "closed")).encode())
    found = read(Csv(uri=str(path), newlines_in_quotes=False, range_bytes=1 << 16))
    assert len(found.scan.fragments) > 1
    assert [f"{row['a']},{row['b'] or ''}" for row in found.rows] == rows


def test_a_file_in_ranges_that_changed_is_read_anew_and_names_all_its_former_ranges(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", LONG)
    source = Csv(uri=str(path), newlines_in_quotes=False, range_bytes=1 << 16)
    first = read(source)
    os.utime(path, ns=(1, 1))
    assert source.scan(first.state).fragments == ()  # each range has the bytes that it had
    write(tmp_path, "a.csv", GOOD)
    second = source.scan(first.state)
    assert set(second.replaced) == {f.uri for f in first.scan.fragments}
    assert [f.uri for f in second.fragments] == [str(path)] == list(second.state["files"])


def test_csv_on_s3_reads_as_on_a_disk(s3: str) -> None:
    packed = gzip.compress(LONG)
    write_bytes(f"{s3}/csv/a.csv.gz", packed)
    write_bytes(f"{s3}/csv/b.csv.bz2", bz2.compress(GOOD))
    write_bytes(f"{s3}/csv/c.csv", LONG)
    found = read(Csv(uri=f"{s3}/csv/*.csv*", newlines_in_quotes=False, range_bytes=1 << 17))
    assert len(found.rows) == 100_002
    assert found.sha256s[f"{s3}/csv/a.csv.gz"] == hashlib.sha256(packed).hexdigest()
    assert [f.uri.rpartition("/")[2] for f in found.scan.fragments][2].startswith("c.csv#bytes=0-")
