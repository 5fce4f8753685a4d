"""Transforms: rows that are those of the whole tables, once, counted, of one set of versions; and all that can be wrong."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from raypipe.core.config import build
from raypipe.core.errors import ConfigError, ContractViolation, DuplicateKeys, RaypipeError, StorageError, TableNotFound
from raypipe.core.storage import Storage
from raypipe.tables import Quarantine, TableRef, Tables, write_part
from raypipe.transforms import PythonTransform, Sql, Transform, Transformed, run_transforms
from raypipe.transforms import _inputs as inputs
from raypipe.transforms._run import _Run

SALES = pa.schema([("id", pa.int64()), ("x", pa.float64()), ("shop", pa.string()), ("tags", pa.list_(pa.string()))])
SHOPS = pa.schema([("shop", pa.string()), ("city", pa.string())])
CITIES = {"shop": ["a", "b", "z"], "city": ["Köln", "Rom", "Oslo"]}


def sales(start: int, stop: int) -> pa.Table:
    ids = range(start, stop)
    names = [None if i % 7 == 0 else "abc"[i % 3] for i in ids]
    return pa.table({"id": ids, "x": [i / 4 for i in ids], "shop": names, "tags": [["t"] * (i % 3) for i in ids]}, schema=SALES)


def commit(storage: Storage, name: str, label: str, *found: pa.Table) -> TableRef:
    tables = Tables(storage)
    parts = [write_part(tables.uri(name), f"part-{label}-{i}.parquet", table) for i, table in enumerate(found)]
    return tables.commit(name, parts, found[0].schema, mode="overwrite", transaction=label, facts={})


@pytest.fixture
def store(storage: Storage) -> Storage:
    commit(storage, "sales", "a", sales(1, 40), sales(40, 60), sales(60, 61))
    commit(storage, "shops", "a", pa.table(CITIES, schema=SHOPS))
    return storage


def sql(text: str, by: tuple[str, ...] = (), **settings: Any) -> Sql:
    inputs = settings.pop("inputs", {name: name for name in ("sales", "shops") if name in text})
    return build({"inputs": inputs, "sql": text, "by": by, **settings}, Sql)


def python(name: str, **settings: Any) -> PythonTransform:
    made = {"input": "sales", "function": f"own_transforms:{name}", **settings}
    return build(made, PythonTransform, allowed=["own_transforms"])


def run(storage: Storage, **transforms: Transform) -> dict[str, Transformed]:
    return run_transforms(transforms, storage, digest_code=lambda modules: dict.fromkeys(modules, "code"))


def made(storage: Storage, transform: Transform) -> Transformed:
    return run(storage, out=transform)["out"]


def rows(ref: TableRef) -> list[tuple[Any, ...]]:
    return sorted(pl.read_delta(ref.uri, version=ref.version).rows(), key=str)


def oracle(storage: Storage, text: str) -> list[tuple[Any, ...]]:
    """What DuckDB answers over the whole tables."""
    con = duckdb.connect()
    for name in ("sales", "shops"):
        con.register(name, pl.read_delta(Tables(storage).uri(name)).to_arrow())
    return sorted(con.execute(text).fetchall(), key=str)


ANSWERS: list[tuple[str, tuple[str, ...], Mapping[str, Any]]] = [
    ("select id, x + 1 as y from sales where x > 5", (), {"filtered": 20}),
    ("select s.*, city from sales s left join shops using (shop)", (), {}),
    ("select s.id, city from sales s join shops on s.shop = shops.shop", (), {"filtered": 25}),
    ("select id, unnest(tags) as tag from sales", (), {}),
    ("select id, unnest([1, 2, 3]) as n from sales", (), {"exploded": 120}),
    ("with big as (select * from sales where id % 2 = 0) select id, shop from big", (), {"filtered": 30}),
    ("select shop, sum(id) as n, avg(x) as m, count(*) as rows from sales group by shop", ("shop",), {"grouped": 56}),
    ("select distinct shop, id % 2 as odd from sales", ("shop",), {"grouped": 52}),
    ("select *, row_number() over (partition by shop order by x desc) as place from sales", ("shop",), {}),
    ("select shop, city, sum(x) as x from sales full join shops using (shop) group by shop, city", ("shop",), {"grouped": 55}),
    ("select shop, id from sales union all select shop, 0 from shops", ("shop",), {"exploded": 3}),
]


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(("text", "by", "counts"), ANSWERS, ids=lambda value: str(value)[:60])
def test_the_rows_are_those_of_the_whole_tables(
    text: str, by: tuple[str, ...], counts: Mapping[str, Any], store: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "num_partitions", lambda _: 3)
    found = made(store, sql(text, by))
    assert rows(found.ref) == oracle(store, text)
    told = {"exploded": 0, "set_aside": {}, **counts}
    assert {key: value for key, value in found.rows.items() if key not in ("in", "out")} == told
    assert found.rows["in"]["sales"] == 60


@pytest.mark.usefixtures("ray_cluster")
def test_a_users_function_gets_all_rows_of_a_key_together(store: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "num_partitions", lambda _: 4)
    commit(store, "sales", "b", sales(1, 20), sales(1, 30))
    done = run(store, doubled=python("doubled"), least=python("first_of_each", input="doubled", by=["id"]))
    assert rows(done["least"].ref) == sorted([(i, i / 2) for i in range(1, 30)], key=str)
    assert done["least"].rows == {"in": {"rows": 48}, "out": 29, "exploded": 0, "grouped": 19, "set_aside": {}}
    assert done["least"].ref.facts["inputs"] == {"rows": {"table": "doubled", "version": 0}}


@pytest.mark.usefixtures("ray_cluster")
def test_a_transform_is_done_once_for_the_same_versions_settings_and_code(store: Storage) -> None:
    chosen = sql("select id from sales where id < 10")
    first = made(store, chosen)
    assert (first.ref.version, first.reused, first.reason) == (0, False, "first run")
    again = made(store, chosen)
    assert (again.ref, again.reused, again.rows) == (first.ref, True, first.rows)
    assert again.reason == "inputs, settings and code unchanged since out@0"
    commit(store, "sales", "b", sales(1, 5))
    newer = made(store, chosen)
    assert (newer.ref.version, newer.rows["out"]) == (1, 4)
    assert newer.reason == "inputs, settings or code changed since out@0"
    Tables(store).restore("sales", 0)
    assert made(store, chosen).ref.version == 2
    pinned = made(store, sql("select id from s", inputs={"s": "sales@0"}))
    assert (pinned.ref.facts["inputs"], pinned.ref.num_rows) == ({"s": {"table": "sales", "version": 0}}, 60)
    Tables(store).restore("out", 0)
    assert rows(Tables(store).open("out")) == rows(first.ref)


@pytest.mark.usefixtures("ray_cluster")
def test_the_same_work_gives_the_same_bytes(store: Storage, tmp_path: Path) -> None:
    text = "select shop, list(id) as ids, avg(x) as m from sales group by shop"
    other = Storage(root=str(tmp_path / "other"))
    commit(other, "sales", "a", sales(1, 40), sales(40, 60), sales(60, 61))
    found = [made(where, sql(text, ("shop",))).ref for where in (store, other)]
    files = [[(part.path, Path(ref.part_uri(part)).read_bytes()) for part in ref.parts] for ref in found]
    assert files[0] == files[1]


CONTRACT = {"key": ["id"], "max_bad_share": 0.5, "columns": {"id": "int64", "x": {"type": "float64", "max": 10, "pii": True}}}


@pytest.mark.usefixtures("ray_cluster")
def test_rows_that_break_the_contract_are_set_aside_and_counted(store: Storage) -> None:
    found = made(store, sql("select id, x, shop from sales where id > 10", contract=CONTRACT))
    assert found.rows == {
        "in": {"sales": 60},
        "out": 30,
        "exploded": 0,
        "filtered": 10,
        "set_aside": {"max of x": 20},
    }
    assert found.ref.schema == pa.schema([("id", pa.int64()), ("x", pa.float64())])
    quarantine = Quarantine(store, "out")
    assert quarantine.counts() == {"open": {"max of x": 20}}
    record = quarantine.newest(1)[0]
    assert (record["stage"], record["masked"], '"x": "***"' in record["payload"]) == ("transform", True, True)
    commit(store, "sales", "b", sales(11, 51))
    again = made(store, sql("select id, x, shop from sales where id > 10", contract=CONTRACT))
    assert (again.rows["out"], quarantine.counts()["open"]) == (30, {"max of x": 10})


@pytest.mark.usefixtures("ray_cluster")
def test_a_run_that_ends_before_its_last_commit_is_finished_by_the_next(
    store: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = sql("select id, x from sales", contract=CONTRACT)
    real = Tables.commit

    def killed(tables: Tables, name: str, *args: Any, **more: Any) -> TableRef:
        if name == "out" and more["mode"] == "overwrite":
            raise KeyboardInterrupt
        return real(tables, name, *args, **more)

    monkeypatch.setattr(Tables, "commit", killed)
    with pytest.raises(KeyboardInterrupt):
        made(store, chosen)
    assert Quarantine(store, "out").counts() == {"refused": {"max of x": 20}}
    monkeypatch.undo()
    assert made(store, chosen).rows["out"] == 40
    assert Quarantine(store, "out").counts() == {"open": {"max of x": 20}}
    assert made(store, chosen).reused


@pytest.mark.usefixtures("ray_cluster")
def test_what_a_contract_warns_of_and_cleans_is_counted(store: Storage) -> None:
    x = {"type": "float64", "max": 10, "severity": "warn"}
    shop = {"type": "string", "clean": [{"null_if": ["a"]}]}
    found = made(store, sql("select x, shop from sales", contract={"columns": {"x": x, "shop": shop}}))
    assert (found.rows["out"], found.ref.facts["warned"], found.ref.facts["cleaned"]) == (
        60,
        {"max of x": 20},
        {"null_if of shop": 18},
    )


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(
    ("settings", "error", "problem"),
    [
        ({**CONTRACT, "max_bad_share": 0.1}, ContractViolation, r"table out .*20 of 60 rows .*max_bad_share"),
        ({"rows": {"min": 100}, "columns": {"id": "int64"}}, ContractViolation, r"60 rows, expected at least 100"),
        ({"key": ["shop"], "columns": {"shop": "string", "id": "int64"}}, RaypipeError, r"shop"),
        ({"columns": {"nowhere": "int64"}}, RaypipeError, r"nowhere"),
    ],
    ids=["share", "rows", "key", "column"],
)
def test_a_broken_contract_leaves_the_table_as_it_was(
    settings: dict[str, Any], error: type[Exception], problem: str, store: Storage
) -> None:
    with pytest.raises(error, match=problem):
        made(store, sql("select id, x, coalesce(shop, 'd') as shop from sales", contract=settings))
    assert Tables(store).find("out") is None


@pytest.mark.usefixtures("ray_cluster")
def test_a_key_that_repeats_across_pieces_is_found(store: Storage) -> None:
    contract = {"key": ["id"], "columns": {"id": "int64"}}
    with pytest.raises(DuplicateKeys, match=r"table out: key \(id\) is not unique, 57 row"):
        made(store, sql("select id % 3 as id from sales", contract=contract))


@pytest.mark.usefixtures("ray_cluster")
def test_a_table_without_rows_gives_a_table_without_rows(store: Storage) -> None:
    commit(store, "sales", "b", SALES.empty_table())
    done = run(store, a=sql("select id, x from sales"), b=sql("select shop, count(*) as n from sales group by 1", ("shop",)))
    assert [(found.ref.num_rows, found.ref.schema.names) for found in done.values()] == [(0, ["id", "x"]), (0, ["shop", "n"])]


FAILING: list[tuple[Any, type[Exception], str]] = [
    (lambda: sql("select cast(shop as integer) as n from sales"), ConfigError, r"data.transforms.out.sql: Conversion Error"),
    (lambda: sql("select nowhere from sales"), ConfigError, r"nowhere"),
    (lambda: sql("select id, id from sales"), ConfigError, r"column id"),
    (lambda: sql("select {'a': id} as s from sales"), ConfigError, r"column s is struct<a: int64>, which a table cannot hold"),
    (lambda: sql("select id::hugeint * 9000000000000000000 as n from sales"), ConfigError, r"column n of decimal.*int64"),
    (lambda: sql("select id from t", inputs={"t": "nowhere"}), TableNotFound, "nowhere does not exist"),
    (lambda: sql("select id from t", inputs={"t": "sales@9"}), TableNotFound, r"sales@9 does not exist \(versions 0 to 0"),
    (lambda: sql("select id from t", inputs={"t": "sales@gold"}), TableNotFound, "sales@gold does not exist"),
    (lambda: sql("select y, count(*) n from sales group by y", ("y",)), RaypipeError, r"sales@0: .*missing: y"),
    (
        lambda: sql("select a.id from a join b using (id)", ("id",), inputs={"a": "sales", "b": "texts"}),
        ConfigError,
        r"by column id is string in texts@0 and int64 in sales@0; cast",
    ),
    (lambda: python("a_list"), ConfigError, r"own_transforms:a_list gave list; return a pyarrow.Table"),
    (lambda: python("a_struct"), ConfigError, r"own_transforms:a_struct: column s is struct"),
    (lambda: python("unsteady"), ConfigError, r"gives rows of different columns or types.*declare a contract"),
    (lambda: python("nowhere"), ConfigError, r"own_transforms has no such function"),
    (lambda: python("fails"), Exception, r"KeyError"),
]


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(("transform", "error", "problem"), FAILING, ids=[str(i) for i in range(len(FAILING))])
def test_what_fails_while_it_runs_says_where_and_commits_nothing(
    transform: Any, error: type[Exception], problem: str, store: Storage
) -> None:
    commit(store, "texts", "a", pa.table({"id": ["1"]}))
    with pytest.raises(error, match=problem) as caught:
        made(store, transform())
    assert not isinstance(caught.value, RaypipeError) or "\n" not in str(caught.value)
    assert Tables(store).find("out") is None
    scratch = Path(store.root) / "scratch"
    assert not scratch.exists() or not list(scratch.iterdir())


@pytest.mark.usefixtures("ray_cluster")
def test_a_part_that_is_gone_is_named(store: Storage) -> None:
    (Path(Tables(store).uri("sales")) / "part-a-1.parquet").unlink()
    with pytest.raises(StorageError, match=r"part-a-1\.parquet: cannot be read as a part"):
        made(store, sql("select id from sales"))


@pytest.mark.usefixtures("ray_cluster")
def test_an_input_that_is_too_large_to_be_whole_is_refused(store: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "_WHOLE_BYTES", 10)
    with pytest.raises(ConfigError, match=r"inputs.shops: shops@0 holds .* too many for each task .*join by"):
        made(store, sql("select city from sales join shops using (shop)"))


def test_a_table_that_was_made_anew_under_the_same_version_is_another_input(tmp_path: Path) -> None:
    found = set()
    for content in ("one", "other"):
        tables = Tables(Storage(root=str(tmp_path / content)))
        part = write_part(tables.uri("sales"), "part-0.parquet", sales(1, 3))
        tables.commit("sales", [part], SALES, mode="overwrite", transaction="a", facts={"digest": content})
        found.add(_Run.plan("out", sql("select id from sales"), tables, lambda modules: dict.fromkeys(modules, "code")).digest)
    assert len(found) == 2
