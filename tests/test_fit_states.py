"""Moments and distributions of a fit, against exact arithmetic and in any splitting of rows."""

import os
import pickle
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from fit_parts import CUTS, pieces
from hypothesis import given
from hypothesis import strategies as st

from raypipe.features import _quantiles
from raypipe.features._quantiles import MAX_EXACT_VALUES, ValueCounts
from raypipe.profiles._moments import TILE_ROWS, Moments

TINY = 5e-324
HOSTILE = st.sampled_from([0.0, -0.0, TINY, -TINY, 1e-310, 1.0, -1.0, 1e16, 1e16 + 2, 1e150, -1e150, 3.5])
FLOATS = st.floats() | HOSTILE


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
