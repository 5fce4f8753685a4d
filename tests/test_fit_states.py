"""States of a fit: moments, distributions, counts and label sums, against exact arithmetic and in any splitting of rows."""

import itertools
import os
import pickle
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from raypipe.core.errors import FeatureError
from raypipe.features import _quantiles
from raypipe.features._partitions import join_partitions, partition, top
from raypipe.features._protocols import Labels
from raypipe.features._quantiles import MAX_EXACT_VALUES, ValueCounts
from raypipe.features._targets import TargetSums
from raypipe.profiles import _counts
from raypipe.profiles._counts import CategoryCounts, Vocabulary
from raypipe.profiles._moments import TILE_ROWS, Moments

TINY = 5e-324
HOSTILE = st.sampled_from([0.0, -0.0, TINY, -TINY, 1e-310, 1.0, -1.0, 1e16, 1e16 + 2, 1e150, -1e150, 3.5])
FLOATS = st.floats() | HOSTILE
CUTS = st.lists(st.integers(0, 60), max_size=4)


def pieces(values: Any, cuts: list[int]) -> list[Any]:
    bounds = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    return [values[start:stop] for start, stop in itertools.pairwise(bounds)]


def exact(values: list[float]) -> tuple[Fraction, Fraction]:
    """Mean and sum of squared deviations without rounding."""
    known = [Fraction(value) for value in values]
    mean = sum(known, Fraction(0)) / len(known)
    return mean, sum(((value - mean) ** 2 for value in known), Fraction(0))


# ---- moments

OFFSET = 1e16 + 2.0 * np.random.default_rng(1).integers(0, 1000, 3000)
HARD = {
    "a large offset": OFFSET,
    "alternating signs": np.where(np.arange(3001) % 2, 1e16, -1e16) + np.arange(3001),
    "denormals": np.arange(1, 2000) * TINY,
    "one outlier": np.append(np.full(2000, 1e-3), 1e12),
    "many tiles": 1e9 + np.random.default_rng(2).normal(size=2 * TILE_ROWS + 17),
    "powers": 2.0 ** np.arange(-500, 500),
}


@pytest.mark.parametrize("name", HARD)
def test_moments_are_those_of_exact_arithmetic(name: str) -> None:
    x_N = HARD[name]
    mean, m2 = exact(x_N.tolist())
    for found in (Moments.of(x_N), Moments.merge(Moments.of(part) for part in np.array_split(x_N, 7))):
        size = float(sum(abs(Fraction(x)) for x in x_N.tolist()) / len(x_N))
        assert abs(found.mean - float(mean)) <= 1e-15 * size + TINY
        step = 2.3e-16 * size  # a mean is a float: in merging, its rounding counts like a shift of each value
        assert abs(found.m2 - float(m2)) <= 1e-12 * float(m2) + 4 * len(x_N) * step * (found.deviation + step) + TINY
        assert (found.count, found.min, found.max) == (len(x_N), x_N.min(), x_N.max())


@given(st.lists(st.none() | FLOATS, max_size=60), CUTS)
def test_moments_of_any_splitting_are_those_of_the_whole(values: list[float | None], cuts: list[int]) -> None:
    x_N = np.array([np.nan if value is None else value for value in values], np.float64)
    whole, split = Moments.of(x_N), Moments.merge(Moments.of(part) for part in pieces(x_N, cuts))
    finite = x_N[np.isfinite(x_N)]
    assert (whole.count, whole.nulls, whole.infinite) == (len(finite), np.isnan(x_N).sum(), np.isinf(x_N).sum())
    assert (split.count, split.nulls, split.infinite) == (whole.count, whole.nulls, whole.infinite)
    assert (split.min, split.max) == (whole.min, whole.max)
    assert str(whole.min) != "-0.0"
    assert np.isfinite(whole.mean)
    assert not np.isnan(whole.m2)
    if len(finite):
        size = np.abs(finite).max()
        assert split.mean == pytest.approx(whole.mean, rel=1e-9, abs=1e-14 * size)
        assert np.isclose(split.m2, whole.m2, rtol=1e-6, atol=1e-12 * min(size, 1e150) ** 2) or size > 1e150
    assert Moments.from_plain(whole.to_plain()) == whole == pickle.loads(pickle.dumps(whole))


