"""Folds: a function of the row alone, groups whole, blocks of time in order and of one length."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.core.errors import ConfigError
from raypipe.prepare import JOINED_AT
from raypipe.prepare._folds import blocks, check_folds, fold_ids
from raypipe.split import HashSplit, TimeSplit

SPLIT = TimeSplit(
    train=("2020-01-01", "2020-01-11"), validation=("2020-01-11", "2020-01-12"), test=("2020-01-12", "2020-01-13")
)
AT = pa.timestamp("us", "UTC")


class ByTime:
    by_time = True


def keyed(ids: list[int], **columns: list[object]) -> pa.Table:
    return pa.table({"id": ids, **columns})


def folds(rows: pa.Table, split: object = HashSplit(), key: tuple[str, ...] = ("id",), num: int = 5) -> list[int]:
    return fold_ids(rows, split=split, key=key, num_folds=num).tolist()  # type: ignore[arg-type]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, unique=True), st.randoms(use_true_random=False))
def test_a_row_has_the_same_fold_alone_and_in_any_company(ids: list[int], random: object) -> None:
    together = dict(zip(ids, folds(keyed(ids)), strict=True))
    shuffled = sorted(ids, key=lambda i: hash((str(random), i)))
    assert dict(zip(shuffled, folds(keyed(shuffled)), strict=True)) == together
    assert folds(keyed(ids[:1])) == [together[ids[0]]]
    assert set(together.values()) <= set(range(5))


def test_folds_are_of_about_one_size_among_the_rows_that_a_hash_split_sends_to_train() -> None:
    rows = keyed(list(range(20_000)))
    names = HashSplit().assign(rows, key=("id",), at=None)
    train = rows.filter(pa.compute.equal(names, "train"))
    counts = np.bincount(folds(train), minlength=5)
    assert counts.sum() == train.num_rows
    assert counts.min() > 0.9 * train.num_rows / 5


def test_rows_of_one_group_share_a_fold() -> None:
    groups = [f"g{i % 40}" for i in range(1000)]
    rows = keyed(list(range(1000)), group=groups)
    found = folds(rows, HashSplit(by=("group",)))
    assert len({(g, f) for g, f in zip(groups, found, strict=True)}) == 40
    assert len(set(found)) == 5


@pytest.mark.parametrize("kind", [pa.string(), pa.dictionary(pa.int32(), pa.string())], ids=["text", "dictionary"])
def test_text_gives_the_same_folds_in_either_form(kind: pa.DataType) -> None:
    texts = [f"key {i}" for i in range(100)] + [None]
    plain = folds(pa.table({"id": texts}))
    assert folds(pa.table({"id": pa.array(texts).dictionary_encode() if pa.types.is_dictionary(kind) else texts})) == plain
    assert len(set(plain)) == 5


@pytest.mark.parametrize("columns", [("id", "day"), ("day",), ("price", "id")])
def test_keys_of_any_type_and_number_have_folds(columns: tuple[str, ...]) -> None:
    days = [dt.date(2020, 1, 1) + dt.timedelta(days=i) for i in range(200)]
    rows = pa.table({"id": [f"a{i}" for i in range(200)], "day": days, "price": [i / 7 for i in range(200)]})
    found = folds(rows, key=columns)
    assert set(found) == set(range(5))
    assert folds(rows.slice(150), key=columns) == found[150:]


def test_under_a_split_by_time_folds_are_blocks_of_the_train_window_in_order() -> None:
    start = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    times = [start, start + dt.timedelta(days=2, microseconds=-1), start + dt.timedelta(days=2), start + dt.timedelta(days=9.9)]
    rows = pa.table({"id": [0, 1, 2, 3], JOINED_AT: pa.array(times, AT)})
    assert folds(rows, SPLIT) == [0, 0, 1, 4]
    assert folds(rows, SPLIT, num=10) == [0, 1, 2, 9]


@given(st.integers(-(10**15), 10**15), st.integers(1, 10**12), st.integers(1, 20), st.data())
def test_blocks_are_in_order_and_differ_by_one_microsecond_at_most(
    low: int, length: int, num: int, data: st.DataObject
) -> None:
    high = low + length
    times = sorted(data.draw(st.lists(st.integers(low, high - 1), min_size=1)))
    found = blocks(np.array(times, np.int64), low=low, high=high, num_blocks=num)
    assert (np.diff(found) >= 0).all()
    assert 0 <= found.min() <= found.max() < num
    for at, block in zip(times, found.tolist(), strict=True):
        assert block == ((at - low) * num) // length


def test_a_split_by_time_of_ones_own_is_refused_for_it_has_no_train_window() -> None:
    check_folds(HashSplit())
    check_folds(SPLIT)
    with pytest.raises(ConfigError, match=r"split: ByTime is by time.*raypipe.split.TimeSplit"):
        check_folds(ByTime())  # type: ignore[arg-type]
