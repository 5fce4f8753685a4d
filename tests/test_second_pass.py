"""Categories with more values than one state should hold: a second pass gives the vocabulary that one pass would give."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from raypipe.core.errors import FeatureError
from raypipe.features import FeatureSet, FitState, FittedFeatures, fit_chunk, merge_states, solve
from raypipe.prepare._second_pass import put_aside, second_pass

NUM_CHUNKS = 3


def spec(partitions: int, **settings: object) -> FeatureSet:
    rare = {"min_count": 2, "max_size": 300, "partitions": partitions, **settings}
    return FeatureSet(
        features={
            "user": {"kind": "category", **rare},
            "both": {"kind": "cross", "columns": ["user", "shop"], **rare, "encode": "frequency"},
            "amount": {"kind": "number"},
        }
    )


def chunk(seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    users = [None if u % 11 == 0 else f"user-{u}" for u in rng.zipf(1.3, 4000) % 3000]
    return pa.table({"user": users, "shop": rng.integers(0, 5, 4000), "amount": rng.random(4000)})


def fit(features: FeatureSet, uri: str) -> FittedFeatures:
    tables = [chunk(seed) for seed in range(NUM_CHUNKS)]
    names = [f"{i:05d}" for i in range(NUM_CHUNKS)]
    states = [put_aside(features, fit_chunk(features, t), uri=uri, chunk=n) for t, n in zip(tables, names, strict=True)]
    merged = second_pass(features, merge_states(states), uri=uri, chunks=names)
    assert FitState.from_bytes(merged.to_bytes()).to_bytes() == merged.to_bytes()
    return solve(features, merged, tables[0].schema).features


@pytest.mark.usefixtures("ray_cluster")
def test_partitions_give_the_vocabulary_of_one_pass(tmp_path: Path) -> None:
    one, many = fit(spec(1), str(tmp_path / "one")), fit(spec(5), str(tmp_path / "many"))
    assert many.outputs == one.outputs
    tensors, expected = many.transform(chunk(9)), one.transform(chunk(9))
    assert all(np.array_equal(tensors[name], expected[name]) for name in expected)
    assert not list((tmp_path / "one").glob("**/*")), "one partition needs no second pass"


@pytest.mark.usefixtures("ray_cluster")
def test_nothing_frequent_enough_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match="no value occurs 9999 times in training; lower min_count"):
        fit(spec(3, min_count=9999), str(tmp_path))