@pytest.mark.parametrize(
    ("values", "count", "mean", "m2"),
    [
        ([], 0, 0.0, 0.0),
        ([np.nan, np.nan], 0, 0.0, 0.0),
        ([np.inf, -np.inf, np.nan], 0, 0.0, 0.0),
        ([0.1] * 3, 3, 0.1, 0.0),
        ([0.1] * 100_000 + [np.nan], 100_000, 0.1, 0.0),
        ([-0.0, 0.0], 2, 0.0, 0.0),
        ([1e308, 1e308, np.nan], 2, 1e308, 0.0),
        ([1e308, 1.2e308, -1e308, 1.2e308], 4, 0.6e308, np.inf),
        ([7.0, np.inf], 1, 7.0, 0.0),
    ],
)
def test_moments_at_the_edges(values: list[float], count: int, mean: float, m2: float) -> None:
    found = Moments.of(np.array(values, np.float64))
    assert (found.count, found.mean, found.m2) == (count, pytest.approx(mean, rel=1e-15), m2)


def test_far_apart_huge_chunks_have_a_finite_mean() -> None:
    merged = Moments.of(np.array([1.7e308])).merged(Moments.of(np.array([-1.7e308])))
    assert (merged.mean, merged.m2, merged.min, merged.max) == (0.0, np.inf, -1.7e308, 1.7e308)


@given(st.lists(st.none() | st.floats(-1e6, 1e6), min_size=1, max_size=40), st.floats(-1e6, 1e6))
def test_a_fill_needs_no_second_pass(values: list[float | None], fill: float) -> None:
    x_N = np.array([np.nan if value is None else value for value in values], np.float64)
    filled = np.where(np.isnan(x_N), fill, x_N)
    found = Moments.of(x_N).with_fill(fill)
    assert (found.count, found.nulls) == (len(x_N), 0)
    assert found.mean == pytest.approx(filled.mean(), rel=1e-9, abs=1e-6)
    assert found.deviation == pytest.approx(filled.std(), rel=1e-6, abs=1e-6)
    assert (found.min, found.max) == (filled.min(), filled.max())


BITS = """
import numpy as np
from raypipe.profiles._moments import Moments
from raypipe.features._quantiles import ValueCounts
rng = np.random.default_rng(5)
x = rng.lognormal(0, 3, 150_001) * rng.choice([-1.0, 1.0], 150_001)
for column in (x, np.where(rng.random(len(x)) < 0.1, np.nan, x), np.where(x > 50, np.inf, x), x[:1001], x[7:], x[::2]):
    moments, values = Moments.of(column), ValueCounts.of(column)
    print(moments.mean.hex(), moments.m2.hex(), moments.min, moments.max)
    print(values.binned, values.counts_D.sum(), values.quantile(0.3).hex(), values.moments(-2.0, 3.0).m2.hex())
"""


def test_bits_do_not_depend_on_the_instructions_of_the_processor() -> None:
    from numpy._core._multiarray_umath import __cpu_dispatch__ as optional  # the names that NumPy's setting takes

    def run(disabled: str) -> str:
        env = {**os.environ, "NPY_DISABLE_CPU_FEATURES": disabled}
        return subprocess.run(
            [sys.executable, "-W", "ignore", "-c", BITS], env=env, capture_output=True, text=True, check=True
        ).stdout

    assert len(run("").splitlines()) == 12
    assert run("") == run(" ".join(optional))


# ---- distributions


def same_values(a: ValueCounts, b: ValueCounts) -> bool:
    arrays = np.array_equal(a.values_D, b.values_D) and np.array_equal(a.counts_D, b.counts_D)
    return bool(arrays and (a.binned, a.low, a.high) == (b.binned, b.low, b.high))


