"""Kinds that give numbers: each value is that of the formula, by hand, NumPy or the standard library."""

import datetime as dt
import itertools
import math
import statistics
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from feature_parts import US, feature_set, fitted, values
from numpy.typing import NDArray

X = [0.5, None, 3.0, 10.0, float("nan"), -1.0, -3.0, 4.0, 4.0, 0.0, 25.0, None, 1e-3, 7.5]
X_N = np.array([math.nan if x is None else x for x in X])
TABLE = pa.table({"x": pa.array(X, pa.float64())})


def by_hand(x_N: NDArray[np.float64], spec: dict[str, Any]) -> NDArray[np.float64]:
    """x -> log1p -> clip -> fill -> (x - shift) / scale, stage after stage."""
    y_N = np.array([math.log1p(x) if x > -1 else math.nan for x in x_N]) if spec["log1p"] else x_N
    if spec["clip"]:
        low, high = np.nanquantile(y_N, spec["clip"])
        y_N = np.clip(y_N, low, high)
    present = y_N[~np.isnan(y_N)].tolist()
    constant = math.log1p(spec["fill"]) if spec["log1p"] and spec["fill"] is not None else spec["fill"]
    fill = {"mean": np.mean(present), "median": statistics.median(present), "constant": constant, "none": math.nan}
    y_N = np.where(np.isnan(y_N), fill[spec["impute"]], y_N)
    known = y_N[~np.isnan(y_N)].tolist()
    q1, _, q3 = statistics.quantiles(known, method="inclusive")
    shift, scale = {
        "standard": (statistics.fmean(known), statistics.pstdev(known)),
        "min_max": (min(known), max(known) - min(known)),
        "robust": (statistics.median(known), q3 - q1),
        "max_abs": (0, max(abs(y) for y in known)),
        "none": (0, 1),
    }[spec["scale"]]
    return (y_N - shift) / scale


@pytest.mark.parametrize("scale", ["standard", "min_max", "robust", "max_abs", "none"])
@pytest.mark.parametrize("impute", ["mean", "median", "constant", "none"])
def test_a_number_is_log1p_then_clipped_then_filled_then_scaled(impute: str, scale: str) -> None:
    for log1p, clip in itertools.product([False, True], [None, (0.1, 0.8), (0.3, 1)]):
        spec = {"impute": impute, "scale": scale, "log1p": log1p, "clip": clip, "fill": 2.5 if impute == "constant" else None}
        given = {name: value for name, value in spec.items() if value is not None}
        found = fitted(feature_set(x={"kind": "number", "indicator": True, **given}), TABLE, cuts=[3, 9])
        answer = values(found, TABLE)
        assert list(answer) == ["x", "x_missing"]
        np.testing.assert_allclose(answer["x"], by_hand(X_N, spec), rtol=1e-6, atol=1e-6)
        assert answer["x_missing"] == [float(math.isnan(x) or (log1p and x <= -1)) for x in X_N]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"clip": [0.25, 0.75], "scale": "none", "impute": "none"}, [2, 4, 2, 4, math.nan, 3]),
        ({"clip": [0.25, 0.75], "scale": "min_max", "impute": "none"}, [0, 1, 0, 1, math.nan, 0.5]),
        ({"scale": "min_max", "impute": "constant", "fill": 11}, [-1.1, 98.9, -math.inf, math.inf, 1, 0.2]),
        (
            {"log1p": True, "scale": "none", "impute": "constant", "fill": 0},
            [0, math.log(1001 - 10), 0, math.inf, 0, math.log(4)],
        ),
        ({"scale": "none", "impute": "median"}, [-10, 990, -math.inf, math.inf, 3, 3]),
    ],
)
def test_rows_that_training_did_not_hold_follow_the_same_formula(settings: dict[str, Any], expected: list[float]) -> None:
    found = fitted(feature_set(x={"kind": "number", **settings}), pa.table({"x": [1.0, 2, 3, 4, 5, None]}))
    answer = values(found, pa.table({"x": [-10.0, 990, -math.inf, math.inf, None, 3]}))["x"]
    np.testing.assert_allclose(answer, expected, rtol=1e-6)


