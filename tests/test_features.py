"""Features: statistics against NumPy, one-pass fit in any chunking, and rows that give the same bits in any company."""

import itertools
import json
import pickle
import statistics
import zoneinfo
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.core.config import build
from raypipe.core.digest import digest_json
from raypipe.core.errors import BundleError, FeatureError
from raypipe.core.tensors import Tensors
from raypipe.features import FeatureSet, FitState, FittedFeatures, fit_chunk, merge_states, solve
from raypipe.features._state import MAX_EXACT_VALUES, NumberState, ValueCounts

US = pa.timestamp("us", "UTC")
NEW_YORK = "America/New_York"


def feature_set(derive: dict[str, str] | None = None, **features: Any) -> FeatureSet:
    return build({"derive": derive or {}, "features": features}, FeatureSet)


def fitted(features: FeatureSet, table: pa.Table, num_chunks: int = 1) -> FittedFeatures:
    size = max(1, -(-table.num_rows // num_chunks))
    states = [fit_chunk(features, table.slice(i, size)) for i in range(0, max(table.num_rows, 1), size)]
    return solve(features, merge_states(states), table.schema)


def same_bytes(a: Tensors, b: Tensors) -> bool:
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and a[k].tobytes() == b[k].tobytes() for k in a)


X = [3.0, None, 1.0, 10.0, None, 4.0]
COLUMN = np.array([np.nan if x is None else x for x in X])
MEAN, STD = 4.5, np.std([3.0, 4.5, 1.0, 10.0, 4.5, 4.0])


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"impute": "mean", "scale": "none"}, np.where(np.isnan(COLUMN), 4.5, COLUMN)),
        ({"impute": "median", "scale": "none"}, np.where(np.isnan(COLUMN), 3.5, COLUMN)),
        ({"impute": "constant", "fill": -1, "scale": "none"}, np.where(np.isnan(COLUMN), -1, COLUMN)),
        ({"impute": "none", "scale": "none"}, COLUMN),
        ({"impute": "none"}, (COLUMN - 4.5) / np.nanstd(COLUMN)),
        ({}, (np.where(np.isnan(COLUMN), 4.5, COLUMN) - MEAN) / STD),
    ],
)
def test_a_number_is_imputed_then_scaled(spec: dict[str, Any], expected: np.ndarray) -> None:
    table = pa.table({"x": X})
    tensors = fitted(feature_set(x={"kind": "number", **spec}), table).transform(table)
    np.testing.assert_allclose(tensors["numbers_NF"][:, 0], expected, rtol=1e-6)
    assert tensors["numbers_NF"].dtype == np.float32
    assert tensors["categories_NC"].shape == (6, 0)


@pytest.mark.parametrize("impute", ["mean", "median", "constant"])
def test_scaling_after_imputing_matches_two_passes(impute: str) -> None:
    rng = np.random.default_rng(7)
    x = np.where(rng.random(1001) < 0.3, np.nan, rng.lognormal(3, 2, 1001))
    spec = {"kind": "number", "impute": impute} | ({"fill": 7} if impute == "constant" else {})
    table = pa.table({"x": pa.array(x, from_pandas=True)})
    (output,) = fitted(feature_set(x=spec), table, num_chunks=7).numbers
    fill = {"mean": np.nanmean(x), "median": np.nanmedian(x), "constant": 7}[impute]
    filled = np.where(np.isnan(x), fill, x)
    assert output.mean == pytest.approx(filled.mean(), rel=1e-12)
    assert output.scale == pytest.approx(filled.std(), rel=1e-12)
    assert table["x"].null_count == np.isnan(x).sum() > 0


def test_a_constant_column_is_centred_and_not_divided() -> None:
    table = pa.table({"x": [0.1] * 3, "y": [0.1, None, 0.1], "flag": [True, True, None]})
    features = feature_set(all={"kind": "number", "columns": ["x", "y", "flag"]})
    assert [output.scale for output in fitted(features, table, 2).numbers] == [1.0, 1.0, 1.0]
    assert fitted(features, table).transform(table)["numbers_NF"].tolist() == [[0.0] * 3] * 3