def reference(values: list[float], bound: int) -> ValueCounts:
    """By a plain dictionary."""
    counts = Counter(value + 0.0 for value in values if np.isfinite(value))
    known = ValueCounts(
        values_D=np.array(sorted(counts), np.float64), counts_D=np.array([counts[v] for v in sorted(counts)], np.int64)
    )
    return known._in_bins() if len(counts) > bound else known


@pytest.mark.parametrize("limit", [MAX_EXACT_VALUES, 3])
@given(values=st.lists(FLOATS | st.integers(-50, 50).map(float), max_size=60), cuts=CUTS, order=st.randoms())
def test_a_distribution_knows_neither_order_nor_splitting(limit: int, values: list[float], cuts: list[int], order: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_quantiles, "MAX_EXACT_VALUES", limit)
        expected = reference(values, limit)
        assert same_values(ValueCounts.of(np.array(values, np.float64)), expected)
        states = [ValueCounts.of(np.array(part, np.float64)) for part in pieces(values, cuts)]
        order.shuffle(states)
        assert same_values(ValueCounts.merge(states), expected)
        folded = states[0]
        for state in states[1:]:
            folded = state.merged(folded)
        assert same_values(folded, expected)
        again = ValueCounts.from_plain(pickle.loads(pickle.dumps(expected)).to_plain())
        assert same_values(again, expected)


RNG = np.random.default_rng(3)
LONG = {
    "continuous": RNG.lognormal(0, 3, 150_001) * RNG.choice([-1.0, 1.0], 150_001, p=[0.2, 0.8]),
    "with zeros and missing": np.where(
        RNG.random(150_001) < 0.3, 0.0, np.where(RNG.random(150_001) < 0.1, np.nan, RNG.normal(size=150_001))
    ),
    "whole numbers": RNG.integers(-500, 700, 150_001).astype(np.float64),
    "more whole numbers than the bound": RNG.permutation(np.arange(-5.0, 130_000.0)),
    "exactly the bound": np.arange(MAX_EXACT_VALUES) / 7,
    "one more than the bound": np.arange(MAX_EXACT_VALUES + 1) / 7,
    "two decimals": np.round(RNG.lognormal(3, 1, 150_001), 2),
    "any bits": RNG.integers(-(2**63), 2**63 - 1, 150_001).view(np.float64),
}


@pytest.mark.parametrize("name", LONG)
def test_long_columns_have_exact_values_or_bins_of_the_stated_error(name: str) -> None:
    x_N = LONG[name]
    x_M = x_N[np.isfinite(x_N)]
    values_D, count_D = np.unique(x_M + 0.0, return_counts=True)
    expected = ValueCounts(values_D=values_D, counts_D=count_D)._bounded()
    found = ValueCounts.of(x_N)
    assert found.binned == (len(values_D) > MAX_EXACT_VALUES)
    assert same_values(found, expected)
    assert same_values(ValueCounts.merge([ValueCounts.of(part) for part in np.array_split(x_N, 5)[::-1]]), expected)
    for q in (0.0, 0.001, 0.25, 0.5, 0.77, 1.0):
        below, above = np.quantile(x_M, q, method="lower"), np.quantile(x_M, q, method="higher")
        slack = 2**-11 * np.array([abs(below), abs(above)]) + 2.0**-1033 if found.binned else np.zeros(2)
        assert below - slack[0] <= found.quantile(q) <= above + slack[1]
    low, high = float(x_M.min()), float(x_M.max())
    for kept in (found, found.clipped(low, high)):
        assert (kept.quantile(0.0), kept.quantile(1.0)) == (low, high)
        assert (kept.moments(low, high).min, kept.moments(low, high).max) == (low, high)
    if np.abs(x_M).max() < 1e100:
        clipped = found.moments(-1.5, 20.0)
        assert clipped.mean == pytest.approx(np.clip(x_M, -1.5, 20.0).mean(), rel=1e-3)
        assert clipped.deviation == pytest.approx(np.clip(x_M, -1.5, 20.0).std(), rel=1e-3)