def test_a_number_without_an_indicator_has_none_and_by_default_the_mean_and_standard_scale() -> None:
    answer = values(fitted(feature_set(x={"kind": "number"}), TABLE), TABLE)
    spec = {"impute": "mean", "scale": "standard", "log1p": False, "clip": None, "fill": None}
    assert list(answer) == ["x"]
    np.testing.assert_allclose(answer["x"], by_hand(X_N, spec), rtol=1e-6)


def test_booleans_and_whole_numbers_are_numbers_too() -> None:
    table = pa.table({"flag": [True, None, False, True], "i": [2**53 + 1, 0, None, -5]})
    found = fitted(feature_set(all={"kind": "number", "columns": ["flag", "i"], "impute": "none", "scale": "none"}), table)
    assert repr(values(found, table)) == repr({"flag": [1.0, math.nan, 0.0, 1.0], "i": [2.0**53, 0.0, math.nan, -5.0]})


def test_a_constant_column_is_centred_and_not_divided() -> None:
    table = pa.table({"x": [0.1] * 3, "y": [0.1, None, 0.1], "flag": [True, True, None]})
    for scale in ("standard", "min_max", "robust"):
        found = fitted(feature_set(all={"kind": "number", "columns": ["x", "y", "flag"], "scale": scale}), table, cuts=[1])
        assert [vars(output)["scale"] for output in found.outputs] == [1.0] * 3
        assert values(found, table) == {"x": [0.0] * 3, "y": [0.0] * 3, "flag": [0.0] * 3}


@pytest.mark.parametrize(
    ("missing", "expected"), [("false", [1.0, 0.0, 0.0]), ("true", [1.0, 1.0, 0.0]), ("none", [1.0, math.nan, 0.0])]
)
def test_a_boolean_is_one_or_zero_and_null_is_what_was_asked_for(missing: str, expected: list[float]) -> None:
    table = pa.table({"flag": [True, None, False]})
    found = fitted(feature_set(f={"kind": "boolean", "column": "flag", "missing": missing, "indicator": True}), table)
    assert repr(values(found, table)) == repr({"f": expected, "f_missing": [0.0, 1.0, 0.0]})


TIMES = [
    dt.datetime(2013, 3, 10, 7, 0, 0, 1, dt.UTC),
    None,
    dt.datetime(1900, 1, 1, tzinfo=dt.UTC),
    dt.datetime.max.replace(tzinfo=dt.UTC),
]
SINCE = [dt.date(2013, 3, 11), dt.date(2000, 1, 1), None, dt.date.min]


@pytest.mark.parametrize("unit", ["seconds", "minutes", "hours", "days"])
def test_elapsed_time_is_the_difference_of_datetimes_in_the_unit(unit: Any) -> None:
    table = pa.table({"t": pa.array(TIMES, US), "day": pa.array(SINCE, pa.date32())})
    raw = {"kind": "elapsed", "unit": unit, "impute": "none", "scale": "none"}
    found = fitted(feature_set(t=raw | {"since": "day"}, back=raw | {"column": "day", "since": "t", "indicator": True}), table)
    expected = [
        math.nan
        if t is None or day is None
        else (t - dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC)) / dt.timedelta(**{unit: 1})
        for t, day in zip(TIMES, SINCE, strict=True)
    ]
    answer = values(found, table)
    np.testing.assert_allclose(answer["t"], expected, rtol=1e-6)
    np.testing.assert_allclose(answer["back"], [-x for x in expected], rtol=1e-6)
    assert answer["back_missing"] == [0.0, 1.0, 1.0, 0.0]


def test_elapsed_time_beyond_int64_microseconds_is_that_of_exact_arithmetic() -> None:
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    table = pa.table({"t": pa.array([epoch] * 3, US), "i": [2_500_000_000, -2_500_000_000, 1]})
    raw = {"kind": "elapsed", "unit": "hours", "impute": "none", "scale": "none"}
    derive = {"later": "t + hours(i)", "earlier": "t - hours(i)"}
    found = fitted(feature_set(derive, later=raw | {"since": "earlier"}), table)
    assert values(found, table)["later"] == [5e9, -5e9, 2.0]


