"""One pass over chunks: states that merge, survive storage and know no order of completion; files and tensors as promised."""

import itertools
import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import ray.data
import torch
from feature_parts import OWN, assert_same, bytes_digest, feature_set, fitted, joined, labels, part, states
from feature_rows import SCHEMA, training_table
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.core.errors import FeatureError
from raypipe.features import FeatureSet, FitState, FittedFeatures, fit_chunk, merge_states, solve

NUM_ROWS = 120
TABLE = training_table(11, NUM_ROWS)
RNG = np.random.default_rng(12)
LABELS = labels((RNG.random(NUM_ROWS) < 0.4).astype(float).tolist(), RNG.integers(0, 3, NUM_ROWS).tolist())
DERIVE = {"total": "x + y", "later": "t + minutes(i)", "half": "total / 2"}
ORDER_FREE: dict[str, Any] = {
    "median": {"kind": "number", "column": "x", "impute": "median", "scale": "robust", "clip": [0.1, 0.9]},
    "range": {"kind": "number", "column": "half", "impute": "constant", "fill": 3, "scale": "min_max", "log1p": True},
    "flag": {"kind": "boolean", "indicator": True},
    "bucket": {"kind": "bucket", "column": "y", "num": 5},
    "uniform": {"kind": "bucket", "column": "i", "num": 3, "by": "uniform"},
    "s": {"kind": "category", "max_size": 4},
    "j": {"kind": "category", "encode": "one_hot", "min_count": 2},
    "u": {"kind": "category", "encode": "frequency"},
    "cross": {"kind": "cross", "columns": ["s", "flag"]},
    "hash": {"kind": "hash", "column": "u", "buckets": 9},
    "target": {"kind": "target", "column": "u"},
    "names": {"kind": "multi_hot"},
    "v": {"kind": "vector", "size": 3},
    "later": {"kind": "calendar", "zone": "Europe/Paris", "parts": ["hour", "week"], "as": "category"},
}
AVERAGED: dict[str, Any] = {
    "mean": {"kind": "number", "columns": ["x", "y", "i"]},
    "elapsed": {"kind": "elapsed", "column": "t", "since": "day", "clip": [0, 0.9]},
    "hour": {"kind": "calendar", "column": "t2", "zone": "UTC", "parts": ["hour"], "scale": "standard"},
    "own": {"kind": "python", "function": f"{OWN}:num_items", "columns": ["ids"]},
}
FEATURES = feature_set(DERIVE, **ORDER_FREE, **AVERAGED)
BY_COUNTS = feature_set(DERIVE, **ORDER_FREE)
FITTED = fitted(FEATURES, TABLE, [50], LABELS)
CUTS = st.lists(st.integers(0, NUM_ROWS), max_size=5).map(sorted)
few = settings(max_examples=25)


def solved(features: FeatureSet, parts: list[FitState]) -> FittedFeatures:
    return solve(features, merge_states(parts), SCHEMA).features


@few
@given(CUTS, st.randoms(use_true_random=False), st.data())
def test_chunks_that_are_done_in_any_order_and_merged_in_theirs_give_the_same_files(
    cuts: list[int], random: Any, data: st.DataObject
) -> None:
    parts = states(FEATURES, TABLE, cuts, LABELS)
    expected = solved(FEATURES, parts).to_files()
    bounds = [0, *cuts, NUM_ROWS]
    todo = list(enumerate(itertools.pairwise(bounds)))
    random.shuffle(todo)
    done = {}
    for place, (start, stop) in todo:
        state = fit_chunk(FEATURES, TABLE.slice(start, stop - start), part(LABELS, start, stop))
        done[place] = FitState.from_bytes(state.to_bytes())
    ordered = [pickle.loads(pickle.dumps(done[place])) for place in sorted(done)]
    assert solved(FEATURES, ordered).to_files() == expected
    first = data.draw(st.integers(1, len(ordered)))
    assert solved(FEATURES, [merge_states(ordered[:first]), *ordered[first:]]).to_files() == expected


@few
@given(CUTS, st.randoms(use_true_random=False))
def test_counts_extremes_and_quantiles_know_neither_chunks_nor_their_order(cuts: list[int], random: Any) -> None:
    parts = states(BY_COUNTS, TABLE, cuts, LABELS)
    random.shuffle(parts)
    assert solved(BY_COUNTS, parts).digest == fitted(BY_COUNTS, TABLE, [], LABELS).digest


@few
@given(CUTS)
def test_means_and_deviations_of_any_chunks_are_those_of_all_rows(cuts: list[int]) -> None:
    found = fitted(feature_set(x={"kind": "number"}, y={"kind": "number"}), TABLE, cuts)
    for output in found.outputs:
        cells = TABLE[output.name].drop_null().to_numpy()
        filled = np.append(cells, np.full(NUM_ROWS - len(cells), cells.mean()))
        statistics = vars(output)
        assert [statistics["fill"], statistics["shift"]] == pytest.approx([cells.mean()] * 2, rel=1e-12)
        assert statistics["scale"] == pytest.approx(filled.std(), rel=1e-12)
        assert (statistics["count"], statistics["missing"]) == (len(cells), NUM_ROWS - len(cells))
        assert (statistics["min"], statistics["max"]) == (cells.min(), cells.max())


