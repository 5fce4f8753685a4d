"""Training rows in memory: encoded with labels of other folds, to the bit as prepared data of a task are."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shops import FEATURES, SPLIT, Shop

from raypipe.core.errors import ConfigError, FeatureError, LabelError
from raypipe.features import FeatureSet
from raypipe.prepare import JOINED_AT, JOINED_LABEL, fit_transform_training
from raypipe.split import HashSplit, Split

BY_SHOP = {"by_shop": {"kind": "target", "column": "shop", "smoothing": 5.0}, "amount": {"kind": "number"}}


def rows(num: int = 2000, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "id": np.arange(num),
            "shop": rng.choice(["north", "south", "east"], num),
            "amount": rng.random(num),
            "late": rng.random(num) < 0.3,
        }
    )


def test_no_row_is_encoded_with_its_own_label() -> None:
    features = FeatureSet(features={"by_id": {"kind": "target", "column": "id", "smoothing": 0.0}})  # every value occurs once
    training = rows()
    made = fit_transform_training(features, training, label="late", key=("id",))
    y_N = training.column("late").to_numpy()
    assert np.array_equal(made.features.transform(training)["numbers_NF"][:, 0], y_N), "the labels themselves: the leak"
    encoded = made.tensors["numbers_NF"][:, 0]
    assert len(np.unique(encoded)) == 5, "the mean label of the other folds, of which there are five"
    assert np.abs(encoded - y_N.mean()).max() < 0.05


def test_a_changed_label_leaves_the_encodings_of_its_fold_alone() -> None:
    training = rows()
    late = training.column("late").to_pylist()
    other = training.set_column(3, "late", pa.array([not late[0], *late[1:]]))
    features = FeatureSet(features=BY_SHOP)
    one, two = (fit_transform_training(features, table, label="late", key=("id",)) for table in (training, other))
    assert one.tensors["numbers_NF"][0, 0] == two.tensors["numbers_NF"][0, 0]
    assert (one.tensors["numbers_NF"][:, 0] != two.tensors["numbers_NF"][:, 0]).mean() > 0.7
    assert one.features.digest != two.features.digest


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("split", [SPLIT, HashSplit(), HashSplit(by=("shop", "size"))], ids=["time", "key", "group"])
def test_it_gives_what_prepared_data_of_a_task_hold(split: Split, shop: Shop) -> None:
    features = {**FEATURES, "by_shop": BY_SHOP["by_shop"]}
    plan = shop.plan(features=features, split=split)
    prepared = shop.prepared(plan)
    training = pa.concat_tables([pq.read_table(uri) for uri in prepared.joined_uris("train")])
    training = training.rename_columns([{JOINED_AT: "at", JOINED_LABEL: "late"}.get(n, n) for n in training.column_names])
    made = fit_transform_training(plan.features, training, label="late", key=("id",), split=split, at="at")
    place = prepared.features.specs.numbers.index("by_shop")
    ours, theirs = made.tensors["numbers_NF"], prepared.tensors("train").inputs["numbers_NF"]
    np.testing.assert_array_equal(ours[:, place], theirs[:, place])
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6, err_msg="other chunks, so other last bits of means")


@pytest.mark.parametrize(
    ("features", "more", "error", "words"),
    [
        (BY_SHOP, {"label": "lat"}, ConfigError, "no column 'lat' in the rows; did you mean late"),
        (BY_SHOP, {"key": ("order",)}, ConfigError, "no column 'order' in the rows"),
        (BY_SHOP, {"label": "shop"}, FeatureError, "reads the label shop; take the feature out"),
        ({"amount": {"kind": "number"}}, {"label": "shop"}, LabelError, "shop.*it is string; give a column of numbers"),
        (BY_SHOP, {"split": SPLIT}, ConfigError, "at is missing"),
        ({"shop": {"kind": "category", "partitions": 4}}, {}, FeatureError, "leave partitions at 1"),
        ({"shp": {"kind": "category"}}, {}, FeatureError, "unknown column shp.*did you mean shop"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    features: dict[str, Any], more: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        fit_transform_training(FeatureSet(features=features), rows(), **{"label": "late", "key": ("id",), **more})
    assert "\n" not in str(caught.value)


def test_a_label_with_nulls_and_a_split_of_ones_own_are_refused() -> None:
    holes = rows(10).set_column(3, "late", pa.array([None, *[True] * 9]))
    with pytest.raises(LabelError, match="null in 1 of 10 rows; take these rows out"):
        fit_transform_training(FeatureSet(features=BY_SHOP), holes, label="late", key=("id",))

    class ByTime(HashSplit):
        by_time = True

    with pytest.raises(ConfigError, match="is by time and has no declared train window"):
        fit_transform_training(FeatureSet(features=BY_SHOP), rows(), label="late", key=("id",), split=ByTime())