def test_elapsed_time_is_treated_as_a_number() -> None:
    start = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    table = pa.table({"a": pa.array([start] * 3, US), "b": pa.array([start + dt.timedelta(hours=h) for h in (1, 3, 8)], US)})
    found = fitted(feature_set(b={"kind": "elapsed", "since": "a"}), table)
    np.testing.assert_allclose(values(found, table)["b"], (np.array([1, 3, 8]) - 4) / np.std([1, 3, 8]), rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "edges"),
    [
        ({"by": "edges", "edges": [-0.5, 0, 2.5]}, [-0.5, 0.0, 2.5]),
        ({"by": "quantile", "num": 4}, np.nanquantile(X_N, [0.25, 0.5, 0.75])),
        ({"by": "quantile", "num": 50}, sorted(set(np.nanquantile(X_N, np.arange(1, 50) / 50)))),
        ({"by": "uniform", "num": 7}, np.linspace(-3, 25, 8)[1:-1]),
    ],
)
def test_a_bucket_is_one_more_than_the_number_of_edges_not_above_the_value(settings: dict[str, Any], edges: Any) -> None:
    found = fitted(feature_set(b={"kind": "bucket", "column": "x", **settings}), TABLE, cuts=[5])
    np.testing.assert_allclose(vars(found.outputs[0])["edges"], edges, rtol=1e-12, atol=1e-12)
    edges = np.array(vars(found.outputs[0])["edges"])
    cells = [*X, *edges, *np.nextafter(edges, -math.inf), -0.0, math.inf, -math.inf]
    expected = [0 if x is None or math.isnan(x) else int(np.digitize(x, edges)) + 1 for x in cells]
    assert values(found, pa.table({"x": pa.array(cells, pa.float64())}))["b"] == expected
    assert found.specs.cardinalities == (len(edges) + 2,)


def test_equal_quantiles_become_one_edge() -> None:
    table = pa.table({"x": [0.0] * 81 + [1.0] * 15 + [2.0] * 4})
    found = fitted(feature_set(x={"kind": "bucket", "num": 20}), table)
    assert vars(found.outputs[0])["edges"] == (1.0,)
    assert values(found, table)["x"] == [1] * 81 + [2] * 19


def test_a_vector_is_passed_through_as_float32() -> None:
    cells = [[0.1, -0.0, 1e300], None, [math.inf, 5e-324, None], [1.0, 2.0, 2.0**53 + 2]]
    table = pa.table({"v": pa.array(cells, pa.list_(pa.float64()))})
    found = fitted(feature_set(v={"kind": "vector", "size": 3}), table)
    with np.errstate(over="ignore"):
        expected = np.array([[math.nan if x is None else x for x in cell or [None] * 3] for cell in cells]).astype(np.float32)
    assert found.specs.numbers == ("v_0", "v_1", "v_2")
    assert repr(list(values(found, table).values())) == repr(expected.T.tolist())


DERIVE = {
    "prediction": "departure - hours(1)",
    "departure": "time_hour + minutes(minute)",
    "far": "distance > 500",
    "unused": "nowhere",
}


def test_derived_columns_use_others_in_any_order_and_resolve_to_raw_ones() -> None:
    features = feature_set(
        DERIVE,
        prediction={"kind": "calendar", "zone": "America/New_York", "parts": ["hour", "minute"]},
        far={"kind": "number", "scale": "none", "impute": "none"},
        gap={"kind": "elapsed", "column": "departure", "since": "prediction", "scale": "none", "unit": "minutes"},
    )
    assert features.input_columns == ("time_hour", "minute", "distance")
    assert features.raw_columns_of("gap") == ("time_hour", "minute")
    noon = dt.datetime(2013, 1, 1, 12, tzinfo=dt.UTC)
    table = pa.table({"distance": [100, 900], "minute": [30, 59], "time_hour": pa.array([noon] * 2, US)})
    found = fitted(features, table)
    assert values(found, table) == {
        "prediction_hour": [6.0, 6.0],
        "prediction_minute": [30.0, 59.0],
        "far": [0.0, 1.0],
        "gap": [60.0, 60.0],
    }
    assert [(line.name, line.tensor, line.type, line.kind, line.sources) for line in found.describe()] == [
        ("prediction_hour", "numbers_NF", "float32", "number", ("time_hour", "minute")),
        ("prediction_minute", "numbers_NF", "float32", "number", ("time_hour", "minute")),
        ("far", "numbers_NF", "float32", "number", ("distance",)),
        ("gap", "numbers_NF", "float32", "number", ("time_hour", "minute")),
    ]