def test_features_fitted_apart_are_joined_to_the_bits_of_a_fit_together() -> None:
    names = list(FEATURES.features)
    one, other = FEATURES.only(names[::2]), FEATURES.only(names[1::2])
    apart = [merge_states(states(features, TABLE, [40], LABELS)) for features in (one, other)]
    together = merge_states(states(FEATURES, TABLE, [40], LABELS))
    assert solved(FEATURES, [apart[0].union(apart[1])]).to_files() == solved(FEATURES, [together]).to_files()
    assert solved(one, [together.only(names[::2])]).to_files() == solved(one, [apart[0]]).to_files()
    assert list(together.only(names[3:5]).features) == names[3:5]
    fewer = fit_chunk(other, TABLE.slice(1), part(LABELS, 1, NUM_ROWS))
    with pytest.raises(FeatureError, match="states of 120 and of 119 rows cannot be joined; fit the same rows"):
        apart[0].union(fewer)


def test_a_state_is_known_by_its_spec_and_by_what_its_column_is_derived_from() -> None:
    known = {name: FEATURES.digest_of(name) for name in FEATURES.features}
    changed = feature_set(DERIVE | {"total": "x - y"}, **ORDER_FREE, **AVERAGED)
    assert [name for name, digest in known.items() if changed.digest_of(name) != digest] == ["range"]
    changed = feature_set(DERIVE, **ORDER_FREE, **(AVERAGED | {"elapsed": AVERAGED["elapsed"] | {"unit": "days"}}))
    assert [name for name, digest in known.items() if changed.digest_of(name) != digest] == ["elapsed"]
    assert len(set(known.values())) == len(known)


def test_what_is_kept_of_a_set_is_its_own() -> None:
    features = feature_set(DERIVE, **ORDER_FREE, **AVERAGED)
    size, digests = len(pickle.dumps(features)), [features.digest_of(name) for name in features.features]
    plain = features.to_dict()
    for spec in plain["features"].values():
        spec.clear()
    plain["derive"].clear()
    assert features.to_dict() == FEATURES.to_dict() != plain
    assert [features.digest_of(name) for name in features.features] == digests
    assert len(pickle.dumps(features)) == size
    again = pickle.loads(pickle.dumps(features))
    assert again == features == FEATURES
    assert [again.digest_of(name) for name in again.features] == digests


def test_digests_of_all_features_cost_not_much_more_than_writing_them_once() -> None:
    sets = [feature_set(**{f"x{i}": {"kind": "number"} for i in range(300)}) for _ in range(2)]
    start = time.perf_counter()
    sets[0].to_dict()
    once_s = time.perf_counter() - start
    start = time.perf_counter()
    assert len({sets[1].digest_of(name) for name in sets[1].features}) == 300
    assert time.perf_counter() - start < 50 * once_s  # 300 times when each wrote them all


def test_files_are_the_same_bytes_twice_and_give_back_an_equal_value() -> None:
    files = FITTED.to_files()
    again = FittedFeatures.from_files(files, allowed=[OWN])
    pickled = pickle.loads(pickle.dumps(FITTED))
    for other in (fitted(FEATURES, TABLE, [50], LABELS), again, pickled):
        assert (other, other.digest, other.specs, other.to_files()) == (FITTED, FITTED.digest, FITTED.specs, files)
        assert_same(FITTED, FITTED.transform(TABLE), other.transform(TABLE))
        assert_same(FITTED, FITTED.row({"x": 3.0, "s": "UA"}), other.row({"x": 3.0, "s": "UA"}))
    assert fitted(FEATURES, TABLE.slice(1), [50], part(LABELS, 1, NUM_ROWS)).digest != FITTED.digest


def test_files_are_small_for_people_to_read_and_hold_no_code() -> None:
    files = FITTED.to_files()
    assert list(files) == ["features.json", "features.arrow"]
    found = json.loads(files["features.json"])
    assert (found["format"], found["rows"], found["spec"]["derive"]) == (2, NUM_ROWS, DERIVE)
    assert [output["says"] for output in found["outputs"]] == [line.statistics for line in FITTED.describe()]
    held = pa.ipc.open_file(files["features.arrow"]).read_all()
    assert sorted(set(TABLE["u"].drop_null().to_pylist())) in [sorted(texts or []) for texts in held["texts"].to_pylist()]
    assert len(files["features.json"]) < 30_000


@pytest.mark.long
def test_another_process_fits_the_same_digest() -> None:
    code = "import test_features_fit as t; print(t.FITTED.digest, t.bytes_digest(t.FITTED.transform(t.TABLE)))"
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {
        "PYTHONHASHSEED": "12345",
        "PYTHONPATH": path,
        "OMP_NUM_THREADS": "1",
        "ARROW_USER_SIMD_LEVEL": "NONE",
    }
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [FITTED.digest, bytes_digest(FITTED.transform(TABLE))]