def test_a_category_is_its_rank_by_frequency_then_value_and_the_rest_is_zero() -> None:
    table = pa.table(
        {"c": ["b", "a", "c", "c", None, "d", "a"], "n": [5, 5, 7, 9, 9, None, 9], "f": [True, False, True, None] + [True] * 3}
    )
    features = feature_set(
        c={"kind": "category", "min_count": 1, "max_size": 3}, n={"kind": "category", "min_count": 2}, f={"kind": "category"}
    )
    result = fitted(features, table, num_chunks=3)
    assert [output.vocabulary for output in result.categories] == [("a", "c", "b"), (9, 5), (True, False)]
    assert [type(value) for value in result.categories[2].vocabulary] == [bool, bool]
    assert result.specs.cardinalities == (4, 3, 3)
    index_NC = result.transform(table)["categories_NC"]
    assert index_NC.dtype == np.int32
    assert index_NC[:, 0].tolist() == [3, 1, 2, 2, 0, 0, 1]
    assert index_NC[:, 1].tolist() == [2, 2, 0, 1, 1, 0, 1]
    assert index_NC[:, 2].tolist() == [1, 2, 1, 0, 1, 1, 1]


def test_calendar_parts_are_those_of_the_zone_also_when_clocks_change() -> None:
    starts = [
        datetime(2013, 3, 10, 4, tzinfo=UTC),
        datetime(2013, 11, 3, 3, tzinfo=UTC),
        datetime(2012, 12, 31, 22, tzinfo=UTC),
    ]
    times = [start + timedelta(minutes=30 * i) for start in starts for i in range(14)] + [datetime(1900, 1, 1, tzinfo=UTC)]
    table = pa.table({"t": pa.array([*times, None], US)})
    parts = ["hour", "weekday", "month", "day", "dayofyear"]
    spec = {"kind": "calendar", "zone": NEW_YORK, "parts": parts}
    result = fitted(feature_set(t=spec, c=spec | {"column": "t", "as": "category"}), table)
    assert result.specs.numbers == tuple(f"t_{part}" for part in parts)
    assert result.specs.categories == tuple(f"c_{part}" for part in parts)
    assert result.specs.cardinalities == (25, 8, 13, 32, 367)
    tensors = result.transform(table)
    local = [time.astimezone(zoneinfo.ZoneInfo(NEW_YORK)) for time in times]
    expected = [[t.hour, t.weekday(), t.month, t.day, t.timetuple().tm_yday] for t in local]
    assert tensors["numbers_NF"][:-1].tolist() == expected
    assert np.isnan(tensors["numbers_NF"][-1]).all()
    assert (tensors["categories_NC"][:-1] - [1, 1, 0, 0, 0]).tolist() == expected
    assert tensors["categories_NC"][-1].tolist() == [0] * 5


def test_a_scaled_calendar_part_has_mean_zero_and_deviation_one() -> None:
    table = pa.table({"t": pa.array([datetime(2013, 1, 1, hour, tzinfo=UTC) for hour in range(24)], US)})
    features = feature_set(t={"kind": "calendar", "zone": "UTC", "parts": ["hour"], "scale": "standard"})
    hour_N = fitted(features, table).transform(table)["numbers_NF"][:, 0]
    assert hour_N.mean() == pytest.approx(0, abs=1e-6)
    assert hour_N.std() == pytest.approx(1, rel=1e-6)


DERIVED = feature_set(
    {
        "prediction": "departure - hours(1)",
        "departure": "time_hour + minutes(minute)",
        "far": "distance > 500",
        "unused": "nowhere",
    },
    prediction={"kind": "calendar", "zone": NEW_YORK, "parts": ["hour"]},
    far={"kind": "number", "scale": "none", "impute": "none"},
)


def test_derived_columns_use_others_and_resolve_to_raw_ones() -> None:
    assert DERIVED.input_columns == ("time_hour", "minute", "distance")
    table = pa.table(
        {"distance": [100, 900], "minute": [30, 59], "time_hour": pa.array([datetime(2013, 1, 1, 12, tzinfo=UTC)] * 2, US)}
    )
    result = fitted(DERIVED, table)
    assert result.transform(table)["numbers_NF"].tolist() == [[6.0, 0.0], [6.0, 1.0]]
    assert [(d.name, d.tensor, d.kind, d.sources) for d in result.describe()] == [
        ("prediction_hour", "numbers_NF", "calendar", ("time_hour", "minute")),
        ("far", "numbers_NF", "number", ("distance",)),
    ]
    with pytest.raises(FeatureError, match="feature minute: is not a column of the rows"):
        result.transform(table.drop_columns(["minute"]))


RAW = pa.schema([("x", pa.float64()), ("s", pa.string()), ("t", US), ("naive", pa.timestamp("us")), ("d", pa.date32())])
NUMBER, CATEGORY = {"kind": "number"}, {"kind": "category"}


