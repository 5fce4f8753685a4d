"""How far a column moved: nothing for the same rows, figures of the textbook for others, and one clear answer for odd ones."""

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.core.errors import ConfigError
from raypipe.core.kinds import Kind
from raypipe.profiles import ColumnProfile, ColumnState, Distincts, compare, histogram_of, side_by_side

US = pa.timestamp("us", "UTC")
RNG = np.random.default_rng(4)
NUM = 50_000


def profile(values: Any, kind: Kind = "float64", type_: pa.DataType | None = None) -> ColumnProfile:
    return ColumnState.of(pa.array(values, type_), kind).profile()


def textbook_psi(before_N: np.ndarray, after_N: np.ndarray) -> float:
    """By exact deciles of before, and its range, with shares of at least 1e-4."""
    inner = np.quantile(before_N, np.arange(0.1, 1, 0.1))
    bounds = np.unique([-np.inf, before_N.min(), *inner, np.nextafter(before_N.max(), np.inf), np.inf])
    p_G, q_G = (np.maximum(np.histogram(x_N, bounds)[0] / len(x_N), 1e-4) for x_N in (before_N, after_N))
    return float(((q_G - p_G) * np.log(q_G / p_G)).sum())


FAMILIES = {
    "normal": lambda scale: RNG.normal(0, scale, NUM),
    "log-normal": lambda scale: RNG.lognormal(0, 2, NUM) * scale,
    "whole and skewed": lambda scale: np.round(RNG.lognormal(3, 1, NUM) * scale),
    "waiting times": lambda scale: RNG.exponential(scale, NUM),
}


@pytest.mark.parametrize("scale", [1.0, 1.02, 1.1, 1.5])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_index_of_two_profiles_is_that_of_their_rows(family: str, scale: float) -> None:
    before_N, after_N = FAMILIES[family](1.0), FAMILIES[family](scale)
    found = compare(profile(before_N), profile(after_N))
    assert found.psi == pytest.approx(textbook_psi(before_N, after_N), rel=0.15, abs=0.003)
    assert found.mean_shift == pytest.approx((after_N.mean() - before_N.mean()) / before_N.std())


ANY = st.none() | st.floats() | st.integers(-5, 5).map(float)


@given(st.lists(ANY, max_size=40), st.lists(ANY, max_size=40))
def test_any_two_columns_of_numbers_have_a_change(before: list[float | None], after: list[float | None]) -> None:
    old, new = (profile(values, type_=pa.float64()) for values in (before, after))
    found = compare(old, new)
    assert found.psi is None or 0 <= found.psi < math.inf
    assert (found.psi is None) == any(all(v is None or v != v for v in values) for values in (before, after))
    assert -1 <= found.null_change <= 1
    assert found.mean_shift is None or found.mean_shift == found.mean_shift
    again = compare(*(ColumnProfile.from_dict(json.loads(json.dumps(side.to_dict()))) for side in (old, new)))
    assert again == found
    same = compare(old, old)
    assert same.psi in (None, pytest.approx(0.0, abs=1e-12))
    assert (same.null_change, same.mean_shift) in ((0.0, 0.0), (0.0, None))
    both = side_by_side(old.values, new.values)
    if both is not None:
        assert len(both.before_B) == len(both.after_B) == len(both.edge_E) - 1 <= 51
        assert both.before_B.sum() == pytest.approx(1.0)
        assert both.after_B.sum() == pytest.approx(1.0)
        assert (np.diff(both.edge_E) > 0).all()


@given(st.lists(st.none() | st.text(max_size=2), max_size=40), st.lists(st.none() | st.text(max_size=2), max_size=40))
def test_any_two_columns_of_text_have_a_change(before: list[str | None], after: list[str | None]) -> None:
    old, new = (profile(values, "string", pa.string()) for values in (before, after))
    found = compare(old, new)
    there, here = ({value for value in values if value is not None} for values in (before, after))
    assert (set(found.new_values), set(found.gone_values)) == (here - there, there - here)
    assert (found.psi is None) == (not there or not here)
    assert found.psi is None or found.psi >= 0
    assert compare(old, old).psi in (None, 0.0)


