"""PostgreSQL as a source, against a real server: ranges of a key, one moment, a watermark, and what a server can refuse."""

import gc
import itertools
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from database import PASSWORD, Database
from source_rows import one_line, read

from raypipe.core.errors import ConfigError, InputError, SourceError
from raypipe.sources import ROW, Postgres

NOON = datetime(2013, 1, 1, 12, tzinfo=UTC)
FILL = (
    "insert into {} select g, 'x' || g, timestamptz '2013-01-01 12:00Z' + g * interval '1 hour' from generate_series(1, 10) g"
)
numbers = itertools.count()


@pytest.fixture
def table(postgres: Database) -> str:
    """A table of 10 rows."""
    name = f"sales_{next(numbers)}"
    postgres.run(f"create table {name} (id bigint primary key, s text, t timestamptz)", FILL.format(name))
    return name


def source(postgres: Database, table: str, **settings: Any) -> Postgres:
    return Postgres(**{**postgres.settings(), "table": table, "key": "id", **settings})


def test_a_table_is_read_in_ranges_of_its_key(postgres: Database, table: str) -> None:
    postgres.run(f"delete from {table} where id = 5", f"insert into {table} values (-7, 'y', null), (1000, 'z', null)")
    found = read(source(postgres, table, rows_per_fragment=4))
    assert found.scan.takes == "all"
    assert [row["id"] for row in found.rows] == [-7, 1, 2, 3, 4, 6, 7, 8, 9, 10, 1000]
    assert found.table.column(ROW).to_pylist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2]
    assert [f.uri.rpartition("?")[2] for f in found.scan.fragments] == ["id=[,4)", "id=[4,9)", "id=[9,)"]
    assert found.scan.fragments[0].uri.startswith(f"postgresql://127.0.0.1:{postgres.port}/postgres/public.{table}?")
    assert len({f.identity for f in found.scan.fragments}) == 3
    by_text = read(source(postgres, table, key="s", rows_per_fragment=4)).scan  # where keys may be e-mail addresses
    assert not any("x" in f.uri.rpartition("?")[2] for f in by_text.fragments)
    assert len({f.uri for f in by_text.fragments}) == 3


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("text", ["", "a'b", "a\\b", "ä", "日"]),
        ("timestamptz", ["2013-01-01 00:00+00", "2013-01-01 00:00:00.000001+00", "2014-01-01 05:00+05"]),
        ("uuid", ["00000000-0000-0000-0000-000000000001", "f0000000-0000-0000-0000-000000000001"]),
        ("numeric(20, 3)", ["-1.5", "0.001", "12345678901234567.891"]),
        ("double precision", ["-0.1", "1e-300", "0.30000000000000004"]),
    ],
)
def test_keys_of_any_type_lose_no_row(postgres: Database, kind: str, values: list[str]) -> None:
    name = f"keys_{next(numbers)}"
    postgres.run(f"create table {name} (id {kind} primary key)")
    for value in values:
        quoted = value.replace("\\", "\\\\").replace("'", "''")
        postgres.run(f"insert into {name} values (E'{quoted}')")
    found = read(source(postgres, name, rows_per_fragment=2))
    assert len(found.scan.fragments) == (len(values) + 1) // 2
    assert len(found.rows) == len(values)


def test_types_are_arrows_own_or_text(postgres: Database) -> None:
    name = f"types_{next(numbers)}"
    postgres.run(
        f"""create table {name} (id int primary key, b bool, i smallint, x real, n numeric(20, 4), s varchar(3), d date,
        t timestamptz, l text[], u uuid, j jsonb, e interval, "Odd ""name" text)""",
        f"""insert into {name} values (1, true, 2, 0.5, 1.1000, 'ä', '2013-01-01', '2013-01-01 12:00Z', '{{a,null}}',
        '00000000-0000-0000-0000-000000000001', '{{"k": 1}}', '1 day', 'o')""",
        f"insert into {name} values (2)",
    )
    found = read(source(postgres, name))
    assert found.rows[0] == {
        "id": 1,
        "b": True,
        "i": 2,
        "x": 0.5,
        "n": "1.1000",
        "s": "ä",
        "d": date(2013, 1, 1),
        "t": NOON,
        "l": '["a",null]',
        "u": "00000000-0000-0000-0000-000000000001",
        "j": '{"k": 1}',
        "e": "1 day",
        'Odd "name': "o",
    }
    assert [value for name, value in found.rows[1].items() if name != "id"] == [None] * 12
    assert read(source(postgres, name), columns=["n"]).table.column_names == ["n", ROW]
    assert read(source(postgres, name), columns=[]).table.num_rows == 2


