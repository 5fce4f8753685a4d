"""Every way that a file, a table, a database, an API or a bucket can be wrong: one line, or the quarantine, never a null."""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import s3fs
from bad_files import CONTRACT, CSV, GOOD, JSON, TWO
from bad_inputs import Case, Kept, Refused, case, check, kept, refused
from bad_tables import LAKES, PARQUET
from database import PASSWORD, Database
from http_api import Reply, serve
from ingest_parts import family

from raypipe.core import cluster
from raypipe.core.cluster import Cluster
from raypipe.core.errors import ContractViolation, DuplicateKeys, SchemaMismatch
from raypipe.core.storage import Storage, write_bytes
from raypipe.ingest import ingest_tables
from raypipe.tables import Quarantine

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]
numbers = itertools.count()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "in"
    path.mkdir()
    return path


@pytest.mark.parametrize("case", [*CSV, *JSON, *PARQUET, *LAKES, *CONTRACT])
def test_a_wrong_file_ends_in_one_line_or_in_the_quarantine(case: Case, folder: Path, storage: Storage) -> None:
    check(case, folder, storage)


def test_a_row_whose_parent_is_nowhere_is_set_aside_and_a_null_is_not(folder: Path, storage: Storage) -> None:
    done = ingest_tables(family(folder), storage)["children"]
    assert pl.read_delta(done.ref.uri).sort("c").rows() == [(1, "x"), (3, None), (4, "y")]
    assert Quarantine(storage, "children").counts() == {"open": {"parent": 1}}


@pytest.mark.parametrize("share", [0, 1])
def test_personal_values_are_in_no_line_and_in_no_record(share: float, folder: Path, storage: Storage) -> None:
    email = {"type": "string", "regex": "[^@]+@[^@]+", "pii": True}
    data = b"a,b\n1,me@home\n2,s3cret\nx,s3cret@home\n4,s3cret,5\n"
    spec = case("pii", data, kept([]), b=email, max_bad_share=share).values[0]
    spec.make(folder)
    if share:
        done = ingest_tables({"t": spec.spec(folder)}, storage)["t"]
        assert pl.read_delta(done.ref.uri).rows() == [(1, "me@home")]
    else:
        with pytest.raises(ContractViolation, match=r"^(?!.*s3cret).*3 of 4 rows"):
            ingest_tables({"t": spec.spec(folder)}, storage)
    records = pl.read_delta(Quarantine(storage, "t").uri)
    assert records.height == 3
    assert records["masked"].all()
    assert "s3cret" not in str(records.to_dicts())


# --- APIs ---

ONE = {"a": 1, "b": "x"}
moments = itertools.count()


def circle(path: str, query: Mapping[str, str]) -> Reply:
    return Reply({"d": [{"a": next(moments), "b": "x"}], "next": "n"})