@pytest.mark.parametrize(
    ("before", "after", "kind", "psi", "nulls", "shift"),
    [
        ([], [], "float64", None, 0.0, None),
        ([], [1.0], "float64", None, 0.0, None),
        ([None, None], [1.0, 2.0], "float64", None, -1.0, None),
        ([math.nan, 1.0], [1.0, 1.0], "float64", 0.0, -0.5, 0.0),
        ([5.0] * 9, [5.0] * 4, "float64", 0.0, 0.0, 0.0),
        ([5.0] * 9, [7.0] * 9, "float64", "much", 0.0, math.inf),
        ([5.0] * 9, [3.0] * 9, "float64", "much", 0.0, -math.inf),
        ([5.5] * 9, [5.25] * 9, "float64", "much", 0.0, -math.inf),
        ([math.inf], [math.inf], "float64", 0.0, 0.0, None),
        ([math.inf], [1.0], "float64", "much", 0.0, None),
        ([0.0, 1.0], [0.0, 1e308], "float64", "much", 0.0, 1e308),
        ([True, False], [True, False, None, None], "bool", 0.0, 0.5, None),
        ([True, True], [False, False], "bool", "much", 0.0, None),
        ([["a"]], [["a", "b", "c"]], "list<string>", "much", 0.0, None),
        ([["a"], None], [["b"], ["c"]], "list<string>", 0.0, -0.5, None),
        ([0, 86_400_000_000], [10**15], "timestamp", None, 0.0, None),
    ],
)
def test_odd_columns_have_one_answer(
    before: list[Any], after: list[Any], kind: Kind, psi: float | str | None, nulls: float, shift: float | None
) -> None:
    types = {"bool": pa.bool_(), "list<string>": pa.list_(pa.string()), "timestamp": US, "float64": pa.float64()}
    found = compare(*(profile(values, kind, types[kind]) for values in (before, after)))
    assert found.psi == pytest.approx(psi) if psi != "much" else found.psi is not None and found.psi > 1
    assert (found.null_change, found.mean_shift) == (nulls, shift if shift != 1e308 else pytest.approx(1e308))


def test_kinds_without_anything_in_common_are_refused() -> None:
    with pytest.raises(ConfigError, match="string cannot be compared with one of kind float64"):
        compare(profile(["a"], "string"), profile([1.0]))
    assert compare(profile([1, 2], "int64"), profile([1.0, 2.0])).psi == 0.0


def test_values_that_are_not_listed_give_the_smallest_index_that_they_allow() -> None:
    ids = [[f"{side}{i}" for i in range(3000)] for side in "ab"]
    assert compare(*(profile(values, "string") for values in ids)).psi == pytest.approx(0.0, abs=1e-6)
    common = [["x"] * 1500 + values[:1500] for values in ids]
    assert compare(profile(ids[0], "string"), profile(common[1], "string")).psi > 1
    assert compare(*(profile(values, "string") for values in (common[0], ids[1]))).new_values == ()


def test_a_value_that_becomes_frequent_moves_a_column_of_many_values() -> None:
    before = [f"v{i % 200}" for i in range(20_000)]
    after = [value if i % 2 else "v7" for i, value in enumerate(before)]
    assert compare(profile(before, "string"), profile(after, "string")).psi > 1


def test_edges_of_two_versions_fall_on_each_other() -> None:
    sides = [histogram_of(profile(RNG.normal(shift, 1, NUM)).values) for shift in (0, 0.3)]
    shared = np.intersect1d(*(side.edge_E for side in sides))
    assert len(shared) > 25
    assert side_by_side(*(profile(RNG.lognormal(0, 2, NUM)).values for _ in range(2))).scale == "doubling"
    assert side_by_side(*(profile(RNG.normal(size=NUM)).values for _ in range(2))).scale == "even"


@pytest.mark.parametrize(
    "cells",
    [
        pa.array(RNG.integers(0, 800, 20_000)),
        pa.array(np.where(RNG.random(5000) < 0.5, np.nan, RNG.integers(0, 100, 5000).astype(float))),
        pa.array([0.0, -0.0, None]),
        pa.array([f"name {i % 900}" for i in range(3000)]).dictionary_encode(),
        pa.array([True, False, None]),
        pa.array([0, 5, 5], US),
        pa.array([0, 5, 5], pa.date32()),
        pa.array([None, None], pa.string()),
        pa.array([], pa.float64()),
    ],
    ids=str,
)
def test_few_distinct_values_are_counted_exactly_in_any_splitting(cells: pa.Array) -> None:
    values = {value for value in cells.to_pylist() if value is not None and value == value}
    parts = [Distincts.of(cells.slice(start, 700)) for start in range(0, max(len(cells), 1), 700)]
    for found in (Distincts.of(cells), Distincts.merge(parts), Distincts.merge(parts[::-1])):
        assert (found.estimate, found.is_exact) == (len(values), True)


@pytest.mark.parametrize("num", [1024, 5000, 300_000])
@pytest.mark.parametrize("of", [np.arange, lambda num: np.arange(num) * 2**33, lambda num: RNG.normal(size=num)])
def test_many_distinct_values_are_estimated(of: Any, num: int) -> None:
    cells = pa.array(np.repeat(of(num), 2))
    found = Distincts.of(cells)
    assert not found.is_exact
    assert found.estimate == pytest.approx(num, rel=0.13)  # four times its error
    assert Distincts.merge([Distincts.of(cells[num:]), Distincts.of(cells[:num])]).estimate == found.estimate