def test_all_fragments_are_of_the_moment_of_the_scan(postgres: Database, table: str) -> None:
    reader = source(postgres, table, rows_per_fragment=4)
    scan = reader.scan({})
    postgres.run(f"update {table} set s = 'later'", f"delete from {table} where id = 9", f"insert into {table} values (0)")
    rows = []
    for fragment in scan.fragments:
        with reader.open(fragment) as reading:
            rows += [row for found in reading.tables(["id", "s"]) for row in found.to_pylist()]
    assert [(row["id"], row["s"]) for row in rows] == [(i, f"x{i}") for i in range(1, 11)]
    again = reader.scan({})
    assert {f.identity for f in again.fragments}.isdisjoint(f.identity for f in scan.fragments)


def test_a_fragment_cannot_be_read_once_its_scan_is_over(postgres: Database, table: str) -> None:
    reader = source(postgres, table)
    scan = reader.scan({})
    (fragment,) = scan.fragments
    del scan
    gc.collect()
    with pytest.raises(SourceError, match="the scan that it belongs to is over: run the job again"), reader.open(fragment):
        pass


def test_a_watermark_takes_only_rows_that_are_strictly_later(postgres: Database, table: str) -> None:
    reader = source(postgres, table, watermark="t", rows_per_fragment=4)
    first = read(reader)
    assert (first.scan.takes, len(first.rows)) == ("new", 10)
    assert reader.scan(first.state).fragments == ()
    late = NOON + timedelta(hours=10)
    postgres.run(f"insert into {table} values (0, 'same', '{late}'), (11, 'a', '{late}'::timestamptz + interval '1us')")
    second = read(reader, first.state)
    assert [row["id"] for row in second.rows] == [11]
    for before in (first.state, {"moment": "of scans without a watermark"}):  # another column's mark says nothing
        other = source(postgres, table, watermark="id").scan(before)
        assert (other.takes, len(other.fragments)) == ("all", 1)
    assert "&t=(2013-01-01 22:00:00+00,2013-01-01 22:00:00.000001+00]" in second.scan.fragments[0].uri
    postgres.run(f"update {table} set t = '2014-01-01Z', s = 'new' where id in (1, 11)")
    assert [(row["id"], row["s"]) for row in read(reader, second.state).rows] == [(1, "new"), (11, "new")]


def test_a_watermark_that_went_back_is_refused(postgres: Database, table: str) -> None:
    reader = source(postgres, table, watermark="id")
    state = read(reader).state
    postgres.run(f"delete from {table} where id > 5")
    with pytest.raises(SourceError, match="its latest id is 5, before 10 of the last ingest; was the table restored"):
        reader.scan(state)
    postgres.run(f"delete from {table}")
    assert reader.scan(state).fragments == ()


@pytest.mark.parametrize(
    ("statement", "settings", "words"),
    [
        pytest.param("drop table {}", {}, "does not exist", id="dropped table"),
        pytest.param("truncate {}", {}, "holds no rows", id="empty table"),
        pytest.param("alter table {} rename id to identity", {}, "has no column id", id="renamed key"),
        pytest.param("update {} set t = null where id = 3", {"watermark": "t"}, r"1 row\(s\) have no t", id="null watermark"),
        pytest.param("select 1", {"database": "nothing"}, 'database "nothing" does not exist', id="no such database"),
        pytest.param("select 1", {"user": "nobody"}, "authentication failed", id="no such user"),
        pytest.param("select 1", {"port": 1}, "is the server up", id="no server"),
        pytest.param("select 1", {"host": "no-such-host.invalid"}, "could not translate host name", id="no such host"),
        pytest.param("select 1", {"password_env": "NO_SUCH_VARIABLE"}, "NO_SUCH_VARIABLE is not set", id="no password"),
        pytest.param("select 1", {"table": 'x"; drop table y; --'}, "does not exist", id="a name of bad will"),
    ],
)
def test_what_a_database_refuses_is_one_line(
    postgres: Database, table: str, statement: str, settings: Mapping[str, Any], words: str
) -> None:
    postgres.run(statement.format(table))
    with pytest.raises(InputError, match=words) as caught:
        source(postgres, **{"table": table, **settings}).scan({})
    assert PASSWORD not in one_line(caught.value)
    assert isinstance(caught.value, SourceError | ConfigError)


def test_a_wrong_password_is_named_but_not_shown(postgres: Database, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_PASSWORD", "it's \\wrong")
    with pytest.raises(SourceError, match=r"password authentication failed.*set the password in the environment") as caught:
        source(postgres, table, password_env="MY_PASSWORD").scan({})
    assert "wrong" not in one_line(caught.value)
    monkeypatch.setenv("MY_PASSWORD", PASSWORD)
    assert len(read(source(postgres, table, password_env="MY_PASSWORD")).rows) == 10


def test_a_connection_that_is_lost_between_scan_and_read_is_one_line(postgres: Database, table: str) -> None:
    reader = source(postgres, table)
    scan = reader.scan({})
    moment = str(scan.fragments[0].details["moment"])
    postgres.run("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'raypipe'")
    with pytest.raises(SourceError) as caught, reader.open(scan.fragments[0]):
        pass
    assert moment.partition("@")[0] in one_line(caught.value)
