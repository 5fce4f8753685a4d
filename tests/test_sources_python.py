"""A function of one's own as a source, the examples of the playbook, and readings over Arrow tables."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from processes import ROOT
from source_rows import one_line, read, write

from raypipe.core.config import build, config
from raypipe.core.errors import ConfigError, InputError, SchemaMismatch, SourceError
from raypipe.sources import ROW, ArrowReading, PythonSource, Source


@config
class Holder:
    """What has a source, as a table has."""

    source: Source


EXAMPLE = ROOT / "docs" / "examples" / "sources"
HERE = "test_sources_python"


@pytest.fixture(autouse=True)
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for folder in (EXAMPLE, Path(__file__).parent):
        monkeypatch.syspath_prepend(folder)
    yield
    sys.modules.pop("own_sources", None)


def rows(first: int = 0) -> Iterator[pa.Table]:
    for i in (first, first + 2):
        yield pa.table({"x": [i, i + 1], "s": ["a", None]})


def one(num: int) -> pa.Table:
    return pa.table({"x": pa.array(range(num), pa.int64())})


def nothing() -> list[pa.Table]:
    return []


def columns() -> list[dict[str, int]]:
    return [{"x": 1}]


def two_schemas() -> list[pa.Table]:
    return [pa.table({"x": [1]}), pa.table({"x": ["1"]})]


def fewer_columns() -> list[pa.Table]:
    return [pa.table({"x": [1]}), pa.table({"y": [1]})]


def parts_twice(**_: Any) -> list[str]:
    return ["a", "a"]


def no_parts(**_: Any) -> list[str]:
    return []


def test_what_a_function_yields_is_the_whole_table() -> None:
    found = read(PythonSource(function=f"{HERE}:rows", arguments={"first": 5}))
    assert found.scan.takes == "all"
    assert [row["x"] for row in found.rows] == [5, 6, 7, 8]
    assert found.table.column(ROW).to_pylist() == [0, 1, 2, 3]
    assert found.scan.fragments[0].uri == f"python://{HERE}:rows"
    assert len(read(PythonSource(function=f"{HERE}:one", arguments={"num": 3})).rows) == 3
    assert read(PythonSource(function=f"{HERE}:one", arguments={"num": 0})).rows == []


@pytest.mark.parametrize(
    ("function", "settings", "words"),
    [
        ("nothing", {}, "gave no tables"),
        ("columns", {}, "gave a dict; yield pyarrow tables"),
        ("two_schemas", {}, "gives column x as int64, then as string"),
        ("fewer_columns", {}, "gives a table without column x"),
        ("row", {}, "has no such function; did you mean rows"),
        ("HERE", {}, "has no such function"),
        ("rows", {"parts": f"{HERE}:parts_twice"}, "gave 'a' twice"),
        ("rows", {"parts": f"{HERE}:no_parts"}, "gave none"),
    ],
)
def test_a_function_that_gives_something_else_is_one_line(function: str, settings: Mapping[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read(PythonSource(function=f"{HERE}:{function}", **settings))
    one_line(caught.value)


def test_a_module_outside_the_allow_list_or_missing_is_refused() -> None:
    settings = {"_target_": "raypipe.sources.PythonSource", "function": "os.path:join"}
    with pytest.raises(ConfigError, match=r"os.path:join is not allowed .*add its package to core.allowed_targets"):
        build({"source": settings}, Holder)
    for function in ("raypipe.core.storage:remove", "raypipe.core.storage:write_bytes"):  # no parts, though raypipe's own
        with pytest.raises(ConfigError, match="is not allowed"):
            build({"source": {**settings, "function": function}}, Holder)
    with pytest.raises(ConfigError, match="write is a function of source_rows, not of test_sources_python; wrap it"):
        PythonSource(function=f"{HERE}:write").scan({})
    with pytest.raises(ConfigError, match="no_such_module:f cannot be imported"):
        PythonSource(function="no_such_module:f").scan({})


def test_a_bug_in_the_function_shows_itself() -> None:
    with pytest.raises(TypeError, match="one"):
        read(PythonSource(function=f"{HERE}:one"))


def test_the_function_of_the_playbook_reads_each_day_once(tmp_path: Path) -> None:
    source = PythonSource(function="own_sources:readings", parts="own_sources:days", arguments={"folder": str(tmp_path)})
    write(tmp_path, "2013-01-01.txt", b"roof 21.5\ncellar 12\n")
    first = read(source)
    assert first.rows[0] == {"day": "2013-01-01", "sensor": "roof", "celsius": "21.5"}
    write(tmp_path, "2013-01-02.txt", b"roof 20\n")
    second = read(source, first.state)
    assert ([row["day"] for row in second.rows], second.scan.takes) == (["2013-01-02"], "new")
    (tmp_path / "2013-01-01.txt").unlink()
    third = source.scan(second.state)
    assert (third.fragments, len(third.gone)) == ((), 1)


def test_a_part_is_read_again_when_the_code_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import pyarrow as pa\ndef parts(**_):\n    return ['a']\ndef rows(part, **_):\n    return pa.table({'x': [1]})\n"
    path = write(tmp_path, "changing_source.py", code.encode())
    monkeypatch.syspath_prepend(tmp_path)
    source = PythonSource(function="changing_source:rows", parts="changing_source:parts")
    state = read(source).state
    assert source.scan(state).fragments == ()
    other = PythonSource(function="changing_source:rows", parts="changing_source:parts", arguments={"api_key": "s3cr3t"})
    changed = other.scan(state)
    assert (changed.replaced, changed.gone) == (tuple(f.uri for f in changed.fragments), ())
    assert "s3cr3t" not in repr(changed)
    path.write_text(code.replace("[1]", "[2]"))
    again = source.scan(state)
    assert again.replaced == (again.fragments[0].uri,)


def test_the_class_of_the_playbook_notices_a_changed_file(tmp_path: Path) -> None:
    source = build(
        {"source": {"_target_": "own_sources.Sensors", "folder": str(tmp_path)}}, Holder, allowed=["own_sources"]
    ).source
    with pytest.raises(SourceError, match=r"holds no \*.txt file"):
        source.scan({})
    path = write(tmp_path, "2013-01-01.txt", b"roof 21.5\n")
    first = read(source)
    assert source.scan(first.state).fragments == ()
    write(tmp_path, "2013-01-01.txt", b"roof 22\n")
    second = read(source, first.state)
    assert (second.rows[0]["celsius"], second.scan.replaced) == ("22", (str(path),))


def test_a_reading_over_tables_gives_what_is_wanted_in_that_order() -> None:
    table = pa.table({"a": [1], "b": ["x"], "c": [0.5]})
    reading = ArrowReading("here", table.schema, lambda _: [table])
    assert [found.column_names for found in reading.tables(["c", "a"])] == [["c", "a", ROW]]
    assert (reading.sha256, reading.line_of(0)) == (None, None)
    with pytest.raises(SchemaMismatch, match="here: 1 declared"):
        list(reading.tables(["d"]))