@pytest.mark.parametrize(
    ("derive", "features", "problem"),
    [
        ({}, {"s": NUMBER}, "feature s: kind number takes numbers or booleans, and column s is string"),
        ({}, {"t": NUMBER}, "column t is timestamp"),
        ({}, {"x": CATEGORY}, "feature x: kind category takes text, whole numbers or booleans, and column x is double"),
        ({}, {"d": CATEGORY}, "column d is date32"),
        ({}, {"f": {"kind": "calendar", "column": "s", "zone": "UTC", "parts": ["hour"]}}, "kind calendar takes timestamps"),
        ({}, {"naive": {"kind": "calendar", "zone": "UTC", "parts": ["hour"]}}, "takes timestamps with a zone"),
        ({}, {"naiv": NUMBER}, "feature naiv: unknown column naiv; did you mean naive"),
        ({}, {"many": NUMBER | {"columns": ["x", "zzz"]}}, "feature many: unknown column zzz"),
        ({"y": "q + 1"}, {"y": NUMBER}, "feature y: unknown column q"),
        ({"y": "s + 1"}, {"y": NUMBER}, "feature y: cannot compute string . int64; it is derived as s . 1"),
        ({"y": "lower(s)"}, {"y": NUMBER}, "column y is string"),
        ({"x": "1"}, {"x": NUMBER}, "feature x: is derived, and also a column"),
    ],
)
def test_what_cannot_work_on_a_schema_is_refused_before_a_row_is_read(
    derive: dict[str, str], features: dict[str, Any], problem: str
) -> None:
    with pytest.raises(FeatureError, match=problem):
        feature_set(derive, **features).check(RAW)


@pytest.mark.parametrize(
    ("derive", "features", "problem"),
    [
        ({}, {"a": NUMBER, "both": NUMBER | {"columns": ["a", "b"]}}, "feature a: is defined twice"),
        ({}, {"a": NUMBER | {"columns": ["b", "b"]}}, "feature b: is defined twice"),
        (
            {},
            {"t": {"kind": "calendar", "zone": "UTC", "parts": ["hour"]}, "t_hour": NUMBER},
            "feature t_hour: is defined twice",
        ),
        ({"a": "b", "b": "c + a"}, {"a": NUMBER}, "derived columns need each other: (a -> b -> a|b -> a -> b)"),
        ({"a": "a + 1"}, {"a": NUMBER}, "derived columns need each other: a -> a"),
    ],
)
def test_what_cannot_work_on_any_table_is_refused_when_built(
    derive: dict[str, str], features: dict[str, Any], problem: str
) -> None:
    with pytest.raises(FeatureError, match=problem):
        feature_set(derive, **features)


@pytest.mark.parametrize(
    ("cells", "spec", "problem"),
    [
        (pa.array([None, None], pa.float64()), NUMBER, "column f is null in all training rows"),
        (pa.array([None, None], pa.string()), CATEGORY, "column f is null in all training rows"),
        (pa.array([float("nan")]), NUMBER, "column f is null in all training rows"),
        (pa.array([None], US), {"kind": "calendar", "zone": "UTC", "parts": ["hour"]}, "is null in all training rows"),
        (pa.array([], pa.float64()), NUMBER, "there are no training rows"),
        (pa.array([1.0, float("inf")]), NUMBER, "holds 1 infinite value"),
        (pa.array([1e308, -1e308, 1e308]), NUMBER, "values too large to average"),
        (pa.array(["a", "b"]), CATEGORY | {"min_count": 2}, "no value occurs 2 times"),
    ],
)
def test_a_column_that_cannot_be_fitted_is_named(cells: pa.Array, spec: dict[str, Any], problem: str) -> None:
    with pytest.raises(FeatureError, match=problem):
        fitted(feature_set(f=spec), pa.table({"f": cells}))


def test_rows_of_another_type_than_was_fitted_are_refused() -> None:
    table = pa.table({"x": [1.0, 2.0], "n": [1, 2]})
    result = fitted(feature_set(x=NUMBER, n=CATEGORY), table)
    assert result.transform(pa.table({"x": [1, 2], "n": pa.array([1, 2], pa.int32())}))["numbers_NF"].shape == (2, 1)
    with pytest.raises(FeatureError, match="kind number takes numbers or booleans, and column x is string"):
        result.transform(pa.table({"x": ["1"], "n": [1]}))
    with pytest.raises(FeatureError, match="feature n: was fitted on int64 values, and column n now is string"):
        result.transform(pa.table({"x": [1.0], "n": ["1"]}))


