"""What a transform may be, before and beside any work: SQL that is right piece by piece, its answers, its bounds."""

import datetime as dt
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raypipe.core.config import build
from raypipe.core.errors import ConfigError
from raypipe.transforms import PythonTransform, Sql, order_of
from raypipe.transforms._sql import query
from raypipe.transforms._typed import typed


def sql(text: str, **settings: Any) -> Sql:
    return build({"inputs": {"sales": "sales"}, "sql": text, **settings}, Sql)


REFUSED = [
    ("select count(*) from t", (), "an aggregate needs by"),
    ("select k from t group by k", (), "an aggregate needs by"),
    ("select distinct a from t", (), "DISTINCT needs by"),
    ("select row_number() over (order by a) from t", (), "a window needs by"),
    ("select * from t union select * from t", (), "UNION without ALL needs by"),
    ("select * from t join t as v using (a)", (), "a join of tables that are split needs by"),
    ("select u.a from t right join u using (a)", (), "RIGHT JOIN keeps rows"),
    ("select * from t full join u using (a)", (), "JOIN keeps rows"),
    ("select u.a from u where exists (select 1 from t)", (), "a subquery in an expression reads rows that are split"),
    ("select u.a from u, (values (1)) v union all select t.a from t", (), "UNION of a table that is split and one that is not"),
    ("select 1 as a where 1 in (select 2)", (), "inputs t is not in the SQL"),
    ("select count(*) from t", ("k",), "an aggregate leaves out k of by"),
    ("select k, count(*) from t group by rollup (k)", ("k",), "an aggregate leaves out k of by"),
    ("select a as k, count(*) from t group by all", ("k",), "an aggregate leaves out k of by"),
    ("select k from (select a as k from t) group by k", ("k",), "k is a column of by and cannot be the name"),
    ("select * replace (a as k) from t", ("k",), "k is a column of by"),
    ("select sum(a) over (partition by a) from t", ("k",), "a window leaves out k of by"),
    ("select distinct a from t", ("k",), "DISTINCT leaves out k of by"),
    ("select distinct * exclude (k) from t", ("k",), "DISTINCT leaves out k of by"),
    ("select distinct u.* from t left join u using (k)", ("k",), "DISTINCT leaves out k of by"),
    ("select * from t join u on t.a = u.a", ("k",), "a join of tables that are split leaves out k"),
    ("select * from t, u", ("k",), "a join of tables that are split leaves out k"),
    ("select * from t join u on t.k = u.k or true", ("k",), "a join of tables that are split leaves out k"),
    ("select u.k, count(*) from t left join u on t.k = u.k group by u.k", ("k",), "an aggregate leaves out k of by"),
    ("select u.k, t.a from t left join u on t.k = u.k", ("k",), "u.k is null where the join found nothing"),
    ("select * from t join u on t.k = t.k", ("k",), "a join of tables that are split leaves out k"),
    ("select * from t join u on k = u.k", ("k",), "a join of tables that are split leaves out k"),
    ("select t.a from t join u using (k) join t as v on t.k = u.k", ("k",), "a join of tables that are split leaves out k"),
    ("select * from (select a from t) natural join u", ("k",), "a join of tables that are split leaves out k"),
    ("select * from t full join u on t.k = u.k", ("k",), r"leaves columns of by null; write USING \(k\)"),
    ("select k from (select u.* from t left join u using (k)) group by k", ("k",), r"u\.\* has columns of by that are null"),
    ("select t.a from t join u on t.k = u.k and t.a > (select a from t)", ("k",), "a subquery in an expression"),
    ("select t.a from t, unnest((select l from t)) v", (), "a subquery in an expression"),
    ("select t.a from t, (values ((select 1 from t))) v", (), "a subquery in an expression"),
    ("select * from t positional join u", ("k",), "a positional join"),
    ("select k, a from t union all select a, k from u", ("k",), "in another place"),
    ("select * from t limit 3", ("k",), "LIMIT over rows that are split"),
    ("select * from t order by a", ("k",), "ORDER BY over rows that are split"),
    ("select * from t where a in (select a from t)", ("k",), "a subquery in an expression"),
    ("with recursive r as (select * from t union all select * from r) select * from r", ("k",), "a recursive query"),
    ("select random() as r from t", (), r"random\(\) gives another answer each time"),
    ("select now() as r from t", (), r"now\(\) gives another answer"),
    ("select current_date as r from t", (), "current_date is another one each time"),
    ("select current_localtimestamp() as r from t", (), r"current_localtimestamp\(\) gives another answer"),
    ("select ago(interval 1 day) as r from t", (), r"ago\(\) gives another answer"),
    ("select age(a) as r from t", (), r"age\(\) of one time is from today"),
    ("select geometric_mean(a) from t", (), "an aggregate needs by"),
    ("select json_group_array(a) from t", ("k",), "an aggregate leaves out k of by"),
    ("with T as (select * from u) select * from t", (), "the outer SELECT takes nothing from t"),
    ("select k, count(*) from (select a as K from t) group by k", ("k",), "k is a column of by and cannot be the name"),
    ("select k, count(*) from t as v(a, k) group by k", ("k",), "k is a column of by; do not name it in a list"),
    ("with v(K) as (select a from t) select k, count(*) from v group by k", ("k",), "k is a column of by; do not name it"),
    ("select v.k, count(*) from t, (select range as k from range(3)) v group by v.k", ("k",), "an aggregate leaves out k"),
    ("select * from t tablesample 10%", (), "a sample is another one each time"),
    ("select * from t, read_csv('/etc/passwd')", (), r"read_csv\(\) in FROM is not a table"),
    ("select * from t, 'x.parquet'", (), "FROM x.parquet is none of the inputs"),
    ("select * from t, sale", (), "FROM sale is none of the inputs"),
    ("select * from main.t", (), "FROM main.t is none of the inputs"),
    ("insert into t values (1)", (), "expected one SELECT"),
    ("drop table t", (), "expected one SELECT"),
    ("copy t to 'x'", (), "expected one SELECT"),
    ("attach 'x'", (), "expected one SELECT"),
    ("install httpfs", (), "expected one SELECT"),
    ("set threads = 9", (), "expected one SELECT"),
    ("select 1 from t; drop table t", (), "expected one SELECT"),
    ("selec", (), "expected one SELECT"),
    ("", (), "expected one SELECT, got 0 statements"),
]


