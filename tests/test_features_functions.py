"""Features of kind python: the user's own functions, their values, and what they must not do."""

import datetime as dt
import json
import math
import re
import statistics

import numpy as np
import own_features
import pyarrow as pa
import pytest
from feature_parts import OWN, US, feature_set, fitted, own_function, refused, values
from feature_rows import training_table

from raypipe.bundle import check_parity
from raypipe.contract import Contract
from raypipe.core.config import build
from raypipe.core.errors import BundleError, ConfigError, FeatureError
from raypipe.features import FittedFeatures

TABLE = training_table(3, 40)


def test_a_function_of_ones_own_is_treated_as_a_number() -> None:
    at = [dt.datetime(2024, 3, day, 23, 59, tzinfo=dt.UTC) for day in range(1, 8)]
    words = ["one two", None, "", "a b c", " x ", "y", "z z"]
    x, y = [1.0, None, 3.0, 4.0, 0.0, 6.0, 7.0], [2, 4, None, -8, 1, 3, -7]
    table = pa.table({"at": pa.array(at, US), "text": words, "x": x, "y": y})
    raw = {"kind": "python", "impute": "none", "scale": "none"}
    found = fitted(
        feature_set(
            weekend=raw | {"function": f"{OWN}:is_weekend", "columns": ["at"]},
            words={
                "kind": "python",
                "function": f"{OWN}:num_words",
                "columns": ["text"],
                "scale": "min_max",
                "indicator": True,
            },
            ratio=raw | {"function": f"{OWN}:ratio", "columns": ["x", "y"]},
        ),
        table,
    )
    answer = values(found, table)
    assert answer["weekend"] == [float(time.weekday() >= 5) for time in at]
    mean = statistics.fmean(len(text.split()) for text in words if text is not None)
    assert answer["words"] == pytest.approx([(mean if text is None else len(text.split())) / 3 for text in words])
    assert answer["words_missing"] == [float(text is None) for text in words]
    expected = [math.nan if a is None or b is None else a / abs(b) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(answer["ratio"], expected, rtol=1e-6)


def test_a_function_gets_read_only_arrays_of_the_documented_types_also_for_one_row() -> None:
    spec = own_function("are_as_documented", "i", "flag", "s", "t", "day", "names") | {"scale": "none"}
    found = fitted(feature_set(fine=spec), TABLE)
    assert all(TABLE[name].null_count for name in found.input_columns)
    assert set(values(found, TABLE)["fine"]) == {1.0}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("one_too_many", "gave shape [41] for 40 row(s); return one value for each row, in order"),
        ("one_for_all", "gave shape [] for 40 row(s); return one value for each row, in order"),
        ("text_of", "gave <U32; return numbers or booleans (a NumPy array of floats or integers)"),
        ("objects_of", "gave object; return numbers or booleans (a NumPy array of floats or integers)"),
        ("complex_of", "gave complex128; return numbers or booleans (a NumPy array of floats or integers)"),
    ],
)
def test_a_function_of_the_wrong_length_or_type_is_refused_when_it_is_fitted(name: str, said: str) -> None:
    assert refused(FeatureError, fitted, feature_set(f=own_function(name)), TABLE) == f"feature own_features:{name}: {said}"


@pytest.mark.parametrize(
    ("name", "said"),
    [("text_when_alone", "gave <U32; return numbers"), ("one_too_many_when_alone", "gave shape [2] for 1 row(s); return one")],
)
def test_a_function_of_the_wrong_length_or_type_for_one_row_is_refused_by_both_back_ends(name: str, said: str) -> None:
    found = fitted(feature_set(f=own_function(name)), TABLE)
    for way, given in ((found.row, {"x": 1.0}), (found.transform, TABLE.slice(0, 1)), (found.transform_rows, [{"x": 1.0}])):
        assert refused(FeatureError, way, given).startswith(f"feature own_features:{name}: {said}")


def test_a_function_that_differs_between_one_and_many_rows_is_refused_by_the_parity_gate() -> None:
    found = fitted(feature_set(f=own_function("centred")), TABLE)
    contract = build({"columns": {"x": {"type": "float64", "nullable": True}}}, Contract)
    said = refused(BundleError, check_parity, found, inputs=contract, rows=TABLE.select(["x"]).drop_null(), uri="mine")
    assert re.match(r"model bundle mine: .*feature f is .* on real row \d", said)


@pytest.mark.parametrize(("name", "error"), [("fails", ZeroDivisionError), ("in_place", ValueError)])
def test_a_mistake_within_a_function_is_shown_as_it_is(name: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"the user's own mistake|output array is read-only"):
        fitted(feature_set(f=own_function(name)), TABLE)


def test_stored_features_of_another_format_or_with_a_function_that_is_not_allowed_are_refused() -> None:
    files = fitted(feature_set(f=own_function("num_items", "names")), TABLE).to_files()
    plain = json.loads(files["features.json"])
    for number, said in (
        (3, "newer than this code reads (2); upgrade raypipe"),
        (1, "older than this code reads (2); train again"),
    ):
        other = files | {"features.json": json.dumps(plain | {"format": number}).encode()}
        message = refused(BundleError, FittedFeatures.from_files, other, allowed=[OWN])
        assert message == f"model bundle features: format {number} is {said}"
    with pytest.raises(ConfigError) as caught:
        FittedFeatures.from_files(files)
    said = "own_features:num_items is not allowed (allowed: none); add its package to core.allowed_targets"
    assert all(said in problem for problem in caught.value.problems)
    assert FittedFeatures.from_files(files, allowed=[OWN]).modules == (OWN,)


def test_a_function_is_called_once_for_a_value_and_its_indicator() -> None:
    found = fitted(feature_set(f=own_function("counted") | {"indicator": True}), TABLE)
    own_features.calls.clear()
    found.transform(TABLE)
    found.row({"x": 1.5})
    assert own_features.calls == [TABLE.num_rows, 1]


def test_a_function_is_not_asked_about_no_rows() -> None:
    found = fitted(feature_set(f=own_function("not_of_nothing")), TABLE)
    assert found.transform(TABLE.slice(0, 0))["numbers_NF"].shape == (0, 1)
    assert fitted(feature_set(f=own_function("not_of_nothing")), TABLE, cuts=[0, 5]).specs.numbers == ("f",)


def test_a_mask_is_not_dropped_silently() -> None:
    with pytest.raises(
        FeatureError, match="gave a masked array, whose mask would be lost; return NaN where a value is missing"
    ):
        fitted(feature_set(f=own_function("masked")), TABLE)