@pytest.mark.parametrize(
    ("reply", "source", "expected"),
    [
        pytest.param(Reply({}, 500), {"retries": 1}, refused("answers 500 .*after 2 tries"), id="500"),
        pytest.param(Reply({}, 404), {}, refused("answers 404 Not Found.*correct the source's url"), id="404"),
        pytest.param(Reply({}, 401), {}, refused("answers 401 .*valid token in the environment"), id="401"),
        pytest.param(Reply({}, 429, {"Retry-After": "0"}), {"retries": 2}, refused("429 Too Many.*3 tries"), id="429 for ever"),
        pytest.param(Reply({}, 429, {"Retry-After": "²"}), {"retries": 0}, refused("429 Too Many"), id="429 and no number"),
        pytest.param(
            Reply({}, 429, {"Retry-After": "Mon, 01 Jan 2001 00:00:00"}),
            {"retries": 1},
            refused("2 tries"),
            id="429 and no zone",
        ),
        pytest.param(Reply(b"<html>\nSign in"), {}, refused("that is no JSON: <html> Sign in"), id="HTML"),
        pytest.param(Reply(b'[{"a": 1}, {"a"'), {}, refused("that is no JSON"), id="cut short"),
        pytest.param(Reply(b'[{"a": "\xff"}]'), {}, refused("that is no JSON"), id="no text"),
        pytest.param(Reply(b"[" * 100_000), {}, refused("that is no JSON"), id="brackets without end"),
        pytest.param(Reply(None), {"retries": 0}, refused("cannot be reached .*run the job again later"), id="it hangs up"),
        pytest.param(circle, {"records": "d", "paging": {"kind": "cursor"}}, refused("names itself, or a page"), id="a circle"),
        pytest.param(
            Reply({"d": [ONE], "next": "x" * 100_000}),
            {"records": "d", "paging": {"kind": "cursor"}},
            refused("too long"),
            id="URL",
        ),
        pytest.param(Reply([ONE]), {"paging": {"kind": "page"}}, refused("the page before again"), id="one page for ever"),
        pytest.param(Reply({"rows": [ONE]}), {"records": "data"}, refused("no data of records='data'; it has rows"), id="path"),
        pytest.param(Reply({"error": "limit"}), {}, refused("is no list of records"), id="an error as data"),
        pytest.param(Reply([]), {}, refused("gave no records; correct"), id="nothing"),
        pytest.param(Reply([{"a": 1}]), {}, refused("missing: b", SchemaMismatch), id="a key is missing"),
        pytest.param(Reply([ONE, 3, None]), {}, kept(TWO[:1], "is not a JSON object: 3", broken=2), id="no objects"),
        pytest.param(
            Reply(b'[{"a":1,"b":"x"},{"a":2,"b":"\\ud800"}]'), {}, kept(TWO[:1], "ud800", broken=1), id="half a character"
        ),
        pytest.param(
            Reply(b'[{"a":1,"b":"x"},{"a":2,"a":3,"b":"y"}]'), {}, kept(TWO[:1], "key a twice", broken=1), id="a key twice"
        ),
        pytest.param(Reply([ONE, {"a": 2.5, "b": "y"}, {"a": 10**20, "b": "z"}]), {}, kept(TWO[:1], type_a=2), id="numbers"),
    ],
)
def test_a_wrong_api_ends_in_one_line_or_in_the_quarantine(
    reply: Any, source: Mapping[str, Any], expected: Refused | Kept, folder: Path, storage: Storage
) -> None:
    with serve(reply if callable(reply) else lambda *_: reply) as api:
        settings = {"_target_": "raypipe.sources.HttpApi", "url": f"{api.url}/all", **source}
        check(Case(expected=expected, source=settings), folder, storage)


def test_an_api_that_has_nothing_new_changes_nothing(folder: Path, storage: Storage) -> None:
    with serve(lambda _, query: Reply([] if "since" in query else [ONE])) as api:
        settings = {"_target_": "raypipe.sources.HttpApi", "url": api.url, "since": "since", "columns": ["a", "b"]}
        check(Case(expected=kept(TWO[:1]), source=settings, then=lambda _: None), folder, storage)


# --- buckets ---