def test_states_of_another_spec_are_refused() -> None:
    table = pa.table({"x": [1.0, 2.0]})
    one, other = feature_set(x=NUMBER), feature_set(x=NUMBER | {"impute": "none"})
    with pytest.raises(FeatureError, match="of another feature set"):
        solve(other, fit_chunk(one, table), table.schema)
    with pytest.raises(FeatureError, match="different feature sets"):
        merge_states([fit_chunk(one, table), fit_chunk(other, table)])
    with pytest.raises(FeatureError, match="no training rows"):
        merge_states([])


# ---- laws

MANY = feature_set(
    {"twice": "x * 2 - i", "later": "t + minutes(i)"},
    numbers={"kind": "number", "columns": ["x", "i", "flag"]},
    twice={"kind": "number", "impute": "median"},
    raw={"kind": "number", "column": "x", "impute": "none", "scale": "none"},
    s={"kind": "category"},
    i_index={"kind": "category", "column": "i", "max_size": 2},
    flag_index={"kind": "category", "column": "flag"},
    later={"kind": "calendar", "zone": NEW_YORK, "parts": ["hour", "day"]},
    t={"kind": "calendar", "zone": NEW_YORK, "parts": ["weekday"], "as": "category"},
)
KINDS = {"x": pa.float64(), "i": pa.int64(), "flag": pa.bool_(), "s": pa.string(), "t": US}
SEED_ROWS: list[dict[str, Any]] = [
    {"x": 1.5, "i": 3, "flag": True, "s": "UA", "t": datetime(2013, 3, 10, 6, 59, tzinfo=UTC)},
    {"x": -7.25, "i": 4, "flag": False, "s": "AA", "t": datetime(2013, 11, 3, 5, 30, tzinfo=UTC)},
    {"x": None, "i": None, "flag": None, "s": None, "t": None},
    {"x": 0.1, "i": 3, "flag": True, "s": "UA", "t": datetime(1900, 1, 1, tzinfo=UTC)},
]
FITTED = fitted(MANY, pa.Table.from_pylist(SEED_ROWS, schema=pa.schema(KINDS)), num_chunks=2)
ROW = st.fixed_dictionaries(
    {
        "x": st.none() | st.floats() | st.sampled_from([-0.0, 5e-324, 1e308, 1.5]),
        "i": st.none() | st.integers(-(2**63), 2**63 - 1) | st.sampled_from([3, 4, 2**53 + 1]),
        "flag": st.none() | st.booleans(),
        "s": st.none() | st.sampled_from(["UA", "AA", "", "\uff35\uff21", "x" * 10_000]) | st.text(max_size=3),
        "t": st.none() | st.datetimes(datetime(1000, 1, 1), datetime(2999, 12, 31), timezones=st.just(UTC)),
    }
)


def as_table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=pa.schema(KINDS))


@given(st.lists(ROW, min_size=1, max_size=6), st.integers(1, 30))
def test_a_row_gives_the_same_bits_alone_and_in_company(rows: list[dict[str, Any]], repeats: int) -> None:
    table = as_table(rows * repeats)  # more than `_FEW` rows take another way to the same indices
    together = FITTED.transform(table)
    for i in range(len(rows)):
        alone = FITTED.transform(as_table([rows[i]]))
        assert same_bytes(alone, {name: tensor[i : i + 1] for name, tensor in together.items()})


@given(st.lists(ROW, min_size=2, max_size=6), st.permutations([*KINDS, "extra"]), st.booleans())
def test_chunks_order_of_columns_encoding_and_other_columns_change_no_bit(
    rows: list[dict[str, Any]], order: list[str], encode: Any
) -> None:
    table = as_table(rows)
    expected = FITTED.transform(table)
    other = table.append_column("extra", pa.array(["?"] * len(rows))).select(order)
    if encode:
        other = other.set_column(other.column_names.index("s"), "s", other["s"].dictionary_encode())
    for variant in (other, pa.concat_tables([other.slice(i, 1) for i in range(len(rows))])):
        tensors = FITTED.transform(variant)
        assert same_bytes(tensors, expected)
        assert all(tensor.flags.c_contiguous and tensor.flags.writeable for tensor in tensors.values())


VALUES = st.lists(st.none() | st.floats(-1e6, 1e6).map(lambda x: round(x, 3)), min_size=1, max_size=40)


