"""Every split through a whole preparation: rows counted by reason, folds of target encoding without leaks, the same again."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shops import FEATURES, SPLIT, Shop, orders, write_orders

from raypipe.core.config import build, to_settings
from raypipe.core.digest import digest_json
from raypipe.core.errors import ConfigError
from raypipe.joins import Joins
from raypipe.pipeline._judge import unseen_problem
from raypipe.prepare import JOINED_AT, JOINED_LABEL, Prepared
from raypipe.prepare._folds import Folding
from raypipe.split import SPLITS, HashSplit, KFold, PredefinedSplit, Split, StratifiedSplit, TimeSplit

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

BY_SHOP = {**FEATURES, "by_shop": {"kind": "target", "column": "shop", "smoothing": 5.0}}
BY_SIZE = PredefinedSplit(column="size", train=("small",), validation=("medium",), test=("large",), together=("shop",))


def waiting(**durations: str) -> TimeSplit:
    return build({"train": SPLIT.train, "validation": SPLIT.validation, "test": SPLIT.test, **durations}, TimeSplit)


def joined(prepared: Prepared, split: str) -> pa.Table:
    return pa.concat_tables([pq.read_table(uri) for uri in prepared.joined_uris(split)])


def test_a_stratified_split_shares_each_class_and_its_files_do_not_matter(shop: Shop) -> None:
    rows = orders()
    for i, row in enumerate(rows):
        row["size"] = "large" if i in (7, 300, 500) else "small" if i % 4 else "medium"
    write_orders(shop.folder, rows)
    plan = shop.plan({"kind": "multiclass", "label": "size", "name": "size", "leak_guard": False}, split=StratifiedSplit())
    prepared = shop.prepared(plan)
    found = {name: Counter(joined(prepared, name).column("size").to_pylist()) for name in SPLITS}
    for size, total in Counter(row["size"] for row in rows).items():
        for name, share in zip(SPLITS, (0.6, 0.2, 0.2), strict=True):
            assert abs(found[name][size] - share * total) < 1
    assert [found[name]["large"] for name in SPLITS] == [1, 1, 1]


def test_classes_of_a_view_are_found_by_joining_it_before(shop: Shop) -> None:
    split = StratifiedSplit(by=("shops_staff", "size"))
    one = shop.prepared(shop.plan(split=split))
    where = {name: {*joined(one, name).column("id").to_pylist()} for name in SPLITS}
    rows = pa.concat_tables([joined(one, name) for name in SPLITS])
    counts = Counter(zip(rows.column("shops_staff").to_pylist(), rows.column("size").to_pylist(), strict=True))
    test = joined(one, "test")
    tested = Counter(zip(test.column("shops_staff").to_pylist(), test.column("size").to_pylist(), strict=True))
    assert len(counts) == 12
    assert all(abs(tested[key] - 0.2 * total) < 1 for key, total in counts.items())
    again = Shop(shop.folder, type(shop.storage)(root=f"{shop.storage.root}-again"))
    other = again.prepared(again.plan(split=split), Joins(strategy="distributed", partition_bytes=4000))
    assert {name: {*joined(other, name).column("id").to_pylist()} for name in SPLITS} == where
    assert other.digest == one.digest


def test_over_all_folds_each_order_is_tested_once(shop: Shop) -> None:
    tested: Counter[int] = Counter()
    for fold in range(3):
        prepared = shop.prepared(shop.plan(split=KFold(folds=3, test=fold, stratify="label")))
        tested.update(joined(prepared, "test").column("id").to_pylist())
    assert {*tested.values()} == {1}
    assert tested.total() == prepared.rows.rows_out


def test_rows_of_a_time_split_are_set_aside_for_their_reason(shop: Shop) -> None:
    plain = shop.prepared()
    split = waiting(gap="1d", label_delay="5d")
    prepared = shop.prepared(shop.plan(split=split))
    aside = prepared.rows.set_aside
    reasons = {f"label not known at the end of the {name} window" for name in ("train", "validation")}
    reasons |= {f"in the gap before the {name} window" for name in ("validation", "test")}
    late = reasons & {*aside}
    assert "label not known at the end of the train window" in late
    assert prepared.rows.rows_in == plain.rows.rows_in == prepared.rows.rows_out + sum(aside.values())
    assert sum(aside[name] for name in late) == plain.rows.rows_out - prepared.rows.rows_out > 0
    assert joined(prepared, "test").equals(joined(plain, "test"))


def test_a_training_row_is_encoded_by_labels_that_were_known_at_its_time(shop: Shop) -> None:
    split = waiting(label_delay="9d")
    prepared = shop.prepared(shop.plan(features=BY_SHOP, split=split))
    rows = joined(prepared, "train")
    folding = Folding(split=split, key=("id",))
    place = prepared.features.specs.numbers.index("by_shop")
    encoded_N = prepared.tensors("train").inputs["numbers_NF"][:, place]
    y_N = rows.column(JOINED_LABEL).cast(pa.float64()).to_numpy()
    at_N = rows.column(JOINED_AT).cast(pa.int64()).to_numpy()
    shop_N = np.array(rows.column("shop").fill_null("?").to_pylist())
    block_N, as_N = folding.fold_ids(rows), folding.encoding_ids(rows)
    delay_us = split.label_delay.total_seconds() * 1e6
    assert len({*as_N.tolist()}) > 5
    for i in range(0, rows.num_rows, 7):
        seen_N = block_N < as_N[i]
        assert (at_N[seen_N] + delay_us < at_N[i]).all(), "a label that was not known yet"
        prior = y_N[seen_N].mean() if seen_N.any() else y_N.mean()
        its_N = seen_N & (shop_N == shop_N[i])
        if shop_N[i] != "?":
            assert encoded_N[i] == pytest.approx((y_N[its_N].sum() + 5 * prior) / (its_N.sum() + 5), rel=1e-6)


@pytest.mark.parametrize(
    "split",
    [StratifiedSplit(by=("shop",)), KFold(by=("shop", "size")), BY_SIZE],
    ids=["stratified", "folds of groups", "predefined"],
)
def test_no_training_row_is_encoded_with_labels_of_its_own_group(split: Split, shop: Shop) -> None:
    prepared = shop.prepared(shop.plan(features=BY_SHOP, split=split))
    rows = joined(prepared, "train")
    folding = Folding(split=split, key=("id",))
    fold_N = folding.fold_ids(rows)
    groups = {StratifiedSplit: ["id"], KFold: ["shop", "size"], PredefinedSplit: ["shop"]}[type(split)]
    together = {*zip(*(rows.column(name).to_pylist() for name in groups), fold_N.tolist(), strict=True)}
    assert len(together) == len({key[:-1] for key in together}), "a group in two folds"
    assert len({*fold_N.tolist()}) > 1
    place = prepared.features.specs.numbers.index("by_shop")
    encoded_N = prepared.tensors("train").inputs["numbers_NF"][:, place]
    y_N = rows.column(JOINED_LABEL).cast(pa.float64()).to_numpy()
    shop_N = np.array(rows.column("shop").fill_null("?").to_pylist())
    for fold in {*fold_N.tolist()}:
        seen_N = fold_N != fold
        its_N = seen_N & (shop_N == "north")
        expected = (y_N[its_N].sum() + 5 * y_N[seen_N].mean()) / (its_N.sum() + 5)
        np.testing.assert_allclose(encoded_N[(fold_N == fold) & (shop_N == "north")], expected, rtol=1e-6)


def test_values_that_name_no_split_are_refused_before_anything_is_complete(shop: Shop) -> None:
    split = PredefinedSplit(column="size", train=("small",), validation=("medium",), test=("larg",))
    with pytest.raises(ConfigError, match=r"split.column: size is 'large' in \d+ rows; expected one of small, medium, larg"):
        shop.prepared(shop.plan(split=split))
    aside = PredefinedSplit(column="size", train=("small",), validation=("medium",), test=("large",), unknown="set_aside")
    assert shop.prepared(shop.plan(split=aside)).rows.rows_out > 500


@pytest.mark.parametrize(
    ("split", "task", "words"),
    [
        (StratifiedSplit(), {"kind": "regression", "label": "delay"}, "needs classes.*regression; name columns under split.by"),
        (KFold(stratify="label"), {"kind": "regression", "label": "delay"}, "name columns under split.stratify"),
        (StratifiedSplit(by=("sise",)), {}, "split: no column 'sise'.*did you mean size"),
        (PredefinedSplit(column="amount"), {}, "split.column: amount is double; expected text"),
    ],
)
def test_splits_that_do_not_fit_the_task_are_refused_before_any_row_is_read(
    split: Split, task: dict[str, Any], words: str, shop: Shop
) -> None:
    with pytest.raises(ConfigError, match=words):
        shop.plan(task, split=split)


@pytest.mark.parametrize(
    ("split", "tables", "words"),
    [
        (StratifiedSplit(), {"orders": 3}, None),
        (StratifiedSplit(), {"orders": 2}, "rows change their split when tables do"),
        (HashSplit(), {"orders": 2}, None),
        (KFold(), {"orders": 3}, "another split"),
    ],
)
def test_a_champion_is_compared_only_on_rows_that_it_cannot_have_seen(
    split: Split, tables: dict[str, int], words: str | None
) -> None:
    """A stratified split cuts each class anew when the table grows: what is for test now may have been learned from."""
    trained = StratifiedSplit() if words and "another" in words else split
    meta = {"split": {"digest": digest_json(to_settings(trained))}, "tables": tables}
    run, target = SimpleNamespace(split=split, task=None), object()
    prepared = SimpleNamespace(columns=("a",), target=target, tables={"orders": 3})
    found: Any = unseen_problem(run, prepared, SimpleNamespace(input_columns=("a",), target=target, meta=meta))  # type: ignore[arg-type]
    assert found is None if words is None else words in found