@given(st.lists(st.floats(-1e300, 1e300) | HOSTILE, min_size=1, max_size=40), st.floats(0, 1))
def test_exact_quantiles_are_numpys(values: list[float], q: float) -> None:
    found = ValueCounts.of(np.array(values))
    assert found.quantile(q) == pytest.approx(float(np.quantile(values, q)), rel=1e-12, abs=1e-15 * max(map(abs, values)))
    assert found.quantile(0.0) == min(values)
    assert found.quantile(1.0) == max(values)
    assert found.count == len(values)


def test_a_quantile_between_the_ends_of_the_floats_does_not_overflow() -> None:
    found = ValueCounts.of(np.array([-1.7e308, 1.7e308]))
    assert (found.median(), found.quantile(0.0), found.quantile(1.0)) == (0.0, -1.7e308, 1.7e308)


def test_no_values_have_no_quantile() -> None:
    empty = ValueCounts.merge([ValueCounts.of(np.array([np.nan])), ValueCounts.of(np.array([np.inf]))])
    assert np.isnan(empty.median())
    assert (empty.count, empty.moments(0, 1).count) == (0, 0)


# ---- counts of categories

TEXT = st.sampled_from(["UA", "ua", "", "\uff35\uff21", "\U0001f600", "x" * 10_000, "\x00", "\x00a"]) | st.text(max_size=2)
COLUMNS = (
    st.lists(st.none() | TEXT, max_size=60).map(lambda v: pa.array(v, pa.string()))
    | st.lists(st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3), max_size=60).map(
        lambda v: pa.array(v, pa.int64())
    )
    | st.lists(st.none() | st.booleans(), max_size=60).map(lambda v: pa.array(v, pa.bool_()))
)


def disguised(cells: pa.Array, how: str) -> pa.Array:
    """The same column with another encoding."""
    if how == "plain" or not len(cells):
        return cells
    if how == "wide" and cells.type == pa.string():
        return cells.cast(pa.large_string())
    coded = cells.dictionary_encode()
    if how == "unused, twice and null":  # a dictionary as other writers make it
        values = pa.concat_arrays([coded.dictionary, cells.slice(0, 1), coded.dictionary, pa.nulls(1, cells.type)])
        shift = len(coded.dictionary) + 1
        codes = [
            len(values) - 1 if c is None and i % 2 else c if c is None or i % 3 else c + shift
            for i, c in enumerate(coded.indices.to_pylist())
        ]
        return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), values)
    return coded


DISGUISES = st.sampled_from(["plain", "dictionary", "wide", "unused, twice and null"])


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


# ---- sums of labels


def labels(y: list[float], fold: list[int], num_folds: int, *, past_only: bool) -> Labels:
    return Labels(y_N=np.array(y, np.float64), fold_N=np.array(fold, np.int64), num_folds=num_folds, past_only=past_only)


ROWS = st.lists(
    st.tuples(st.none() | st.sampled_from("abcd"), st.sampled_from([0.0, 1.0]), st.integers(0, 2)), min_size=1, max_size=40
)


def by_hand(rows: list[tuple[Any, float, int]], value: Any, seen: list[Any], smoothing: float) -> float:
    """Encoding of a value by the rows seen."""
    every = [y for _, y, _ in (seen or rows)]
    prior = sum(every) / len(every)
    own = [y for v, y, _ in seen if v == value and v is not None]
    if value is None or len(own) + smoothing == 0:
        return prior
    return (sum(own) + smoothing * prior) / (len(own) + smoothing)


