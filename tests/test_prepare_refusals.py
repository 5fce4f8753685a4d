"""Prepare refuses what cannot be: names, types, leaks, labels, splits and views, each in one line that names it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from shops import KINDS, SPLIT, TASK, Shop, orders, specs, write_csv, write_orders

from raypipe.core.errors import (
    ConfigError,
    DuplicateKeys,
    EmptySplit,
    FeatureError,
    LabelError,
    LeakyColumn,
    RaypipeError,
    ViewTooLarge,
)
from raypipe.ingest import ingest_tables
from raypipe.joins import Joins
from raypipe.prepare import Prepared, make_plan, prepare
from raypipe.split import HashSplit, TimeSplit

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


BY_RATING = {"shops": {"table": "shops", "entity": {"shop": "name"}, "columns": ["rating"]}}
TWICE = {**TASK["derive"], "twice": "delay * 2"}
DEAR = {"dear": "amount > 50"}


@pytest.mark.parametrize(
    ("task", "features", "column", "table"),
    [
        ({}, {"x": {"kind": "number", "column": "delay"}}, "delay", "orders"),
        ({"derive": TWICE}, {"twice": {"kind": "number"}}, "delay", "orders"),
        ({"views": BY_RATING}, {"shops_rating": {"kind": "number"}}, "shops_rating", "shops"),
    ],
    ids=["a column", "a derived column", "a column of an exact view"],
)
def test_a_feature_on_what_is_known_only_later_is_refused_by_name(
    task: Mapping[str, Any], features: Mapping[str, Any], column: str, table: str, kept: tuple[Shop, Prepared]
) -> None:
    shop, _ = kept
    with pytest.raises(LeakyColumn, match="known only later") as caught:
        shop.plan(task, features)
    assert (caught.value.column, caught.value.table) == (column, table)
    assert caught.value.feature == next(iter(features))


def test_a_view_that_is_looked_up_by_what_is_known_only_later_is_refused(kept: tuple[Shop, Prepared]) -> None:
    shop, _ = kept
    view = {"table": "shops", "entity": {"delay": "rating"}, "columns": ["staff"]}
    with pytest.raises(LeakyColumn, match="delay") as caught:
        shop.plan({"views": {"by_delay": view}}, {"by_delay_staff": {"kind": "number"}})
    assert caught.value.feature == "by_delay_staff"


@pytest.mark.parametrize(
    ("task", "features", "column"),
    [
        ({"label": "amount > 50"}, {"amount": {"kind": "number"}}, "amount"),
        ({"label": "dear", "derive": DEAR}, {"dear": {"kind": "boolean"}}, "amount"),
        ({"label": "dear", "derive": DEAR}, {"x": {"kind": "number", "column": "amount"}}, "amount"),
        ({"label": 'shop == "east"'}, {"shops_staff": {"kind": "number"}}, "shop"),
    ],
    ids=["its column", "its derived column", "the column behind it", "a view that is looked up by it"],
)
def test_a_feature_on_what_the_label_is_made_of_is_refused_by_name_and_can_be_let_through(
    task: Mapping[str, Any], features: Mapping[str, Any], column: str, kept: tuple[Shop, Prepared]
) -> None:
    shop, _ = kept
    task = {**task, "derive": {**TASK["derive"], **task.get("derive", {})}}
    with pytest.raises(FeatureError, match=f"uses column {column}, of which the label is made.*leak_guard=false") as caught:
        shop.plan(task, features)
    assert caught.value.subject == next(iter(features))
    assert "\n" not in str(caught.value)
    assert shop.plan({**task, "leak_guard": False}, features).task.label == task["label"]


def test_with_the_guard_off_the_same_feature_is_let_through(kept: tuple[Shop, Prepared]) -> None:
    shop, _ = kept
    features = {"leak": {"kind": "number", "column": "delay", "scale": "none"}}
    prepared = shop.prepared(shop.plan({"leak_guard": False, "views": {}}, features))
    tensors = prepared.tensors("test")
    np.testing.assert_array_equal(tensors.inputs["numbers_NF"][:, 0] > 5, tensors.y_N == 1)


def view(table: str = "shops", entity: str = "shop", key: str = "name", **more: Any) -> dict[str, Any]:
    return {"views": {"v": {"table": table, "entity": {entity: key}, "columns": ["staff"], **more}}}


AMOUNT = {"amount": {"kind": "number"}}
PRICED_AT = view("prices", key="shop", event_time="price", columns=["since"])
STAFF_TWICE = {"noticed": "placed", "shops_staff": "id"}


@pytest.mark.parametrize(
    ("task", "features", "words"),
    [
        ({"events": "order"}, None, "no table 'order'.*did you mean orders"),
        ({"label": "dely > 5"}, None, "task.label: no column 'dely'.*did you mean delay"),
        ({"prediction_time": "plcaed - hours(1)"}, None, "task.prediction_time: no column 'plcaed'.*did you mean placed"),
        ({"derive": {"noticed": "placd"}}, None, "task.derive.noticed: no column 'placd'.*did you mean placed"),
        ({}, {"amout": {"kind": "number"}}, "features: no column 'amout'.*did you mean amount"),
        ({}, {"shop_staff": {"kind": "number"}}, "features: no column 'shop_staff'.*did you mean shops_staff"),
        (view(table="shop"), AMOUNT, "task.views.v.table: no table 'shop'.*did you mean shops"),
        (view(key="nam"), AMOUNT, "task.views.v: table shops has no column 'nam'.*did you mean name"),
        (view(entity="shp"), AMOUNT, "task.views.v.entity: no column 'shp'.*did you mean shop"),
        (view(entity="id"), AMOUNT, "id is int64 but shops.name is string; give both one type"),
        (PRICED_AT, AMOUNT, "price is double, not a timestamp"),
        ({"prediction_time": None}, None, "task.prediction_time is missing: a split by time"),
        ({"prediction_time": "amount * 2"}, None, "gives double, expected a timestamp"),
        ({"derive": {"noticed": "placed", "amount": "delay"}}, None, "column amount is in table orders already"),
        ({"derive": STAFF_TWICE}, None, "column shops_staff is made by task.derive.shops_staff already"),
    ],
)
def test_names_and_types_that_do_not_fit_are_refused_before_any_row_is_read(
    task: Mapping[str, Any], features: Mapping[str, Any] | None, words: str, kept: tuple[Shop, Prepared]
) -> None:
    shop, _ = kept
    with pytest.raises(ConfigError, match=words):
        shop.plan(task, features)


@pytest.mark.parametrize(
    ("task", "error", "words"),
    [
        ({"label": "delay"}, LabelError, "not true or false; write a comparison"),
        ({"kind": "multiclass"}, None, ""),
        ({"kind": "multiclass", "label": "delay"}, LabelError, "decimal numbers"),
        ({"kind": "regression", "label": "size"}, LabelError, "string, not a number"),
        ({"label": "delay > size"}, FeatureError, "delay > size"),
    ],
)
def test_a_label_of_the_wrong_type_is_refused_before_any_row_is_read(
    task: Mapping[str, Any], error: type[RaypipeError] | None, words: str, kept: tuple[Shop, Prepared]
) -> None:
    shop, _ = kept
    if error is None:
        assert shop.plan(task).task.kind == task["kind"]
        return
    with pytest.raises(error, match=words):
        shop.plan(task)


def test_a_slice_or_a_split_on_an_unknown_column_is_refused(kept: tuple[Shop, Prepared]) -> None:
    shop, _ = kept
    with pytest.raises(ConfigError, match=r"evaluator.slices: no column 'sise'.*did you mean size"):
        shop.plan(slices=("sise",))
    with pytest.raises(ConfigError, match=r"split: no column 'shopp'.*did you mean shop"):
        shop.plan(split=HashSplit(by=("shopp",)))


def test_all_problems_of_a_task_are_told_at_once(kept: tuple[Shop, Prepared]) -> None:
    shop, _ = kept
    with pytest.raises(ConfigError) as caught:
        shop.plan({"label": "dely > 5", "prediction_time": None}, {"amout": {"kind": "number"}})
    assert len(caught.value.problems) == 4


def test_events_without_a_key_are_refused(kept: tuple[Shop, Prepared]) -> None:
    shop, _ = kept
    plan = shop.plan()
    with pytest.raises(ConfigError, match=r"contract.key is empty"):
        make_plan(plan.task, plan.split, plan.features, specs(shop.folder, orders={"key": []}))


def test_derived_columns_may_use_each_other_in_any_order(kept: tuple[Shop, Prepared]) -> None:
    shop, _ = kept
    derive = {"noticed": "earlier - hours(1)", "earlier": "placed - minutes(5)"}
    prepared = shop.prepared(shop.plan({"derive": derive}))
    assert prepared.rows.rows_in == 600


NULLS = "null in 47 of 600 rows.*task.unlabelled=TEXT"


@pytest.mark.parametrize(
    ("task", "split", "error", "words"),
    [
        ({"unlabelled": None}, SPLIT, LabelError, NULLS),
        ({"label": "amount > -1", "leak_guard": False}, SPLIT, LabelError, "split train has one class only .true."),
        ({"label": "id > 599"}, SPLIT, LabelError, "one class only .false."),
        ({}, replace(SPLIT, test=("2021-01-01", "2021-02-01")), EmptySplit, r"split test has no rows.*test 0"),
        ({}, replace(SPLIT, train=("2019-01-01", "2019-02-01")), EmptySplit, r"split train has no rows \(train 0"),
        (
            {"kind": "multiclass", "label": "size"},
            TimeSplit(train=("2019-01-01", "2019-02-01"), validation=SPLIT.validation, test=SPLIT.test),
            EmptySplit,
            "split train has no rows",
        ),
    ],
    ids=["null labels", "one class, nulls aside", "one class", "no test rows", "no training rows", "no rows of any class"],
)
def test_rows_that_cannot_be_learned_from_are_refused_in_one_line(
    task: Mapping[str, Any], split: TimeSplit, error: type[RaypipeError], words: str, kept: tuple[Shop, Prepared]
) -> None:
    shop, _ = kept
    with pytest.raises(error, match=words) as caught:
        shop.prepared(shop.plan(task, split=split))
    assert "\n" not in str(caught.value)


def test_a_class_that_training_rows_lack_is_refused_by_name(shop: Shop) -> None:
    rows = [{**row, "size": "large" if i > 550 else ("small", "medium")[i % 2]} for i, row in enumerate(orders())]
    write_orders(shop.folder, rows)
    with pytest.raises(LabelError, match="class large is not among the training rows"):
        shop.prepared(shop.plan(KINDS["multiclass"]))


def test_an_infinite_or_missing_number_is_no_label(shop: Shop) -> None:
    prepared = shop.prepared(shop.plan({"kind": "regression", "label": "amount / (id - 3)", "leak_guard": False}))
    rows = orders()
    assert prepared.rows.set_aside["not delivered"] == sum(row["amount"] == "" or row["id"] == 3 for row in rows)


def test_a_view_with_duplicate_keys_is_refused_in_one_line(shop: Shop) -> None:
    write_csv(shop.folder / "shops.csv", [{"name": name, "staff": 1, "rating": 1} for name in ("north", "south", "north")])
    with pytest.raises(RaypipeError, match=r"shops \(view shops\).*\(name\) is not unique.*name=north") as caught:
        shop.prepared()
    assert type(caught.value) is DuplicateKeys
    assert "\n" not in str(caught.value)


def test_a_view_that_is_too_large_to_broadcast_is_refused_in_one_line(shop: Shop) -> None:
    with pytest.raises(RaypipeError, match=r"view prices holds.*broadcast_bytes=2,000; set joins.strategy=auto") as caught:
        shop.prepared(joins=Joins(strategy="broadcast", broadcast_bytes=2000))
    assert type(caught.value) is ViewTooLarge


def test_a_table_ingested_under_another_contract_is_refused_with_what_to_run(shop: Shop) -> None:
    columns = {**specs(shop.folder)["orders"].contract.to_dict()["columns"]}
    other = specs(shop.folder, orders={"columns": {name: c for name, c in columns.items() if name != "amount"}})
    tables = {name: done.ref for name, done in ingest_tables(other, shop.storage).items()}
    with pytest.raises(ConfigError, match=r"orders@0 has no column amount of type double.*run python jobs/ingest.py"):
        prepare(shop.plan(), tables, shop.storage, Joins())
