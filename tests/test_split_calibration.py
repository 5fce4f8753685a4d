"""The fourth part of a split, rows for calibration: only where declared, disjoint, nothing lost, and never judged on."""

import datetime as dt
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from evaluate_parts import BINARY
from shops import SPLIT, Shop

from raypipe.core.config import build, to_settings
from raypipe.core.digest import digest_json
from raypipe.core.errors import ConfigError, EmptySplit
from raypipe.evaluate import Evaluator, GateReport, ScoredRows, evaluate
from raypipe.pipeline._judge import _digests
from raypipe.split import ALL_SPLITS, SPLITS, HashSplit, KFold, PredefinedSplit, StratifiedSplit, TimeSplit, splits_of

PARTS = {"train": 0.5, "validation": 0.1, "calibration": 0.2, "test": 0.2}
ROWS = pa.table({"id": range(20_000), "kind": [("a", "b", "b", "c", "d")[i % 5] for i in range(20_000)]})


def assigned(split, rows=ROWS, at=None):
    return split.assign(rows, key=("id",), at=at).to_pylist()


@pytest.mark.parametrize("cls", [HashSplit, StratifiedSplit])
def test_shares_are_kept_and_no_row_is_lost(cls):
    counts = Counter(assigned(build(PARTS | ({"by": ["kind"]} if cls is StratifiedSplit else {}), cls)))
    assert {*counts} == {*ALL_SPLITS}
    for name, share in PARTS.items():
        assert counts[name] == pytest.approx(share * len(ROWS), rel=0.05)


@pytest.mark.parametrize("cls", [HashSplit, StratifiedSplit])
def test_taken_out_of_validation_it_leaves_train_and_test_as_they_were(cls):
    by = {"by": ("kind",)} if cls is StratifiedSplit else {}
    three = assigned(cls(train=0.5, validation=0.3, test=0.2, **by))
    four = assigned(cls(**PARTS, **by))
    moved = {(a, b) for a, b in zip(three, four, strict=True) if a != b}
    assert moved == {("validation", "calibration")}


def test_a_window_lies_between_validation_and_test():
    split = TimeSplit(
        train=("2020-01-01", "2020-01-05"),
        validation=("2020-01-05", "2020-01-08"),
        calibration=("2020-01-08", "2020-01-10"),
        test=("2020-01-10", "2020-01-20"),
        gap=dt.timedelta(days=1),
    )
    start = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    days = pa.table({"at": pa.array([start + dt.timedelta(days=d) for d in range(19)], pa.timestamp("us", "UTC"))})
    found = assigned(split, days, at="at")
    assert found[7] == "calibration"
    assert found[8] == "calibration", "a gap of a day is less than a day before the next window"
    assert found[:4] == ["train"] * 4
    assert found[9:] == ["test"] * 10
    assert list(split.windows()) == list(ALL_SPLITS)


def test_a_value_names_it():
    split = PredefinedSplit(column="kind", train=("b",), validation=("a",), test=("c",), calibration=("d",))
    assert Counter(assigned(split)) == {"train": 8000, "validation": 4000, "calibration": 4000, "test": 4000}


def test_it_exists_only_where_it_is_declared():
    assert splits_of(HashSplit()) == splits_of(KFold()) == SPLITS
    assert splits_of(build(PARTS, HashSplit)) == ALL_SPLITS
    assert "calibration" not in {*assigned(HashSplit()), *assigned(KFold())}


@pytest.mark.parametrize(
    ("cls", "settings", "words"),
    [
        (HashSplit, PARTS | {"test": 0.4}, "shares must be positive and sum to 1"),
        (HashSplit, PARTS | {"calibration": 0, "test": 0.4}, "shares must be positive"),
        (StratifiedSplit, PARTS | {"train": 0.4}, "sum to 1"),
        (PredefinedSplit, {"column": "kind", "calibration": ["test"]}, "'test' is named twice"),
        (PredefinedSplit, {"column": "kind", "calibration": []}, "train, validation, calibration and test needs a value"),
        (KFold, {"calibration": 1}, "calibration"),
    ],
)
def test_what_cannot_be_is_refused(cls, settings, words):
    with pytest.raises(ConfigError, match=words):
        build(settings, cls)


@pytest.mark.parametrize("window", [["2020-03-18", "2020-03-22"], ["2020-02-01", "2020-02-10"], ["2020-04-05", "2020-04-09"]])
def test_a_window_elsewhere_is_refused(window):
    with pytest.raises(ConfigError, match="train, then validation, then calibration, then test, none overlapping"):
        build({"train": SPLIT.train, "validation": SPLIT.validation, "test": SPLIT.test, "calibration": window}, TimeSplit)


def test_rows_for_calibration_judge_nothing():
    rows = ScoredRows(
        target=BINARY, split="calibration", y_N=np.array([0.0, 1.0] * 30), scores=np.linspace(0, 1, 60), threshold=0.5
    )
    with pytest.raises(ValueError, match="not on split calibration"):
        GateReport(evaluation=evaluate(rows, evaluator=Evaluator(num_resamples=20)), candidate_digest="a")


def test_a_split_without_it_is_the_split_that_earlier_models_name():
    split = HashSplit(seed=3)
    settings = to_settings(split)
    settings.pop("calibration")
    assert {digest_json(settings), digest_json(to_settings(split))} == _digests(split)
    assert len(_digests(build(PARTS, HashSplit))) == 1


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_prepared_rows_of_all_parts_are_disjoint_and_counted(shop: Shop) -> None:
    three = shop.prepared()
    windows = {"train": SPLIT.train, "validation": SPLIT.validation, "test": SPLIT.test}
    halves = {"validation": ["2020-03-01", "2020-03-10"], "calibration": ["2020-03-10", "2020-03-20"]}
    split = build({**windows, **halves}, TimeSplit)
    prepared = shop.prepared(shop.plan(split=split))
    assert [*prepared.num_rows] == [*ALL_SPLITS]
    assert prepared.rows == three.rows, "nothing lost"
    assert prepared.num_rows["train"] == three.num_rows["train"]
    assert prepared.num_rows["validation"] + prepared.num_rows["calibration"] == three.num_rows["validation"]
    ids = [i for name in ALL_SPLITS for uri in prepared.joined_uris(name) for i in pq.read_table(uri).column("id").to_pylist()]
    assert len(ids) == len({*ids}) == prepared.rows.rows_out
    assert len(prepared.tensors("calibration")) == prepared.num_rows["calibration"] > 0
    assert prepared.times["validation"][1] < prepared.times["calibration"][0] < prepared.times["test"][0]
    assert [*three.num_rows] == [*SPLITS]
    again = type(prepared).open(prepared.uri)
    assert again.num_rows == prepared.num_rows
    later = {"calibration": ["2021-01-01", "2021-01-02"], "test": ["2021-01-02", "2021-01-03"]}
    empty = build({**windows, **later}, TimeSplit)
    with pytest.raises(EmptySplit, match="split calibration has no rows"):
        shop.prepared(shop.plan(split=empty))
