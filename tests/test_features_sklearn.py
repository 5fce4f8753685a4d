"""A fitted ColumnTransformer becomes FittedFeatures that compute what it computed, in both back ends."""

import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from feature_parts import assert_same, fitted, joined, values
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)
from sklearn_parts import NUMBERS, TEXTS, penguins, table_of

from raypipe.features import FittedFeatures
from raypipe.features._sklearn import from_sklearn


def strange(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, and some that training did not hold: unknown categories, missing values everywhere, large and small numbers."""
    last = rows.tail(3).copy()
    for name in rows.columns:
        if pd.api.types.is_numeric_dtype(rows[name]):
            last[name] = rows[name].dtype.type(0) + np.array([12345, 0, 7]).astype(rows[name].dtype)
        else:
            last[name] = ["unseen", rows[name].mode()[0], None]
    return pd.concat([rows, last], ignore_index=True)


def dense(value: Any) -> NDArray[np.float64]:
    return np.asarray(value.todense() if hasattr(value, "todense") else value, np.float64)


def imported(
    steps: list[tuple[str, Any, Any]], rows: pd.DataFrame, **settings: Any
) -> tuple[FittedFeatures, NDArray[np.float64]]:
    """The import, fitted on `rows`, and what scikit-learn computes of `strange` rows."""
    transformer = ColumnTransformer(steps, **settings).fit(rows)
    expected = dense(transformer.transform(strange(rows)))
    found = from_sklearn(transformer, table_of(rows).schema)
    kept = FittedFeatures.from_files(found.to_files())
    assert kept.digest == found.digest
    return kept, expected


def both_back_ends(found: FittedFeatures, table: pa.Table) -> dict[str, NDArray[Any]]:
    tensors = found.transform(table)
    records = table.to_pylist()
    assert_same(found, tensors, joined([found.row(record) for record in records]), records)
    return tensors


def assert_equal_numbers(found_NF: NDArray[np.float32], expected_NF: NDArray[np.float64]) -> None:
    """Within the rounding to float32."""
    np.testing.assert_allclose(found_NF, expected_NF, rtol=1.2e-7, atol=1e-12)


IMPUTERS = {
    "mean": SimpleImputer(),
    "median": SimpleImputer(strategy="median"),
    "constant": SimpleImputer(strategy="constant", fill_value=-1.5),
    "most frequent": SimpleImputer(strategy="most_frequent"),
    "mean and indicator": SimpleImputer(add_indicator=True),
}
SCALERS = {
    "standard": StandardScaler(),
    "centred": StandardScaler(with_std=False),
    "scaled": StandardScaler(with_mean=False),
    "min max": MinMaxScaler(),
    "min max -1 to 1": MinMaxScaler((-1, 1)),
    "robust": RobustScaler(),
    "robust, centred": RobustScaler(with_scaling=False),
    "robust, scaled, other quantiles": RobustScaler(with_centering=False, quantile_range=(10, 90)),
    "max abs": MaxAbsScaler(),
    "none": "passthrough",
    "two": make_pipeline(MinMaxScaler(), StandardScaler()),
}


@pytest.mark.parametrize("imputer", IMPUTERS)
@pytest.mark.parametrize("scaler", SCALERS)
def test_numbers_are_those_of_sklearn(imputer: str, scaler: str) -> None:
    steps = Pipeline([("impute", IMPUTERS[imputer]), ("scale", SCALERS[scaler])])
    found, expected = imported([("numbers", steps, NUMBERS)], penguins())
    assert_equal_numbers(both_back_ends(found, table_of(strange(penguins())))["numbers_NF"], expected)
    assert found.specs.numbers[:4] == tuple(NUMBERS)


@pytest.mark.parametrize("scaler", SCALERS)
def test_missing_numbers_stay_missing_without_an_imputer_and_may_be_filled_after_a_scaler(scaler: str) -> None:
    steps = [
        ("bare", SCALERS[scaler], NUMBERS[:2]),
        ("filled", Pipeline([("scale", SCALERS[scaler]), ("fill", SimpleImputer())]), NUMBERS[2:]),
    ]
    found, expected = imported(steps, penguins())
    numbers_NF = both_back_ends(found, table_of(strange(penguins())))["numbers_NF"]
    assert np.isnan(numbers_NF[:, :2]).any()
    assert not np.isnan(numbers_NF[:, 2:]).any()
    assert_equal_numbers(numbers_NF, expected)


@pytest.mark.parametrize(
    "steps",
    [
        [FunctionTransformer(np.log1p), SimpleImputer(), StandardScaler()],
        [SimpleImputer(), FunctionTransformer(np.log1p), StandardScaler()],
        [FunctionTransformer(np.log1p), SimpleImputer(strategy="constant", fill_value=2.0)],
        [FunctionTransformer(np.log1p)],
        [FunctionTransformer()],
    ],
)
def test_logarithms_are_those_of_sklearn(steps: list[Any]) -> None:
    found, expected = imported([("numbers", make_pipeline(*steps), NUMBERS)], penguins())
    assert_equal_numbers(both_back_ends(found, table_of(strange(penguins())))["numbers_NF"], expected)


@pytest.mark.filterwarnings("ignore:Found unknown categories:UserWarning")  # said with drop, and what is tested
@pytest.mark.parametrize(
    "steps",
    [
        [OneHotEncoder(handle_unknown="ignore")],
        [OneHotEncoder(handle_unknown="ignore", drop="first")],
        [OneHotEncoder(handle_unknown="ignore", drop="if_binary", sparse_output=False)],
        [SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")],
        [SimpleImputer(strategy="constant", fill_value='it\'s "unknown"'), OneHotEncoder(handle_unknown="ignore")],
    ],
)
def test_one_hot_columns_are_those_of_sklearn(steps: list[Any]) -> None:
    found, expected = imported([("texts", make_pipeline(*steps), TEXTS)], penguins())
    tensors = both_back_ends(found, table_of(strange(penguins())))
    np.testing.assert_array_equal(tensors["numbers_NF"], expected)


def test_a_value_filled_that_training_did_not_hold_is_unknown() -> None:
    rows = pd.DataFrame({"grade": [1.0, 2.0, 2.0], "size": ["s", "m", "s"]})
    table = pa.table({"grade": pa.array([1, None], pa.int64()), "size": pa.array(["m", None])})
    steps = [
        (
            "grade",
            make_pipeline(SimpleImputer(strategy="constant", fill_value=2.5), OneHotEncoder(handle_unknown="ignore")),
            ["grade"],
        ),
        (
            "size",
            make_pipeline(SimpleImputer(strategy="constant", fill_value="l"), OneHotEncoder(handle_unknown="ignore")),
            ["size"],
        ),
    ]
    found = from_sklearn(ColumnTransformer(steps).fit(rows), table.schema)
    assert both_back_ends(found, table)["numbers_NF"].tolist() == [[1, 0, 1, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize(
    "steps",
    [
        [OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1)],
        [
            SimpleImputer(strategy="constant", fill_value="none"),
            OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
        ],
    ],
)
def test_ordinal_i_is_index_i_plus_1(steps: list[Any]) -> None:
    found, expected = imported([("texts", make_pipeline(*steps), TEXTS)], penguins())
    tensors = both_back_ends(found, table_of(strange(penguins())))
    np.testing.assert_array_equal(tensors["categories_NC"], expected + 1)
    assert found.specs.categories == tuple(TEXTS)


def test_whole_numbers_and_booleans_are_categories_too() -> None:
    rows = pd.DataFrame({"year": [2007, 2008, 2009, 2008], "kept": [True, False, True, True]})
    found, expected = imported([("all", OneHotEncoder(handle_unknown="ignore"), ["year", "kept"])], rows.assign())
    table = table_of(rows)
    np.testing.assert_array_equal(both_back_ends(found, table)["numbers_NF"], expected[:4])
    assert both_back_ends(found, pa.table({"year": pa.array([1], pa.int64()), "kept": pa.array([None], pa.bool_())}))[
        "numbers_NF"
    ].tolist() == [[0.0] * 5]


def test_whole_numbers_filled_by_sklearn_as_decimal_ones_are_found_among_whole_ones() -> None:
    rows = pd.DataFrame({"grade": [1.0, 2.0, np.nan, 2.0]})
    steps = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
    transformer = ColumnTransformer([("grades", steps, ["grade"])]).fit(rows)
    table = pa.table({"grade": pa.array([1, 2, None, 2, 3], pa.int64())})
    found = from_sklearn(transformer, table.schema)
    expected = dense(transformer.transform(pd.DataFrame({"grade": [1.0, 2.0, np.nan, 2.0, 3.0]})))
    np.testing.assert_array_equal(both_back_ends(found, table)["numbers_NF"], expected)


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
@pytest.mark.parametrize("imputer", [SimpleImputer(), SimpleImputer(strategy="constant", fill_value=4000)])
def test_bin_i_is_index_i_plus_1(strategy: str, imputer: Any) -> None:
    bins = KBinsDiscretizer(5, encode="ordinal", strategy=strategy, quantile_method="averaged_inverted_cdf")
    found, expected = imported([("bins", make_pipeline(imputer, bins), NUMBERS)], penguins())
    np.testing.assert_array_equal(both_back_ends(found, table_of(strange(penguins())))["categories_NC"], expected + 1)


def test_bins_of_whole_numbers_and_without_an_imputer() -> None:
    bins = KBinsDiscretizer(3, encode="ordinal", strategy="uniform")
    rows = penguins()[["year"]]
    for step in (bins, make_pipeline(SimpleImputer(), bins)):
        found, expected = imported([("bins", step, ["year"])], rows)
        np.testing.assert_array_equal(both_back_ends(found, table_of(strange(rows)))["categories_NC"], expected + 1)


def test_a_whole_transformer_keeps_the_order_of_sklearn_and_leaves_out_what_is_dropped() -> None:
    steps = [
        ("texts", OneHotEncoder(handle_unknown="ignore"), ["island"]),
        ("numbers", make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), NUMBERS[:2]),
        ("unused", "drop", ["species"]),
        ("again", MinMaxScaler(), [NUMBERS[0]]),
        ("kept", "passthrough", slice(6, 7)),
        ("by place", "passthrough", [5]),
        ("by mask", RobustScaler(), np.array([False] * 4 + [True] + [False] * 3)),
    ]
    rows = penguins()[["species", "island", *NUMBERS, "year", "sex"]]
    found, expected = imported(steps, rows, remainder="drop")
    assert_equal_numbers(both_back_ends(found, table_of(strange(rows)))["numbers_NF"], expected)
    assert found.specs.numbers == (
        *(f"island_{name}" for name in ("Biscoe", "Dream", "Torgersen")),
        "numbers__bill_length_mm",
        "bill_depth_mm",
        "numbers__bill_length_mm_missing",
        "bill_depth_mm_missing",
        "again__bill_length_mm",
        "year",
        "body_mass_g",
        "flipper_length_mm",
    )
    assert set(found.input_columns) == {"island", *NUMBERS, "year"}


def test_the_spec_of_an_import_can_be_fitted_anew_to_the_same_numbers() -> None:
    steps = [
        ("texts", make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")), TEXTS),
        ("mean", make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), NUMBERS[:2]),
        ("log", make_pipeline(FunctionTransformer(np.log1p), SimpleImputer(strategy="median"), MinMaxScaler()), NUMBERS[2:3]),
        ("constant", make_pipeline(SimpleImputer(strategy="constant", fill_value=0.0), MaxAbsScaler()), NUMBERS[3:]),
    ]
    found, _ = imported(steps, penguins())
    table = table_of(penguins())
    anew, known = values(fitted(found.features, table), table), values(found, table)
    assert anew.keys() == known.keys()
    for name, expected in known.items():
        np.testing.assert_allclose(anew[name], expected, rtol=1e-5, atol=1e-6)


def test_the_remainder_is_imported_with_its_columns() -> None:
    rows = penguins()[[*NUMBERS, "year"]]
    found, expected = imported([("first", StandardScaler(), NUMBERS[:2])], rows, remainder=MinMaxScaler())
    assert_equal_numbers(both_back_ends(found, table_of(strange(rows)))["numbers_NF"], expected)


def test_thirty_columns_with_spaces_in_their_names_agree() -> None:
    rows = load_breast_cancer(as_frame=True).data
    names = list(rows.columns)
    steps = [
        ("standard", StandardScaler(), names[:15]),
        ("log", make_pipeline(FunctionTransformer(np.log1p), RobustScaler()), names[15:]),
    ]
    found, expected = imported(steps, rows)
    assert_equal_numbers(both_back_ends(found, table_of(strange(rows)))["numbers_NF"], expected)


def test_a_transformer_fitted_on_an_array_takes_the_columns_of_the_schema() -> None:
    rows = penguins()[NUMBERS]
    transformer = ColumnTransformer([("last", StandardScaler(), [3]), ("rest", MinMaxScaler(), slice(0, 2))]).fit(
        rows.to_numpy()
    )
    found = from_sklearn(transformer, table_of(rows).schema)
    assert found.specs.numbers == ("body_mass_g", "bill_length_mm", "bill_depth_mm")
    assert_equal_numbers(found.transform(table_of(rows))["numbers_NF"], transformer.transform(rows.to_numpy()))


def test_nan_counts_as_missing_as_null_does() -> None:
    rows = pd.DataFrame({"x": [1.0, np.nan, 3.0]})
    found, expected = imported([("x", make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), ["x"])], rows)
    for missing in (None, float("nan")):
        table = pa.table({"x": pa.array([1.0, missing, 3.0], pa.float64(), from_pandas=False)})
        assert_equal_numbers(both_back_ends(found, table)["numbers_NF"], expected[:3])


def test_the_import_does_not_load_sklearn() -> None:
    code = "import sys, raypipe.features._sklearn; print('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