@pytest.mark.parametrize(("text", "by", "problem"), REFUSED, ids=lambda value: str(value)[:50])
def test_sql_that_would_give_other_rows_or_do_something_else_is_refused_before_any_work(
    text: str, by: tuple[str, ...], problem: str
) -> None:
    inputs = {"t": "sales", **({"u": "shops"} if re.search(r"\bu\b", text) else {})}
    with pytest.raises(ConfigError, match=problem) as caught:
        build({"inputs": inputs, "sql": text, "by": by}, Sql)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    ("contract", "problem"),
    [
        ({"unique": [["id"]]}, "unique is not checked on a transform; make it the key"),
        ({"foreign_keys": {"s": {"columns": {"id": "id"}, "table": "u"}}}, "foreign_keys is not checked"),
        ({"drift": "add"}, "drift is not checked"),
        ({"distribution": {"id": {"max_psi": 0.2}}}, "distribution is not checked"),
    ],
)
def test_rules_that_a_transform_cannot_keep_are_refused(contract: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        sql("select id from sales", contract={"columns": {"id": "int64"}, **contract})


def test_names_are_compared_as_duckdb_does() -> None:
    upper = build(
        {"inputs": {"Sales": "sales"}, "sql": "select SALES.k, count(*) as n from sales group by K", "by": ["k"]}, Sql
    )
    assert upper.recipe.shrinks == "grouped"
    with pytest.raises(ConfigError, match="inputs that differ in upper and lower case only"):
        build({"inputs": {"t": "a", "T": "b"}, "sql": "select * from t"}, Sql)


def test_transforms_run_after_those_they_take_rows_of() -> None:
    chain = {
        "c": sql("select a.id from a, b", inputs={"a": "b", "b": "x"}),
        "b": sql("select id from a", inputs={"a": "a@gold"}),
    }
    chain["a"] = sql("select id from x", inputs={"x": "x"})
    assert order_of(chain) == ["a", "b", "c"]
    with pytest.raises(ConfigError, match=r"data.transforms.a: data.tables has a table of this name"):
        order_of(chain, ["a", "x"])
    chain["a"] = sql("select id from c", inputs={"c": "c"})
    with pytest.raises(ConfigError, match=r"a -> .* need each other; a table cannot be made of itself"):
        order_of(chain)


def test_only_functions_within_the_allow_list_are_named() -> None:
    with pytest.raises(ConfigError, match="os:system is not allowed"):
        build({"input": "sales", "function": "os:system"}, PythonTransform, allowed=["own_transforms"])


def test_duckdb_sees_nothing_but_the_inputs(tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    hidden = pa.table({"a": [1]})
    assert hidden.num_rows == 1
    for text in (
        f"select * from '{secret}'",
        f"select * from read_text('{secret}')",
        "select * from glob('/*')",
        f"copy (select 1) to '{tmp_path}/out.csv'",
        "load httpfs",
        "set enable_external_access = true",
        "from hidden",
    ):
        with pytest.raises(ConfigError, match=r"^here: ") as caught:
            query(text, {"t": pa.table({"a": [1]})}, memory_mb=64, where="here")
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.csv").exists()


def test_answers_come_in_the_types_of_tables() -> None:
    text = (
        "select sum(1::bigint) as whole, 1.5 as part, 1::utinyint as small, date '2020-01-02' as day, [1, 2] as many, "
        "true as yes, timestamptz '2020-01-01 12:00:00+02' as at, timestamp '2020-01-01 12:00:00' as bare, "
        "date_trunc('day', t) as cut from t"
    )
    cells = pa.array([dt.datetime(2020, 1, 1, 23, 30, tzinfo=dt.UTC)], pa.timestamp("us", "UTC"))
    found = typed(query(text + " group by t", {"t": pa.table({"t": cells})}, memory_mb=64, where="x"), "x")
    assert [str(kind) for kind in found.schema.types] == [
        *("int64", "double", "int64", "date32[day]", "list<item: int64>", "bool"),
        *["timestamp[us, tz=UTC]"] * 3,
    ]
    assert [found[name][0].as_py().hour for name in ("at", "bare", "cut")] == [10, 12, 0]


def test_memory_is_bounded_and_what_does_not_fit_is_spilled_or_refused() -> None:
    table = pa.table({"k": pa.array(range(1_000_000)), "s": [f"a long text of number {i}" for i in range(1_000_000)]})
    found = query("select s, count(*) as n from t group by s", {"t": table}, memory_mb=96, where="here")
    assert found.num_rows == 1_000_000
    with pytest.raises(ConfigError, match="here: a piece needs more than memory_mb=64; raise it, or take a finer by"):
        query("select list(s) as l, list(s || k) as m from t", {"t": table}, memory_mb=64, where="here")