@pytest.mark.parametrize("past_only", [False, True])
@given(rows=ROWS, cuts=CUTS, smoothing=st.sampled_from([0.0, 1.0, 20.0]), how=DISGUISES)
def test_encodings_are_those_of_the_formula(
    past_only: Any, rows: list[tuple[Any, float, int]], cuts: list[int], smoothing: float, how: str
) -> None:
    states = []
    for part in pieces(rows, cuts):
        values, y, fold = (list(column) for column in zip(*part, strict=True)) if part else ([], [], [])
        states.append(TargetSums.of(disguised(pa.array(values, pa.string()), how), labels(y, fold, 3, past_only=past_only)))
    states = [TargetSums.from_plain(pickle.loads(pickle.dumps(state)).to_plain()) for state in states]
    encoding = TargetSums.merge(states, name="c").encoding(smoothing)
    values, _, fold = (list(column) for column in zip(*rows, strict=True))
    cells = pa.array([*values, "never"], pa.string())
    expected = [by_hand(rows, value, rows, smoothing) for value in values]
    assert encoding.encode(cells).tolist() == pytest.approx([*expected, encoding.prior], rel=1e-12)
    out_of_fold = []
    for value, k in zip(values, fold, strict=True):
        seen = [row for row in rows if (row[2] < k if past_only else row[2] != k)]
        out_of_fold.append(by_hand(rows, value, seen, smoothing))
    found = encoding.encode_training(cells[:-1], np.array(fold, np.int64))
    assert found.tolist() == pytest.approx(out_of_fold, rel=1e-12)


def test_a_row_leaves_no_trace_of_its_own_label() -> None:
    rng = np.random.default_rng(4)
    values, fold, y = rng.choice(list("abc"), 200), rng.integers(0, 4, 200), rng.normal(size=200)
    other = np.where(fold == 2, rng.normal(size=200) * 1e6, y)
    one, two = (
        TargetSums.of(pa.array(values), labels(list(c), list(fold), 4, past_only=False)).encoding(3.0) for c in (y, other)
    )
    assert one.by_fold_KD[2].tobytes() == two.by_fold_KD[2].tobytes()
    assert one.by_fold_KD[1].tobytes() != two.by_fold_KD[1].tobytes()


def test_sums_in_chunk_order_have_the_same_bits() -> None:
    rng = np.random.default_rng(5)
    chunks = [
        (
            pa.array(rng.choice(list("abcde"), 500)),
            labels(list(rng.normal(size=500)), list(rng.integers(0, 3, 500)), 3, past_only=True),
        )
        for _ in range(4)
    ]
    states = [TargetSums.of(*chunk) for chunk in chunks]
    at_once = TargetSums.merge(states, name="c").encoding(2.0)
    in_groups = TargetSums.merge([TargetSums.merge(states[:2], name="c"), *states[2:]], name="c").encoding(2.0)
    assert at_once.vocabulary == in_groups.vocabulary
    assert at_once.full_D.tobytes() == in_groups.full_D.tobytes()
    assert at_once.by_fold_KD.tobytes() == in_groups.by_fold_KD.tobytes()
    assert at_once.by_fold_KD.shape == (3, 6)


def test_the_first_fold_in_time_has_the_mean_of_all_training_rows() -> None:
    sums = TargetSums.of(pa.array(["a", "a", "b", None]), labels([1, 0, 1, 1], [0, 1, 1, 1], 2, past_only=True))
    encoding = sums.encoding(1.0)
    assert encoding.prior == 0.75
    assert encoding.by_fold_KD[0].tolist() == [0.75] * 3
    assert encoding.by_fold_KD[1].tolist() == [1.0, 1.0, 1.0]
    assert encoding.full_D.tolist() == [0.75, (1 + 0.75) / 3, (1 + 0.75) / 2]


def test_only_nulls_have_no_value() -> None:
    encoding = TargetSums.of(pa.nulls(2, pa.string()), labels([1, 0], [0, 1], 2, past_only=False)).encoding(0.0)
    assert (len(encoding.vocabulary), encoding.vocabulary.nulls, encoding.full_D.tolist()) == (0, 2, [0.5])
    assert encoding.by_fold_KD.tolist() == [[0.0], [1.0]]
