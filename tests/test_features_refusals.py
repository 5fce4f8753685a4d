"""Bad input to features: one clear line each, naming what is wrong and the way out, before any work where possible."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from feature_parts import feature_set, fitted, labels, own_function, refused, values
from feature_rows import SCHEMA, training_table

from raypipe.core.compose import compose
from raypipe.core.errors import ConfigError, FeatureError
from raypipe.features import fit_chunk, merge_states, solve

TABLE = training_table(3, 40)
NUMBER, CATEGORY = {"kind": "number"}, {"kind": "category"}
CLOCK = {"kind": "calendar", "zone": "UTC", "parts": ["hour"]}


@pytest.mark.parametrize(
    ("derive", "features", "said"),
    [
        (
            {},
            {"xx": NUMBER},
            "feature xx: unknown column xx; columns are x, y, i, j, flag, on, s, u, t, t2, day, span, names, ids, v",
        ),
        ({}, {"nam": NUMBER}, "feature nam: unknown column nam; did you mean names? columns are x, y"),
        ({}, {"many": NUMBER | {"columns": ["x", "zz"]}}, "feature many: unknown column zz; columns are"),
        ({"a": "flg and on"}, {"a": NUMBER}, "feature a: unknown column flg; did you mean flag? columns are"),
        (
            {},
            {"s": NUMBER},
            "feature s: kind number takes numbers or booleans, and column s is string; use another kind, or derive",
        ),
        ({}, {"t": NUMBER}, "feature t: kind number takes numbers or booleans, and column t is timestamp"),
        ({}, {"i": {"kind": "boolean"}}, "feature i: kind boolean takes booleans, and column i is int64"),
        ({}, {"x": CATEGORY}, "feature x: kind category takes text, whole numbers or booleans, and column x is float64"),
        (
            {},
            {"c": {"kind": "cross", "columns": ["s", "day"]}},
            "feature c: kind cross takes text, whole numbers or booleans, and column day",
        ),
        ({}, {"y": {"kind": "hash", "buckets": 3}}, "kind hash takes text, whole numbers or booleans, and column y is float64"),
        ({}, {"t": {"kind": "target"}}, "kind target takes text, whole numbers or booleans, and column t is timestamp"),
        ({}, {"s": CLOCK}, "kind calendar takes timestamps with a zone, or dates, and column s is string"),
        (
            {},
            {"t": {"kind": "elapsed", "since": "span"}},
            "kind elapsed takes timestamps with a zone, or dates, and column span is duration",
        ),
        ({}, {"s": {"kind": "bucket", "num": 3}}, "kind bucket takes numbers or booleans, and column s is string"),
        ({}, {"v": {"kind": "multi_hot"}}, "kind multi_hot takes lists of text or whole numbers, and column v is vector"),
        ({}, {"ids": {"kind": "vector", "size": 3}}, "kind vector takes lists of numbers, and column ids is list<int64>"),
        ({"a": "lower(s)"}, {"a": NUMBER}, "feature a: kind number takes numbers or booleans, and column a is string"),
        (
            {"a": "s + 1"},
            {"a": NUMBER},
            "feature a: cannot compute string + int64; it is derived as s + 1; correct the expression",
        ),
        (
            {"x": "y + 1"},
            {"x": NUMBER},
            "feature x: is derived, and also a column of the table; give the derived column another name",
        ),
        (
            {},
            {"f": own_function("nope")},
            "feature own_features:nope: own_features has no such function; name a function over NumPy columns",
        ),
        ({}, {"f": own_function("NOT_A_FUNCTION")}, "feature own_features:NOT_A_FUNCTION: own_features has no such function"),
    ],
)
def test_what_cannot_work_on_a_schema_is_refused_before_a_row_is_read(derive: Any, features: Any, said: str) -> None:
    given = feature_set(derive, **features)
    message = refused(FeatureError, given.check, SCHEMA)
    assert said in message
    any_state = fit_chunk(feature_set(x=NUMBER), TABLE)
    assert refused(FeatureError, solve, given, any_state, SCHEMA) == message


@pytest.mark.parametrize(
    "found",
    [pa.timestamp("us"), pa.decimal128(5, 2), pa.map_(pa.string(), pa.int64()), pa.struct({"a": pa.int64()}), pa.null()],
)
def test_a_column_of_a_type_that_no_feature_takes_is_named_with_its_type(found: pa.DataType) -> None:
    said = refused(FeatureError, feature_set(f=NUMBER).check, pa.schema({"f": found}))
    assert said == f"feature f: is {found}, which no feature takes; give timestamps a zone, or cast the column"


TWICE = "is defined twice; remove one, or give it another name with `column:`"


@pytest.mark.parametrize(
    ("derive", "features", "said"),
    [
        ({}, {"a": NUMBER, "both": NUMBER | {"columns": ["a", "b"]}}, f"feature a: {TWICE}"),
        ({}, {"a": NUMBER | {"columns": ["b", "b"]}}, f"feature b: {TWICE}"),
        ({}, {"a": {"kind": "boolean", "columns": ["b", "b"]}}, f"feature b: {TWICE}"),
        ({}, {"a": CATEGORY | {"columns": ["b", "b"]}}, f"feature b: {TWICE}"),
        ({}, {"t": CLOCK, "t_hour": NUMBER}, f"feature t_hour: {TWICE}"),
        ({}, {"t": CLOCK | {"parts": ["hour", "day", "hour"]}}, f"feature t_hour: {TWICE}"),
        ({}, {"x": NUMBER | {"indicator": True}, "x_missing": NUMBER}, f"feature x_missing: {TWICE}"),
        ({}, {"t": CLOCK | {"as": "cyclic"}, "t_hour_sin": NUMBER}, f"feature t_hour_sin: {TWICE}"),
        ({}, {"t_hour_cos": NUMBER, "t": CLOCK | {"as": "cyclic"}}, f"feature t_hour_cos: {TWICE}"),
        ({}, {"t": CLOCK | {"as": "category"}, "t_hour": NUMBER}, f"feature t_hour: {TWICE}"),
        ({}, {"v": {"kind": "vector", "size": 3}, "v_0": NUMBER}, f"feature v_0: {TWICE}"),
        (
            {},
            {"v_2": {"kind": "vector", "size": 3}, "v": {"kind": "vector", "size": 3}, "v_2_0": NUMBER},
            f"feature v_2_0: {TWICE}",
        ),
        ({"a": "b", "b": "c + a"}, {"a": NUMBER}, "feature a: derived columns need each other: a -> b -> a; break the cycle"),
        ({"a": "a + 1"}, {"a": NUMBER}, "feature a: derived columns need each other: a -> a; break the cycle"),
    ],
)
def test_what_cannot_work_on_any_table_is_refused_when_it_is_written(derive: Any, features: Any, said: str) -> None:
    assert refused(FeatureError, feature_set, derive, **features) == said


@pytest.mark.parametrize(
    ("derive", "features", "said"),
    [
        ({"a": "x +* 1"}, {"a": NUMBER}, "derive.a: syntax error: invalid syntax\n       ^"),
        ({"a": "1 + foo(x)"}, {"a": NUMBER}, "derive.a: unknown function foo; did you mean floor?\n        ^"),
        ({"fine": "x", "a": "x ** 2"}, {"a": NUMBER}, "derive.a: operator Pow is not in the grammar\n    ^"),
        ({}, {"a": NUMBER | {"imput": "mean"}}, "unknown setting features.a.imput; did you mean impute? (settings: log1p,"),
        ({}, {"a": {"kind": "numbr"}}, "features.a.kind: unknown kind 'numbr'; did you mean number? (kinds: number, boolean,"),
        ({}, {"a": NUMBER | {"column": "x", "columns": ["y"]}}, "features.a: give column or columns, not both"),
        ({}, {"a": NUMBER | {"impute": "constant"}}, "features.a: impute: constant needs fill"),
        (
            {},
            {"a": NUMBER | {"clip": [0.9, 0.1]}},
            "features.a: clip [0.9, 0.1] keeps nothing; the first share must be smaller",
        ),
        ({}, {"a": {"kind": "bucket", "by": "edges", "edges": [2, 1]}}, "features.a: edges must ascend"),
        (
            {},
            {"a": CLOCK | {"zone": "America/New_Yrk"}},
            "features.a.zone: unknown time zone 'America/New_Yrk'; did you mean America/New",
        ),
        ({}, {"a": CLOCK | {"zone": "America"}}, "features.a.zone: unknown time zone 'America'"),
        (
            {},
            {"a": CLOCK | {"parts": ["year"], "as": "cyclic"}},
            "features.a: part year has no fixed number of values; use it with",
        ),
        (
            {},
            {"a": own_function("x") | {"function": "os.path:join"}},
            "features.a.function: os.path:join is not allowed (allowed: own_",
        ),
        (
            {},
            {"a": own_function("x") | {"function": "own_featuress:ratio"}},
            "features.a.function: own_featuress:ratio is not allowed",
        ),
        ({}, {}, "features: Dictionary should have at least 1 item"),
    ],
)
def test_a_wrong_setting_is_named_by_its_place(derive: Any, features: Any, said: str) -> None:
    assert refused(ConfigError, feature_set, derive, **features).startswith(said)


def test_a_feature_written_twice_in_yaml_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\nfeatures:\n  a: {kind: number}\n  a: {kind: category}\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    said = refused(ConfigError, compose, "train", ["experiment=mine"], conf_dir=str(tmp_path))
    assert re.search(r"duplicate key a.*mine\.yaml.*line 4", said)


@pytest.mark.parametrize(
    ("cells", "spec", "said"),
    [
        (pa.nulls(2, pa.float64()), NUMBER, "column f is null in all training rows; remove the feature"),
        (pa.array([float("nan")]), NUMBER, "column f is null in all training rows; remove the feature"),
        (pa.array([-1.0, -2.0]), NUMBER | {"log1p": True}, "column f is null in all training rows; remove the feature"),
        (pa.nulls(2, pa.string()), CATEGORY, "column f is null in all training rows; remove the feature"),
        (pa.nulls(2, pa.string()), {"kind": "target"}, "column f is null in all training rows; remove the feature"),
        (pa.array([[], None], pa.list_(pa.string())), {"kind": "multi_hot"}, "column f is null in all training rows"),
        (pa.nulls(2, pa.date32()), CLOCK, "hour of f in UTC is null in all training rows; remove the feature"),
        (pa.array([], pa.float64()), NUMBER, "there are no training rows; check the split and the filters before it"),
        (
            pa.array([1.0, float("inf")]),
            NUMBER,
            "column f holds 1 infinite value(s) in training; declare the column in a contract",
        ),
        (pa.array([1e308, -1e308, 1e308]), NUMBER, "column f holds values too large to average; derive a smaller unit"),
        (pa.array([1, 2, 3, 1e200]), NUMBER, "column f holds values too large to average; derive a smaller unit"),
        (
            pa.array([1.0, 1.7e308, -1.7e308]),
            NUMBER | {"scale": "min_max"},
            "column f has values too large to scale; derive a s",
        ),
        (
            pa.array([1.0, None]),
            NUMBER | {"impute": "constant", "fill": 1e200},
            "column f with 1e+200 for missing has values too large to scale; derive a smaller unit, choose a smaller fill",
        ),
        (pa.array([1e200, float("inf")]), NUMBER | {"clip": [0, 0.5]}, "column f holds 1 infinite value(s) in training"),
        (pa.array(["a", "b"]), CATEGORY | {"min_count": 2}, "no value occurs 2 times in training; lower min_count"),
        (
            pa.array([3.0, 3.0]),
            {"kind": "bucket", "num": 3},
            "column f has the same value in (nearly) all training rows; remove",
        ),
        (
            pa.array([[1.0, 2.0], [3.0]]),
            {"kind": "vector", "size": 2},
            "a list has 1 numbers, not 2; pass lists of 2, or correct size",
        ),
        (
            pa.array(range(1001)),
            CATEGORY | {"encode": "one_hot"},
            "has 1,001 values, more than the 1000 that one_hot makes columns",
        ),
        (
            pa.array(range(1_000_001)),
            CATEGORY,
            "has more than 1,000,000 distinct values; leave the column out, derive a coarser",
        ),
    ],
)
def test_a_column_that_cannot_be_fitted_is_named(cells: pa.Array, spec: dict[str, Any], said: str) -> None:
    known = labels([0.0, 1.0], [0, 1])
    message = refused(FeatureError, fitted, feature_set(f=spec), pa.table({"f": cells}), [], known)
    assert re.match(r"feature [f*]\w*: ", message)
    assert said in message


@pytest.mark.parametrize(
    "settings",
    [
        {"clip": [0, 0.5]},
        {"clip": [0, 0.5], "scale": "robust", "impute": "median"},
        {"scale": "none", "impute": "none"},
        {"scale": "none", "impute": "constant", "fill": 2},
        {"scale": "none", "impute": "median"},
        {"scale": "none"},
        {"scale": "robust", "impute": "none"},
        {"scale": "min_max", "impute": "none"},
        {"scale": "max_abs"},
        {"kind": "bucket", "num": 2},
        {"kind": "bucket", "num": 2, "by": "uniform"},
    ],
)
def test_a_value_too_large_to_average_does_no_harm_where_nothing_is_averaged(settings: dict[str, Any]) -> None:
    table = pa.table({"x": [1.0, 2, None, 3, 1e200]})
    answer = np.array(values(fitted(feature_set(x=NUMBER | settings), table, [2]), table)["x"])
    assert np.isfinite(answer[[0, 1, 3]]).all()


def test_two_outputs_of_one_name_that_only_the_values_give_are_refused() -> None:
    features = feature_set(s=CATEGORY | {"encode": "one_hot"}, s_UA=NUMBER | {"column": "x"})
    said = "feature s_UA: is the name of two outputs; give one of the features another name"
    assert refused(FeatureError, fitted, features, TABLE) == said


def test_a_fit_without_chunks_or_labels_is_refused() -> None:
    said = "feature *: there are no training rows; check the split and the filters before it"
    assert refused(FeatureError, merge_states, []) == said
    features = feature_set(s={"kind": "target"})
    said = "feature *: target encoding needs the label and the folds of the training rows; pass labels"
    assert refused(FeatureError, fit_chunk, features, TABLE) == said


def test_states_of_another_spec_or_kind_are_refused() -> None:
    one, other, more = feature_set(x=NUMBER), feature_set(x=NUMBER | {"clip": [0, 0.5]}), feature_set(x=NUMBER, y=NUMBER)
    states = [fit_chunk(features, TABLE) for features in (one, other)]
    said = "feature x: the fitted state is of another feature set; fit again with this spec"
    assert refused(FeatureError, solve, other, states[0], SCHEMA) == said
    assert refused(FeatureError, solve, more, states[0], SCHEMA) == said.replace("x", "y", 1)
    said = "feature *: fitted states are of different feature sets; fit all chunks with one spec"
    assert refused(FeatureError, merge_states, states) == said
    chunks = [fit_chunk(feature_set(c=CATEGORY), pa.table({"c": cells})) for cells in (["1"], [1])]
    said = "feature c: is string in one chunk and int64 in another; check the table's schema"
    assert refused(FeatureError, merge_states, chunks) == said


def test_rows_of_another_type_than_was_fitted_are_refused_and_narrower_ones_taken() -> None:
    found = fitted(feature_set(x=NUMBER, i=CATEGORY), TABLE)
    assert found.transform(pa.table({"x": [1, 2], "i": pa.array([1, 2], pa.int8())}))["numbers_NF"].shape == (2, 1)
    said = "was fitted on float64, and column x now is string; pass rows of the kind that was fitted"
    assert refused(FeatureError, found.transform, pa.table({"x": ["1"], "i": [1]})) == f"feature x: {said}"
    said = "was fitted on int64, and column i now is double; pass rows of the kind that was fitted"
    assert refused(FeatureError, found.transform, pa.table({"x": [1.0], "i": [1.0]})) == f"feature i: {said}"
    said = "'3\\n' is not a value of kind int64; pass values of the kind that was fitted"
    assert refused(FeatureError, found.row, {"x": 1.0, "i": "3\n"}) == f"feature i: {said}"
    assert len(refused(FeatureError, found.row, {"x": "9" * 10_000})) < 200


def test_a_constant_column_is_no_mistake() -> None:
    table = pa.table({"x": [7.5] * 4, "s": ["a"] * 4})
    assert values(fitted(feature_set(x=NUMBER, s=CATEGORY), table), table) == {"x": [0.0] * 4, "s": [1] * 4}
    assert np.isfinite(fitted(feature_set(x=NUMBER | {"scale": "robust"}), table).row({"x": 1e9})["numbers_NF"]).all()