@given(VALUES, st.data())
def test_a_fit_in_chunks_is_a_fit_of_the_whole(values: list[float | None], data: st.DataObject) -> None:
    present = [v for v in values if v is not None] or [1.0]
    values = values if any(v is not None for v in values) else [1.0]
    table = pa.table({"x": pa.array(values, pa.float64())})
    features = feature_set(
        mean={"kind": "number", "column": "x"}, median={"kind": "number", "column": "x", "impute": "median", "scale": "none"}
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=4)))
    bounds = [0, *cuts, len(values)]
    states = [fit_chunk(features, table.slice(a, b - a)) for a, b in itertools.pairwise(bounds)]
    states = [FitState.from_bytes(state.to_bytes()) for state in states]
    merged = merge_states(states)
    mean, median = solve(features, merged, table.schema).numbers
    assert mean.fill == pytest.approx(np.mean(present), rel=1e-9, abs=1e-6)
    assert merged.numbers["mean"].m2 == pytest.approx(np.var(present) * len(present), rel=1e-6, abs=1e-4)
    assert median.fill == pytest.approx(statistics.median(present), rel=1e-15)
    assert (mean.count, mean.nulls) == (sum(v is not None for v in values), sum(v is None for v in values))
    again = merge_states([fit_chunk(features, table.slice(a, b - a)) for a, b in itertools.pairwise(bounds)])
    assert again.to_bytes() == merged.to_bytes()


def test_a_median_beyond_the_exact_bound_has_the_stated_error_and_no_order() -> None:
    rng = np.random.default_rng(3)
    x_N = rng.lognormal(0, 3, MAX_EXACT_VALUES + 50_001) * rng.choice([-1.0, 1.0], MAX_EXACT_VALUES + 50_001, p=[0.2, 0.8])
    parts = [ValueCounts.of(part) for part in np.array_split(x_N, 5)]
    results = []
    for order in ((0, 1, 2, 3, 4), (4, 2, 0, 1, 3)):
        merged = parts[order[0]]
        for i in order[1:]:
            merged = merged.merged(parts[i])
        results.append(merged.median())
        assert merged.binned
        assert merged.counts_D.sum() == len(x_N)
    assert results[0] == results[1] == ValueCounts.of(x_N).median()
    assert results[0] == pytest.approx(np.median(x_N), rel=2**-11)


def test_moments_of_large_offsets_keep_their_precision() -> None:
    x_N = 1e9 + np.arange(1000, dtype=np.float64) / 7
    merged = NumberState.of(x_N[:1], with_values=False)
    for part in np.array_split(x_N[1:], 13):
        merged = merged.merged(NumberState.of(part, with_values=False))
    assert merged.m2 / merged.count == pytest.approx(np.var(np.arange(1000) / 7), rel=1e-7)


@given(st.lists(st.floats(-1e150, 1e150), min_size=1, max_size=5), st.text(max_size=3))
@settings(max_examples=30)
def test_fitted_features_round_trip_through_json_with_every_bit(values: list[float], text: str) -> None:
    table = pa.table({"x": values, "s": [text] * len(values), "n": list(range(len(values)))})
    result = fitted(feature_set(x=NUMBER, s=CATEGORY, n=CATEGORY), table)
    again = FittedFeatures.from_dict(json.loads(json.dumps(result.to_dict())))
    assert (again, again.digest, again.specs) == (result, result.digest, result.specs)
    assert result.digest == digest_json(result.to_dict())
    assert same_bytes(again.transform(table), result.transform(table))


def test_a_fitted_value_is_frozen_pickles_and_refuses_a_newer_format() -> None:
    table = as_table(SEED_ROWS)
    again = pickle.loads(pickle.dumps(FITTED))
    assert same_bytes(again.transform(table), FITTED.transform(table))
    with pytest.raises(BundleError, match="format 2 is newer than this code reads"):
        FittedFeatures.from_dict(FITTED.to_dict() | {"format": 2})
    with pytest.raises(AttributeError):
        FITTED.rows = 3  # type: ignore[misc]
    assert FITTED.to_dict()["format"] == 1
    assert json.dumps(FITTED.to_dict())


def test_no_rows_give_empty_tensors() -> None:
    tensors = FITTED.transform(as_table([]))
    assert tensors["numbers_NF"].shape == (0, len(FITTED.specs.numbers))
    assert tensors["categories_NC"].shape == (0, len(FITTED.specs.categories))


def test_every_output_is_described() -> None:
    lines = FITTED.describe()
    assert [line.name for line in lines if line.tensor == "numbers_NF"] == list(FITTED.specs.numbers)
    assert [line.name for line in lines if line.tensor == "categories_NC"] == list(FITTED.specs.categories)
    assert all(line.statistics and line.sources for line in lines)
