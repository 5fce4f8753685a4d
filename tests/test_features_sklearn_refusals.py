"""What of a ColumnTransformer cannot be imported is refused in one line that names it."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)
from sklearn_parts import NUMBERS, penguins, table_of

from raypipe.core.errors import FeatureError
from raypipe.features._sklearn import from_sklearn


def refused(step: Any, columns: list[str] | None = None) -> str:
    rows = penguins()
    transformer = ColumnTransformer([("mine", step, columns or NUMBERS)]).fit(rows)
    with pytest.raises(FeatureError) as caught:
        from_sklearn(transformer, table_of(rows).schema)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class OwnScaler(StandardScaler):
    pass


@pytest.mark.parametrize(
    ("step", "columns", "expected"),
    [
        (make_pipeline(SimpleImputer(), PCA(2)), None, "mine.pca: PCA cannot be imported"),
        (OwnScaler(), None, "mine: OwnScaler cannot be imported"),
        (FunctionTransformer(np.sqrt), None, "function <ufunc 'sqrt'> cannot be imported"),
        (make_pipeline(MinMaxScaler(), FunctionTransformer(np.log1p)), ["year"], "log1p comes after a scaler"),
        (
            make_pipeline(SimpleImputer(strategy="constant", fill_value=-1), FunctionTransformer(np.log1p)),
            ["year"],
            "-1 or less",
        ),
        (MinMaxScaler(clip=True), None, "clip=True has no counterpart; fit it with clip=False"),
        (SimpleImputer(missing_values=-1), ["year"], "missing_values=-1 has no counterpart"),
        (OneHotEncoder(), ["island"], "handle_unknown='error' has no counterpart"),
        (OneHotEncoder(handle_unknown="ignore", min_frequency=5), ["island"], "min_frequency=5"),
        (OneHotEncoder(handle_unknown="ignore", max_categories=2), ["island"], "max_categories=2"),
        (OrdinalEncoder(), ["island"], "fit it with handle_unknown='use_encoded_value'"),
        (KBinsDiscretizer(3, strategy="uniform"), ["year"], "encode='onehot'"),
        (
            make_pipeline(StandardScaler(), KBinsDiscretizer(3, strategy="uniform", encode="ordinal")),
            ["year"],
            "the encoder follows a numeric step of year; encode the raw column",
        ),
        (OneHotEncoder(handle_unknown="ignore"), ["body_mass_g"], "kind category takes text, whole numbers or booleans"),
        (
            make_pipeline(StandardScaler(), OneHotEncoder(handle_unknown="ignore")),
            ["year"],
            "the encoder follows a numeric step",
        ),
        (
            make_pipeline(OneHotEncoder(handle_unknown="ignore", sparse_output=False), StandardScaler()),
            ["island"],
            "StandardScaler follows an encoder of island",
        ),
        (SimpleImputer(strategy="most_frequent"), ["sex"], "kind number takes numbers or booleans, and column sex is string"),
        ("passthrough", ["island"], "kind number takes numbers or booleans, and column island is string"),
    ],
)
def test_a_step_without_a_counterpart_is_named(step: Any, columns: list[str] | None, expected: str) -> None:
    assert expected in refused(step, columns)


def test_what_is_no_fitted_column_transformer_is_refused() -> None:
    schema = table_of(penguins()).schema
    with pytest.raises(FeatureError, match="StandardScaler: is not a ColumnTransformer"):
        from_sklearn(StandardScaler(), schema)  # type: ignore[arg-type]
    with pytest.raises(FeatureError, match="is not fitted"):
        from_sklearn(ColumnTransformer([("x", StandardScaler(), NUMBERS)]), schema)
    weighted = ColumnTransformer([("x", StandardScaler(), NUMBERS)], transformer_weights={"x": 2.0}).fit(penguins())
    with pytest.raises(FeatureError, match="transformer_weights"):
        from_sklearn(weighted, schema)


def test_a_column_that_the_table_does_not_have_is_named() -> None:
    transformer = ColumnTransformer([("x", StandardScaler(), ["body_mass_g"])]).fit(penguins())
    with pytest.raises(FeatureError, match=r"body_mass_g is unknown.*did you mean body_mass"):
        from_sklearn(transformer, pa.schema({"body_mass": pa.float64()}))


def test_a_column_without_a_name_for_expressions_cannot_be_marked_missing() -> None:
    rows = penguins()[["body_mass_g"]].rename(columns={"body_mass_g": "body mass"})
    transformer = ColumnTransformer([("x", SimpleImputer(add_indicator=True), ["body mass"])]).fit(rows)
    with pytest.raises(FeatureError, match="'body mass' is no name in an expression; rename"):
        from_sklearn(transformer, table_of(rows).schema)