def test_a_fitted_value_is_frozen() -> None:
    with pytest.raises(AttributeError):
        FITTED.rows = 3  # type: ignore[misc]
    with pytest.raises(AttributeError):
        FITTED.outputs[0].name = "other"  # type: ignore[misc]


def test_tensors_are_contiguous_new_and_shared_with_torch_without_a_copy() -> None:
    tensors = FITTED.transform(TABLE)
    for tensor, dtype in (("numbers_NF", np.float32), ("categories_NC", np.int32)):
        x = tensors[tensor]
        assert (x.dtype, x.flags.c_contiguous, x.flags.owndata, x.flags.writeable) == (dtype, True, True, True)
        assert torch.from_numpy(x).data_ptr() == x.ctypes.data
        x[:] = 7
    again = FITTED.transform(TABLE)
    assert not np.shares_memory(tensors["numbers_NF"], again["numbers_NF"])
    assert_same(FITTED, joined([FITTED.row(record) for record in TABLE.to_pylist()]), again)


def test_a_table_of_outputs_holds_the_tensors_columns_without_nulls_and_is_numpy_without_a_copy() -> None:
    tensors, table = FITTED.transform(TABLE), FITTED.transform_table(TABLE)
    assert table.column_names == [*FITTED.specs.numbers, *FITTED.specs.categories]
    columns = [*tensors["numbers_NF"].T, *tensors["categories_NC"].T]
    for name, expected in zip(table.column_names, columns, strict=True):
        (cells,) = table[name].chunks
        assert cells.null_count == 0
        assert cells.to_numpy(zero_copy_only=True).tobytes() == expected.tobytes(), name


def test_the_callers_table_is_read_and_never_written() -> None:
    numbers = np.array([1.0, -4.0, 9.0, 0.5])
    table = pa.table({"x": pa.array(numbers)})  # shares the memory of `numbers`
    spec = {"kind": "number", "log1p": True, "clip": [0.1, 0.9], "impute": "median"}
    found = fitted(feature_set(x=spec, bucket={"kind": "bucket", "column": "x", "num": 2}), table)
    found.transform(table)
    assert numbers.tolist() == [1.0, -4.0, 9.0, 0.5]


def test_only_the_input_columns_are_needed_in_any_order() -> None:
    needed = list(FEATURES.input_columns)
    assert set(SCHEMA.names) - set(needed) == {"on", "span"}
    pruned = TABLE.select(needed[::-1])
    found = solve(FEATURES, merge_states(states(FEATURES, pruned, [50], LABELS)), pruned.schema).features
    assert found.to_files() == FITTED.to_files()
    assert_same(FITTED, FITTED.transform(TABLE), FITTED.transform(pruned))
    assert set(FITTED.inputs) == set(needed) == set(FITTED.input_columns)
    for name in needed:
        with pytest.raises(FeatureError, match=f"feature {name}: is not a column of the rows to transform; pass all"):
            FITTED.transform(pruned.drop_columns([name]))
        with pytest.raises(FeatureError, match=f"feature {name}: is not a column of the rows to fit; pass all"):
            fit_chunk(FEATURES, pruned.drop_columns([name]), LABELS)


def test_no_rows_and_more_rows_than_one_tile_follow_the_same_rule() -> None:
    none = FITTED.transform(TABLE.slice(0, 0))
    assert {name: tensor.shape[0] for name, tensor in none.items()} == {"numbers_NF": 0, "categories_NC": 0}
    assert FITTED.transform_table(TABLE.slice(0, 0)).num_rows == 0
    assert_same(FITTED, none, FITTED.transform_rows([]))
    many = pa.concat_tables([TABLE] * 150)
    assert_same(FITTED, joined([FITTED.transform(TABLE)] * 150), FITTED.transform(many.combine_chunks()))


def test_every_output_is_described_once_with_the_columns_it_comes_from() -> None:
    lines = {(line.name, line.tensor, line.kind, line.sources) for line in FITTED.describe()}
    assert ("median", "numbers_NF", "number", ("x",)) in lines
    assert ("range", "numbers_NF", "number", ("x", "y")) in lines
    assert ("cross", "categories_NC", "category", ("s", "flag")) in lines
    assert ("names_* (3 columns)", "numbers_NF", "multi_hot", ("names",)) in lines
    assert ("later_hour", "categories_NC", "part", ("t", "i")) in lines
    assert len(lines) == len(FITTED.outputs)


@pytest.mark.ray
def test_a_ray_dataset_gives_the_bytes_of_the_table_lazily(ray_cluster: None) -> None:
    dataset = ray.data.from_arrow([TABLE.slice(0, 50), TABLE.slice(50)])
    lazy = FITTED.transform(dataset)
    assert isinstance(lazy, ray.data.Dataset)
    found = pa.concat_tables(ray.get(lazy.to_arrow_refs()))
    expected = FITTED.transform_table(TABLE)
    assert found.schema.names == expected.schema.names
    for name in expected.column_names:
        assert found[name].to_numpy().tobytes() == expected[name].to_numpy().tobytes(), name
