"""Counts of categories and the vocabularies made of them, in any order, splitting and encoding of rows."""

import pickle
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fit_parts import CUTS, DISGUISES, disguised, pieces
from hypothesis import assume, given
from hypothesis import strategies as st

from raypipe.core.errors import FeatureError
from raypipe.features._partitions import join_partitions, partition, top
from raypipe.profiles import _counts
from raypipe.profiles._counts import CategoryCounts, Vocabulary

TEXT = st.sampled_from(["UA", "ua", "", "\uff35\uff21", "\U0001f600", "x" * 10_000, "\x00", "\x00a"]) | st.text(max_size=2)
COLUMNS = (
    st.lists(st.none() | TEXT, max_size=60).map(lambda v: pa.array(v, pa.string()))
    | st.lists(st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3), max_size=60).map(
        lambda v: pa.array(v, pa.int64())
    )
    | st.lists(st.none() | st.booleans(), max_size=60).map(lambda v: pa.array(v, pa.bool_()))
)


def ranking(cells: pa.Array) -> list[tuple[Any, int]]:
    counts = Counter(value for value in cells.to_pylist() if value is not None)
    key = (lambda v: v.encode()) if cells.type == pa.string() else (lambda v: v)
    return sorted(counts.items(), key=lambda item: (-item[1], key(item[0])))


@given(COLUMNS, CUTS, DISGUISES, st.integers(1, 3), st.integers(1, 5), st.randoms())
def test_a_vocabulary_knows_neither_order_splitting_nor_encoding(
    cells: pa.Array, cuts: list[int], how: str, min_count: int, max_size: int, order: Any
) -> None:
    expected = [item for item in ranking(cells) if item[1] >= min_count][:max_size]
    states = [CategoryCounts.of(disguised(part, how)) for part in pieces(cells, cuts)]
    order.shuffle(states)
    merged = CategoryCounts.merge(states, name="c")
    for state in (
        merged,
        CategoryCounts.merge([CategoryCounts.merge(states[:2], name="c"), *states[2:]], name="c"),
        CategoryCounts.of(disguised(cells, how)),
    ):
        found = state.ranked(min_count=min_count, max_size=max_size)
        assert list(zip(found.values.to_pylist(), found.counts_D.tolist(), strict=True)) == expected
        assert found.rare == len(cells) - cells.null_count - sum(count for _, count in expected)
        assert found.nulls == cells.null_count
    assert len(merged.values) == len(set(merged.values.to_pylist()))
    assert merged.rows + merged.nulls == len(cells)
    again = CategoryCounts.from_plain(pickle.loads(pickle.dumps(merged)).to_plain())
    assert again.ranked(min_count=1, max_size=9) == merged.ranked(min_count=1, max_size=9)


@given(COLUMNS, COLUMNS, DISGUISES, st.integers(1, 8), st.sampled_from([0, 2, 1000]))
def test_an_index_is_the_place_in_the_vocabulary(known: pa.Array, cells: pa.Array, how: str, repeats: int, few: int) -> None:
    assume(known.type == cells.type)
    vocabulary = CategoryCounts.of(known).ranked(min_count=1, max_size=1000)
    expected = [vocabulary.lookup.get(value, 0) for value in cells.to_pylist()] * repeats
    column = disguised(pa.concat_arrays([cells] * repeats), how)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_counts, "FEW_ROWS", few)  # all ways to the same indices
        index_N = vocabulary.index_of(column)
        assert index_N.dtype == np.int32
        assert index_N.tolist() == expected
        assert vocabulary.index_of(column[1:]).tolist() == expected[1:]


def test_a_large_dictionary_is_looked_up_in_arrow() -> None:
    words = [f"w{i}" for i in range(5000)]
    vocabulary = CategoryCounts.of(pa.array(words)).ranked(min_count=1, max_size=4000)
    cells = pa.array([*words, None, "new"])
    expected = [vocabulary.lookup.get(value, 0) for value in cells.to_pylist()]
    assert vocabulary.index_of(cells).tolist() == vocabulary.index_of(cells.dictionary_encode()).tolist() == expected
    assert vocabulary.index_of(cells.dictionary_encode()[4990:5002]).tolist() == expected[4990:]


def test_a_vocabulary_is_a_value() -> None:
    counts = CategoryCounts.of(pa.array(["b", "a", "b", None]))
    one, other = (counts.ranked(min_count=1, max_size=5) for _ in range(2))
    assert one.lookup == {"b": 1, "a": 2}
    again = pickle.loads(pickle.dumps(one))
    assert one == other == again == Vocabulary.from_plain(one.to_plain())
    assert hash(one) == hash(again)
    assert "lookup" not in vars(again)
    assert one != counts.ranked(min_count=2, max_size=5)
    assert one != "b"
    small = CategoryCounts.of(pa.array([f"{i}" for i in range(50_000)])).ranked(min_count=1, max_size=3)
    assert len(pickle.dumps(small)) < 2000


def test_text_is_ordered_by_its_bytes() -> None:
    words = ["\U0001f600", "\uff35", "z", "Z", "", "\xe9"]
    found = CategoryCounts.of(pa.array(words)).ranked(min_count=1, max_size=9)
    assert found.values.to_pylist() == sorted(words, key=lambda word: word.encode())


def test_too_many_values_and_changing_kinds_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_counts, "MAX_DISTINCT", 3)
    states = [CategoryCounts.of(pa.array([f"{i}{j}" for j in range(3)])) for i in range(2)]
    assert len(CategoryCounts.merge(states[:1], name="c").values) == 3
    with pytest.raises(FeatureError, match=r"feature tail: has more than 3 distinct values; .*`partitions`"):
        CategoryCounts.merge(states, name="tail")
    with pytest.raises(FeatureError, match="feature c: is string in one chunk and int64 in another"):
        CategoryCounts.merge([states[0], CategoryCounts.of(pa.array([1]))], name="c")


@given(COLUMNS, CUTS, st.integers(1, 5), st.integers(1, 3), st.integers(1, 6))
def test_partitions_give_the_vocabulary_of_one_pass(
    cells: pa.Array, cuts: list[int], num: int, min_count: int, max_size: int
) -> None:
    chunks = [CategoryCounts.of(part) for part in pieces(cells, cuts)]
    parts = [partition(chunk, num) for chunk in chunks]
    tops = [top([part[i] for part in parts], min_count=min_count, max_size=max_size, name="c") for i in range(num)]
    expected = CategoryCounts.merge(chunks, name="c").ranked(min_count=min_count, max_size=max_size)
    assert join_partitions(tops, max_size=max_size) == expected
    assert join_partitions(tops[::-1], max_size=max_size) == expected


def test_partitions_hold_what_one_state_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    chunks = [CategoryCounts.of(pa.array([f"id{i % 900}" for i in range(start, start + 500)])) for start in range(0, 2000, 500)]
    expected = CategoryCounts.merge(chunks, name="c").ranked(min_count=2, max_size=300)
    monkeypatch.setattr(_counts, "MAX_DISTINCT", 400)
    with pytest.raises(FeatureError, match="more than 400"):
        CategoryCounts.merge(chunks, name="c")
    parts = [partition(chunk, 5) for chunk in chunks]
    sizes = [len({v for part in parts for v in part[i].values.to_pylist()}) for i in range(5)]
    assert sum(sizes) == 900
    assert max(sizes) < 2 * min(sizes)
    tops = [top([part[i] for part in parts], min_count=2, max_size=300, name="c") for i in range(5)]
    assert join_partitions(tops, max_size=300) == expected
