"""The cost of a plan: passes, columns and bounds are known before any row is read, and what is done keeps to them."""

from typing import Any

import pytest
from shops import FEATURES, Shop

from raypipe.prepare import Cost, cost_of, pending

MIB = 2**20


def cost(shop: Shop, features: dict[str, Any], **more: Any) -> Cost:
    return cost_of(shop.plan(features=features), broadcast_bytes=MIB, **more)


def test_one_pass_fits_whatever_the_stages_and_one_transforms(shop: Shop) -> None:
    found = cost(shop, {**FEATURES, "clipped": {"kind": "number", "column": "id", "clip": [0.01, 0.99], "log1p": True}})
    assert found.passes == ("orders: join, label, split and fit", "joined rows: transform and profile")
    assert found.second_passes == {}


def test_columns_are_those_that_task_and_features_need_of_each_table(shop: Shop) -> None:
    found = cost(shop, {"where": {"kind": "category", "columns": ["shop"]}})
    assert {table: set(columns) for table, columns in found.reads.items()} == {
        "orders": {"id", "placed", "shop", "amount", "size", "delay"},
        "shops": {"name", "staff"},
        "prices": {"shop", "since", "price"},
    }
    (feature,) = found.features
    assert (feature.feature, feature.kind, feature.columns, feature.keeps) == ("where", "category", ("shop",), "value counts")


@pytest.mark.parametrize(
    ("spec", "keeps"),
    [
        ({"kind": "number", "column": "amount", "impute": "mean"}, "moments"),
        ({"kind": "number", "column": "amount", "impute": "median"}, "moments, value counts"),
        ({"kind": "category", "column": "shop", "partitions": 4}, "value counts in 4 partitions"),
        ({"kind": "target", "column": "shop"}, "label sums by value and fold"),
        ({"kind": "hash", "column": "shop", "buckets": 16}, "nothing"),
    ],
)
def test_what_a_feature_keeps_is_said_in_words(spec: dict[str, Any], keeps: str, shop: Shop) -> None:
    (feature,) = cost(shop, {"x": spec}).features
    assert feature.keeps == keeps
    assert (feature.worker_bytes > 0) == (feature.driver_bytes > 0) == (keeps != "nothing")


@pytest.mark.parametrize(
    ("spec", "outputs"),
    [
        ({"kind": "number", "columns": ["amount", "shops_staff"]}, 2),
        ({"kind": "number", "column": "amount", "indicator": True}, 2),
        ({"kind": "category", "columns": ["shop", "size"]}, 2),
        ({"kind": "category", "columns": ["shop", "size"], "encode": "one_hot"}, 2000),
        ({"kind": "cross", "columns": ["shop", "size"], "encode": "one_hot", "max_size": 30}, 30),
        ({"kind": "calendar", "column": "placed", "zone": "UTC", "parts": ["hour", "month"], "as": "cyclic"}, 4),
        ({"kind": "hash", "column": "shop", "buckets": 16}, 1),
    ],
)
def test_the_outputs_of_a_part_are_counted_with_the_most_that_a_fit_can_give(
    spec: dict[str, Any], outputs: int, shop: Shop
) -> None:
    one, both = cost(shop, {"id": {"kind": "number"}}), cost(shop, {"id": {"kind": "number"}, "x": spec})
    assert both.features[1].outputs == outputs
    assert both.worker_bytes - one.worker_bytes - both.features[1].worker_bytes == 131_072 * outputs * 12


def test_categories_with_partitions_have_one_more_pass_and_take_less_of_the_driver(shop: Shop) -> None:
    spec = {"kind": "category", "column": "shop", "max_size": 1000}
    one, many = cost(shop, {"x": spec}), cost(shop, {"x": {**spec, "partitions": 8}})
    assert many.passes[1] == "counts put aside, of x (8 partitions): merge"
    assert (len(one.passes), len(many.passes), many.second_passes) == (2, 3, {"x": 8})
    assert many.features[0].driver_bytes < one.features[0].driver_bytes / 100


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_ingested_tables_make_the_bounds_closer(shop: Shop) -> None:
    before, after = cost(shop, FEATURES), cost(shop, FEATURES, tables=shop.tables())
    assert (before.part_rows, after.part_rows) == (131_072, 200)
    assert before.view_bytes == 2 * MIB
    assert after.view_bytes == 3 * (32 + 8) + 900 * (32 + 8 + 8)
    assert after.worker_bytes < before.worker_bytes / 100
    assert after.driver_bytes < before.driver_bytes / 100
    states = sum((feature.worker_bytes for feature in after.features), 0)
    assert after.worker_bytes > states
    assert after.driver_bytes == 2 * sum(feature.driver_bytes for feature in after.features) + 3 * states


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_what_is_left_to_do_is_what_is_done_then(shop: Shop) -> None:
    tables, other = shop.tables(), {**FEATURES, "amount": {"kind": "number", "impute": "mean"}}
    fewer = {name: spec for name, spec in FEATURES.items() if name != "views"}

    def left(features: dict[str, Any]) -> str:
        return pending(shop.plan(features=features), tables, shop.storage)

    assert left(FEATURES) == "join the events, fit all 4 features in the same pass, transform all"
    shop.prepared()
    assert left(FEATURES) == "nothing: all is prepared"
    assert left(other) == "joined rows are there; fit 1 of 4 features (amount); transform all"
    assert left(fewer) == "joined rows are there; no feature has to be fitted again; transform all"
    assert (
        shop.prepared(shop.plan(features=other)).did == "joined rows reused; fitted 1 of 4 features (amount); transformed all"
    )
