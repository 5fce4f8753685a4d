"""The audit of prepared data: a clean experiment passes, and leaks are found through the real way of preparing it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shops import FEATURES, SPLIT, TASK, Shop, orders, write_orders

from raypipe.audit import Audit, Report
from raypipe.core.config import build, config
from raypipe.core.storage import Storage, path_of, remove
from raypipe.prepare import Plan, Prepared, audit_prepared, audit_problems, audit_uri, find_audit
from raypipe.prepare._fits import Fits
from raypipe.prepare._fitting import Fitting
from raypipe.prepare._folds import Folding
from raypipe.split import SPLITS, HashSplit

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


@config
class Shuffled:
    """Says that it is by time, and is not."""

    by_time: bool = True
    columns: tuple[str, ...] = ()

    def assign(self, rows: pa.Table, *, key: tuple[str, ...], at: str | None) -> pa.Array:  # noqa: ARG002  # protocol
        return pa.array(np.array(SPLITS)[rows.column(key[0]).to_numpy() % 3])


def audited(shop: Shop, plan: Plan, audit: Audit | None = None) -> Report:
    return audit_prepared(plan, shop.tables(), shop.prepared(plan), audit or Audit())


def refused(report: Report, audit: Audit | None = None) -> dict[tuple[str, str], str]:
    return {(f.check, f.column): f.text for f in (audit or Audit()).findings(report) if f.severity == "fail"}


def test_a_clean_experiment_passes_every_check(kept: tuple[Shop, Prepared]) -> None:
    shop, prepared = kept
    report = audit_prepared(shop.plan(), shop.tables(), prepared, Audit())
    assert Audit().findings(report) == ()
    assert set(report.looked_at) == {"duplicates", "time_overlap", "known_later", "proxies", "statistics", "look_ahead"}
    assert report.rows == prepared.num_rows
    assert {m.column for m in report.of("proxies")} == {
        "amount", "shop", "shops_staff", "prices_price", "noticed", "placed"
    }  # fmt: skip
    assert report.of("look_ahead")[0].text.startswith("0 of ")


def test_the_report_stays_with_the_prepared_data_under_its_settings(kept: tuple[Shop, Prepared]) -> None:
    shop, prepared = kept
    strict = Audit(max_auc=0.99)
    assert find_audit(prepared, strict) is None
    made = audit_prepared(shop.plan(), shop.tables(), prepared, strict)
    assert find_audit(prepared, strict) == made
    assert audit_uri(prepared, strict) != audit_uri(prepared, Audit())
    written = Path(path_of(audit_uri(prepared, strict))).stat().st_mtime_ns
    audit_prepared(shop.plan(), shop.tables(), prepared, strict)
    assert Path(path_of(audit_uri(prepared, strict))).stat().st_mtime_ns == written


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_a_column_that_is_known_later_is_found_where_the_guard_is_off(shop: Shop, kind: str) -> None:
    tasks = {"binary": {}, "multiclass": {"label": '"late" if delay > 5 else "soon"'}, "regression": {"label": "delay"}}
    task = {"kind": kind, "leak_guard": False, **tasks[kind]}
    plan = shop.plan(task, {**FEATURES, "leak": {"kind": "number", "column": "delay"}})
    found = refused(audited(shop, plan))
    assert set(found) == {("known_later", "delay"), ("proxies", "delay")}


def test_a_column_that_is_filled_in_with_the_label_is_found_without_any_declaration(shop: Shop) -> None:
    plan = shop.plan({"leak_guard": False}, {**FEATURES, "leak": {"kind": "number", "column": "delay"}})
    columns = {name: replace(column, known="before") for name, column in plan.inputs.columns.items()}
    found = refused(audited(shop, replace(plan, inputs=replace(plan.inputs, columns=columns))))
    text = found["known_later", "delay"]
    assert text.startswith("null in 100.0% of 47 rows whose label is unknown and in 0.0% of the others")


def test_a_derived_proxy_is_found_by_its_own_name(shop: Shop) -> None:
    derive = {**TASK["derive"], "hint": "delay * 2 + amount * 0.0001"}
    plan = shop.plan({"derive": derive, "leak_guard": False}, {**FEATURES, "hint": {"kind": "number"}})
    assert ("proxies", "hint") in refused(audited(shop, plan))


def test_entities_in_two_splits_are_found_unless_the_split_keeps_them_together(shop: Shop) -> None:
    audit = Audit(entity=("shop",))
    report = audited(shop, shop.plan(split=HashSplit()), audit)
    assert set(refused(report, audit)) == {("entity_overlap", "shop")}
    grouped = audited(shop, shop.plan(split=HashSplit(by=("amount",))))
    assert [m.value for m in grouped.of("entity_overlap")] == [0.0, 0.0]


def test_rows_without_a_time_are_audited_too(shop: Shop) -> None:
    task = {"prediction_time": None, "views": {"shops": TASK["views"]["shops"]}}
    report = audited(shop, shop.plan(task, {"amount": {"kind": "number"}}, split=HashSplit()))
    assert set(report.skipped) == {"entity_overlap", "time_overlap", "look_ahead"}
    assert refused(report) == {}


def test_copies_of_rows_are_found_across_a_split_by_key(shop: Shop) -> None:
    rows = orders()
    copies = [{**row, "id": 10_000 + row["id"]} for row in rows[::4]]
    write_orders(Path(str(shop.folder)), [*rows, *copies])
    found = refused(audited(shop, shop.plan(split=HashSplit())))
    assert set(found) == {("duplicates", "")}
    assert "100.0% of these have its label" in found["duplicates", ""]


def test_a_split_by_time_that_is_none_is_found(shop: Shop) -> None:
    assert set(refused(audited(shop, shop.plan(split=Shuffled())))) == {("time_overlap", "")}


def test_statistics_of_other_rows_in_a_kept_state_are_found(shop: Shop) -> None:
    plan = shop.plan()
    prepared = shop.prepared(plan)
    folding = Folding(split=SPLIT, key=plan.key)
    everything = pa.concat_tables([pq.read_table(uri) for split in SPLITS for uri in prepared.joined_uris(split)])
    fits = Fits(uri=prepared.joined.uri, features=plan.features)
    fits.keep(Fitting(features=plan.features, aside="", folding=folding).fit(everything, "all"))
    remove(prepared.uri)
    again = shop.prepared(plan)
    assert "no feature fitted again" in again.did
    found = refused(audit_prepared(plan, shop.tables(), again, Audit()))
    ((check, column),) = found
    assert (check, column) == ("statistics", "amount")
    assert f"fitted on {everything.num_rows} rows, and train has {prepared.num_rows['train']}" in found[check, column]


def test_a_join_that_looks_ahead_is_found_by_looking_into_the_view(shop: Shop) -> None:
    plan = shop.plan()
    prepared = shop.prepared(plan)
    for uri in prepared.joined_uris("test"):
        rows = pq.read_table(path_of(uri))
        later = rows.column("prices_price").to_pylist()
        shifted = pa.array([None if x is None else (x + 1) % 7 for x in later], rows.schema.field("prices_price").type)
        place = rows.column_names.index("prices_price")
        pq.write_table(rows.set_column(place, "prices_price", shifted), path_of(uri))
    found = refused(audit_prepared(plan, shop.tables(), prepared, Audit()))
    assert set(found) == {("look_ahead", "prices")}
    assert "hold other values than the view had" in found["look_ahead", "prices"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"entity": ["shopp"]}, "audit.entity: no column 'shopp'; did you mean shop"),
        ({"allow": {"amuont": "x"}}, "audit.allow: no column 'amuont'; did you mean amount"),
        ({"allow": {"id": "no feature reads it"}}, "audit.allow: no column 'id'"),
    ],
)
def test_columns_that_the_task_does_not_have_are_refused(
    kept: tuple[Shop, Prepared], settings: Mapping[str, Any], words: str
) -> None:
    shop, _ = kept
    (problem,) = audit_problems(shop.plan(), build(settings, Audit))
    assert words in problem


def test_an_audit_whose_checks_are_off_measures_nothing(shop: Shop, storage: Storage) -> None:
    assert storage == shop.storage
    checks = ("duplicates", "time_overlap", "known_later", "proxies", "statistics", "look_ahead")
    audit = build(dict.fromkeys(checks, "off"), Audit)
    assert audited(shop, shop.plan(), audit).measures == ()