@pytest.mark.parametrize(
    ("uri", "secret", "words"),
    [
        pytest.param("s3://no-such-bucket-here/t.csv", None, "no such file|cannot be listed", id="no bucket"),
        pytest.param("{s3}/none.csv", None, "no such file; correct", id="no key"),
        pytest.param("{s3}/none/*.csv", None, "no such file; correct", id="no keys"),
        pytest.param("{s3}/here/t.csv", "a-wrong-s3cret", "cannot be listed .*credentials", id="wrong secret"),
        pytest.param("nope://bucket/t.csv", None, "neither a local path nor a URI", id="no such scheme"),
    ],
)
def test_a_wrong_bucket_is_one_line(
    s3: str, uri: str, secret: str | None, words: str, folder: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bytes(f"{s3}/here/t.csv", GOOD)
    if secret:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        source = {"_target_": "raypipe.sources.Csv", "uri": uri.format(s3=s3)}
        check(Case(expected=refused(rf"^(?!.*s3cret).*{words}"), source=source), folder, storage)
    finally:
        s3fs.S3FileSystem.clear_instance_cache()


# --- databases, last: their workers need the password in the environment of a cluster of their own ---


@pytest.fixture(scope="module")
def knowing_cluster(postgres_server: Database) -> Iterator[None]:
    cluster.stop()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGPASSWORD", PASSWORD)
        Cluster(num_cpus=2, object_store_gib=0.3).start()
        yield
        cluster.stop()


@pytest.mark.usefixtures("knowing_cluster")
@pytest.mark.parametrize(
    ("made", "then", "more", "expected"),
    [
        pytest.param(
            "a bigint, b text", None, {"password_env": "WRONG"}, refused("password auth.*set the pass"), id="password"
        ),
        pytest.param("a bigint, b text", None, {"table": "nothing"}, refused("does not exist.*correct"), id="no table"),
        pytest.param("a bigint, b text", None, {"key": "id"}, refused("has no column id; correct"), id="no key column"),
        pytest.param("a bigint, b text", None, {"port": 1}, refused("is the server up"), id="no server"),
        pytest.param("a bigint, b text|(1, 'x'), (null, 'y')", None, {}, refused(r"1 row\(s\) have no a"), id="a null key"),
        pytest.param(
            "a bigint, b text|(1, 'x'), (1, 'y')", None, {}, refused("unique", DuplicateKeys), id="a key that repeats"
        ),
        pytest.param("a bigint, b text", None, {}, refused("holds no rows"), id="no rows"),
        pytest.param("a bigint|(1)", None, {}, refused("missing: b", SchemaMismatch), id="a column that never was"),
        pytest.param(
            "a bigint, b text|(1, 'x')",
            "alter table {} drop b",
            {},
            refused("missing: b", SchemaMismatch),
            id="a dropped column",
        ),
        pytest.param(
            "a bigint, b text|(1, 'x'), (2, 'y')",
            "delete from {} where a = 2",
            {"watermark": "a"},
            refused("its latest a is 1, before 2 of the last ingest; was the table restored"),
            id="a watermark that went back",
        ),
        pytest.param("a numeric, b text|(1, 'x'), ('NaN', 'y'), (1e20, 'z')", None, {}, kept(TWO[:1], type_a=2), id="NaN"),
        pytest.param(
            "a bigint, b timestamptz|(1, 'infinity'), (2, '-infinity'), (3, null), (4, '0044-03-15 BC')",
            None,
            {"b": "timestamp"},
            kept([(3, None)], type_b=3),
            id="times without end",
        ),
        pytest.param(
            "a bigint, b int[]|(1, '{{1, 2}, {3, 4}}'), (2, '{5}'), (3, '[5:6]={1, 2}'), (4, '{1, null}'), (5, null)",
            None,
            {"b": "list<int64>"},
            kept([(2, [5]), (3, [1, 2]), (5, None)], r"'\[\[1,2\],\[3,4\]\]' is not a list", type_b=2),
            id="arrays of two dimensions",
        ),
        pytest.param("a bigint, b jsonb|(1, '{}'), (2, null)", None, {}, kept([(1, "{}"), (2, None)]), id="JSON as text"),
    ],
)
def test_a_wrong_database_ends_in_one_line_or_in_the_quarantine(
    made: str,
    then: str | None,
    more: Mapping[str, Any],
    expected: Refused | Kept,
    postgres: Database,
    folder: Path,
    storage: Storage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WRONG", "wrong-s3cret")
    name = f"bad_{next(numbers)}"
    columns, _, rows = made.partition("|")
    postgres.run(f"create table {name} ({columns})", *([f"insert into {name} values {rows}"] if rows else []))
    source = {"_target_": "raypipe.sources.Postgres", **postgres.settings(), "table": name, "key": "a", **more}
    contract = {"columns": {"a": "int64", "b": source.pop("b", "string")}}
    change = None if then is None else lambda _: postgres.run(then.format(name))
    check(Case(expected=expected, source=source, then=change, contract=contract), folder, storage)
