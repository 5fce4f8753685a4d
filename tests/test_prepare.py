"""Prepare: counted, joined at the right instant, fitted on training rows alone, kept by digest, and refused by name."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shops import FEATURES, KINDS, SPLIT, TASK, Shop, orders, write_csv, write_orders

from raypipe.core.errors import (
    StorageError,
)
from raypipe.features import FittedFeatures
from raypipe.prepare import JOINED_AT, LoadPrepared, Prepared, prepared_digest
from raypipe.split import SPLITS, HashSplit, TimeSplit

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


def joined(prepared: Prepared, split: str) -> pa.Table:
    return pa.concat_tables([pq.read_table(uri) for uri in prepared.joined_uris(split)])


def seen(fitted: FittedFeatures) -> Mapping[str, bytes]:
    return fitted.to_files()


def written(uri: str) -> dict[Path, int]:
    """When each file below `uri` was written, but for the one that says when it was last used."""
    return {p: p.stat().st_mtime_ns for p in Path(uri).rglob("*") if p.is_file() and p.name != "used.json"}


def test_every_event_is_in_one_split_or_set_aside_with_its_reason(kept: tuple[Shop, Prepared]) -> None:
    _, prepared = kept
    rows = orders()
    unlabelled = sum(row["delay"] == "" for row in rows)
    assert prepared.rows.rows_in == len(rows)
    assert prepared.rows.set_aside["not delivered"] == unlabelled
    assert set(prepared.rows.set_aside) == {"not delivered", "outside every window of the split"}
    assert prepared.rows.rows_out == sum(prepared.num_rows.values())
    found = [i for split in SPLITS for i in joined(prepared, split).column("id").to_pylist()]
    assert len(found) == len(set(found)) == prepared.rows.rows_out
    assert not {row["id"] for row in rows if row["delay"] == ""} & set(found)


def test_rows_keep_the_order_of_the_table_and_fall_into_the_window_of_their_time(kept: tuple[Shop, Prepared]) -> None:
    _, prepared = kept
    for split in SPLITS:
        rows = joined(prepared, split)
        assert rows.column("id").to_pylist() == sorted(rows.column("id").to_pylist())
        low, high = SPLIT.windows()[split]
        times = rows.column(JOINED_AT).to_pylist()
        assert all(low <= at < high for at in times)
        assert prepared.times[split] == (min(times).isoformat(), max(times).isoformat())


def test_views_are_joined_as_of_the_prediction_time_and_what_is_missing_is_counted(kept: tuple[Shop, Prepared]) -> None:
    _, prepared = kept
    shops = {row["id"]: row["shop"] for row in orders()}
    for row in joined(prepared, "train").to_pylist():
        staff = {"north": 3, "south": 4, "east": 5}.get(shops[row["id"]])
        assert row["shops_staff"] == staff
        hour = row[JOINED_AT].hour % 8
        known = staff is not None and (hour < 6 or (hour == 6 and row[JOINED_AT].minute == 0))
        assert (row["prices_price"] is not None) == known
    unknown = sum(shop in ("", "west") for shop in shops.values())
    assert prepared.unmatched["shops"] == unknown
    assert unknown < prepared.unmatched["prices"] < len(shops)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_labels_of_each_kind_are_what_the_rows_say(kind: str, kept: tuple[Shop, Prepared]) -> None:
    shop, _ = kept
    prepared = shop.prepared(shop.plan(KINDS[kind]))
    assert prepared.target.kind == kind
    classes = {"binary": ("false", "true"), "multiclass": ("large", "medium", "small"), "regression": ()}
    assert prepared.target.classes == classes[kind]
    by_id = {row["id"]: row for row in orders()}
    for split in SPLITS:
        rows, tensors = joined(prepared, split), prepared.tensors(split)
        originals = [by_id[i] for i in rows.column("id").to_pylist()]
        expected = {
            "binary": lambda row: float(row["delay"] > 5),
            "multiclass": lambda row: prepared.target.classes.index(row["size"]),
            "regression": lambda row: row["delay"],
        }[kind]
        np.testing.assert_array_equal(tensors.y_N, np.array([expected(row) for row in originals], np.float32))
        assert len(tensors) == prepared.num_rows[split] == rows.num_rows
    assert prepared.rows.set_aside.get("not delivered", 0) == (0 if kind == "multiclass" else 47)


def test_tensors_are_the_features_of_the_joined_rows(kept: tuple[Shop, Prepared]) -> None:
    _, prepared = kept
    for split in SPLITS:
        direct = prepared.features.transform(joined(prepared, split))
        for name, tensor in prepared.tensors(split).inputs.items():
            np.testing.assert_array_equal(tensor, direct[name])
            assert tensor.shape == (prepared.num_rows[split], {"numbers_NF": 4, "categories_NC": 1}[name])


def test_training_data_holds_no_test_rows(kept: tuple[Shop, Prepared]) -> None:
    _, prepared = kept
    data = prepared.training_data()
    assert (len(data.train), len(data.validation)) == (prepared.num_rows["train"], prepared.num_rows["validation"])
    assert len(LoadPrepared(prepared.uri)().train) == len(data.train)
    assert not data.extra


def test_what_is_stored_opens_as_what_was_made(kept: tuple[Shop, Prepared]) -> None:
    _, prepared = kept
    opened = Prepared.open(prepared.uri)
    assert opened.to_dict() == prepared.to_dict()
    assert opened.features.digest == prepared.features.digest
    assert opened.sources == {
        "amount": "request",
        "shop": "request",
        "placed": "request",
        "shops_staff": "view:shops",
        "prices_price": "view:prices",
    }


def test_a_split_by_hash_may_use_a_column_that_nothing_else_uses(kept: tuple[Shop, Prepared]) -> None:
    shop, _ = kept
    plan = shop.plan({"views": {}, "prediction_time": None}, {"amount": {"kind": "number"}}, HashSplit(by=("size", "placed")))
    prepared = shop.prepared(plan)
    assert set(prepared.rows.set_aside) == {"not delivered"}
    assert prepared.times == {}
    assert JOINED_AT not in joined(prepared, "train").column_names
    groups = [{(row["size"], row["placed"]) for row in joined(prepared, split).to_pylist()} for split in SPLITS]
    assert len(set.union(*groups)) == sum(map(len, groups))


def test_slices_are_kept_beside_the_features_also_when_they_are_asked_for_later(kept: tuple[Shop, Prepared]) -> None:
    shop, without = kept
    with_slices = shop.prepared(shop.plan(slices=("size", "noticed")))
    assert "noticed" not in joined(without, "test").column_names
    assert {"size", "noticed"} <= {*joined(with_slices, "test").column_names}
    assert with_slices.features.digest == without.features.digest


def test_statistics_are_those_of_the_training_rows(kept: tuple[Shop, Prepared]) -> None:
    _, prepared = kept
    rows = orders()
    train = set(joined(prepared, "train").column("id").to_pylist())
    amounts = [row["amount"] for row in rows if row["id"] in train and row["amount"] != ""]
    shops = Counter(row["shop"] for row in rows if row["id"] in train and row["shop"])
    files = seen(prepared.features)
    assert repr(float(np.median(amounts))).encode() in files["features.json"]
    assert all(name.encode() in files["features.arrow"] for name in shops)


def test_changed_test_and_validation_rows_change_nothing_that_was_fitted(shop: Shop) -> None:
    before = shop.prepared()
    later = {i for split in ("validation", "test") for i in joined(before, split).column("id").to_pylist()}
    assert later
    rows = [
        {**row, "amount": 1e6, "shop": "elsewhere", "delay": 0 if row["id"] % 2 else 99} if row["id"] in later else row
        for row in orders()
    ]
    write_orders(shop.folder, rows)
    after = shop.prepared()
    assert after.digest != before.digest
    assert after.features.digest == before.features.digest
    assert seen(after.features) == seen(before.features)
    first, second = before.tensors("train"), after.tensors("train")
    assert all(np.array_equal(first.inputs[name], second.inputs[name], equal_nan=True) for name in first.inputs)
    assert not np.array_equal(before.tensors("test").inputs["numbers_NF"], after.tensors("test").inputs["numbers_NF"])


def test_changed_training_rows_change_what_was_fitted(shop: Shop) -> None:
    before = shop.prepared()
    write_orders(shop.folder, [{**row, "amount": 7} for row in orders()])
    assert shop.prepared().features.digest != before.features.digest


def test_the_same_is_found_by_its_digest_and_another_table_version_is_not(shop: Shop) -> None:
    first = shop.prepared()
    files = written(first.uri)
    again = shop.prepared()
    assert (again.uri, again.did) == (first.uri, "all reused")
    assert written(first.uri) == files
    write_csv(shop.folder / "shops.csv", [{"name": "north", "staff": 30, "rating": 1}])
    second = shop.prepared()
    assert second.uri != first.uri
    assert (first.tables["shops"], second.tables["shops"]) == (0, 1)
    assert Prepared.open(first.uri).to_dict() == first.to_dict()


@pytest.mark.parametrize(
    ("task", "features", "split"),
    [
        ({"label": "delay > 6"}, None, SPLIT),
        ({"views": {**TASK["views"], "prices": {**TASK["views"]["prices"], "ttl": "5h"}}}, None, SPLIT),
        ({}, {**FEATURES, "amount": {"kind": "number", "impute": "mean"}}, SPLIT),
        ({}, None, replace(SPLIT, zone="America/New_York")),
    ],
    ids=["label", "view", "features", "split"],
)
def test_anything_that_decides_the_rows_changes_the_digest(
    task: Mapping[str, Any], features: Mapping[str, Any] | None, split: TimeSplit, kept: tuple[Shop, Prepared]
) -> None:
    shop, prepared = kept
    assert prepared_digest(shop.plan(), shop.tables()) == prepared.digest
    assert prepared_digest(shop.plan(task, features, split), shop.tables()) != prepared.digest


def test_a_preparation_that_stopped_halfway_is_not_there_and_is_finished_by_the_next(shop: Shop) -> None:
    whole = shop.prepared()
    (Path(whole.uri) / "prepared.json").unlink()
    next((Path(whole.uri) / "tensors" / "train").iterdir()).unlink()
    with pytest.raises(StorageError, match="does not exist"):
        Prepared.open(whole.uri)
    again = shop.prepared()
    assert again.to_dict() == whole.to_dict()
    assert len(again.tensors("train")) == again.num_rows["train"]
