"""Reference profiles: the same in any splitting of rows, within the stated errors of NumPy's figures, small and plain JSON."""

import dataclasses
import itertools
import json
import pickle
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.core.errors import ConfigError
from raypipe.core.kinds import ARROW, Kind
from raypipe.profiles._grids import MAX_BINS, EvenBins, LeadingBits
from raypipe.profiles._profile import ColumnProfile, ColumnState, merge_profiles, profile_chunk
from raypipe.profiles._reports import SHARES, ListProfile, NumberProfile, TimeProfile, ValueProfile

FINITE = st.floats(allow_nan=False, allow_infinity=False)
HOSTILE = st.sampled_from([0.0, 5e-324, -5e-324, 1e-310, 1.7e308, -1.7e308, 2.0**53, 1e9 + 0.25])
FLOATS = FINITE | HOSTILE | st.integers(-50, 50).map(float)
CUTS = st.lists(st.integers(0, 40), max_size=4)
US = pa.timestamp("us", "UTC")


def pieces(values: Any, cuts: list[int]) -> list[Any]:
    bounds = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    return [values[start:stop] for start, stop in itertools.pairwise(bounds)]


def no_minus_zero(values: list[float]) -> np.ndarray:
    return np.array(values, np.float64) + 0.0


# ---- grids


@given(st.lists(FLOATS, max_size=40), CUTS, st.randoms(), st.sampled_from([(MAX_BINS, -1000), (4, -1000), (4, 0), (64, 0)]))
def test_bins_know_neither_order_nor_splitting(
    values: list[float], cuts: list[int], order: Any, limits: tuple[int, int]
) -> None:
    max_bins, finest = limits
    whole = EvenBins.of(no_minus_zero(values), max_bins=max_bins, finest=finest)
    parts = pieces(values, cuts)
    order.shuffle(parts)
    merged = EvenBins.merge([EvenBins.of(no_minus_zero(part), max_bins=max_bins, finest=finest) for part in parts])
    assert (merged.exponent, merged.first, merged.count_B.tolist()) == (whole.exponent, whole.first, whole.count_B.tolist())
    assert len(whole.count_B) <= max_bins
    leading = LeadingBits.of(no_minus_zero(values))
    again = LeadingBits.merge([LeadingBits.of(no_minus_zero(part)) for part in parts])
    assert (again.key_B.tolist(), again.count_B.tolist()) == (leading.key_B.tolist(), leading.count_B.tolist())


@given(st.lists(FLOATS, min_size=1, max_size=40))
def test_every_value_is_within_its_bin(values: list[float]) -> None:
    x_N = np.sort(no_minus_zero(values))
    for bins in (EvenBins.of(x_N).bins(), LeadingBits.of(x_N).bins()):
        assert bins.count_B.sum() == len(x_N)
        lower_N, upper_N = (np.repeat(bound, bins.count_B) for bound in (bins.lower_B, bins.upper_B))
        assert (lower_N <= x_N).all()
        assert (x_N <= upper_N).all()


# ---- numbers


def number_report(x_N: np.ndarray) -> NumberProfile:
    found = ColumnState.of(pa.array(x_N), "float64").profile().values
    assert isinstance(found, NumberProfile)
    return found


RNG = np.random.default_rng(6)
NUMBERS = {
    "log-normal": RNG.lognormal(0, 2, 40_000),
    "around a large offset": 1e9 + RNG.normal(size=40_000),
    "around zero": RNG.normal(size=40_000),
    "years": RNG.integers(1985, 2024, 40_000).astype(np.float64),
    "flags": RNG.integers(0, 2, 40_000).astype(np.float64),
    "large whole numbers": RNG.integers(0, 2**60, 40_000).astype(np.float64),
    "mostly zero": np.where(RNG.random(40_000) < 0.9, 0.0, RNG.lognormal(5, 1, 40_000)),
    "denormals": RNG.integers(1, 1000, 4000) * 5e-324,
}


@pytest.mark.parametrize("name", NUMBERS)
def test_quantiles_and_histogram_have_the_stated_errors(name: str) -> None:
    x_N = NUMBERS[name]
    found = number_report(x_N)
    below, above = (np.quantile(x_N, SHARES, method=method) for method in ("lower", "higher"))
    slack = np.minimum(np.maximum(np.abs(below), np.abs(above)) / 32, (x_N.max() - x_N.min()) / 1000) * (1 + 1e-6) + 1e-300
    assert (np.array(found.quantiles) >= below - slack).all()
    assert (np.array(found.quantiles) <= above + slack).all()
    assert (found.min, found.max) == (x_N.min(), x_N.max()) == (found.quantiles[0], found.quantiles[-1])
    assert len(found.counts) == len(found.edges) - 1 <= 66
    assert sum(found.counts) == len(x_N)
    assert list(found.edges) == sorted(found.edges)
    if name != "denormals":
        assert np.abs(np.histogram(x_N, found.edges)[0] - found.counts).max() <= 0.005 * len(x_N)


def test_few_whole_numbers_have_exact_counts_and_quantiles() -> None:
    x_N = NUMBERS["years"]
    found = number_report(x_N)
    assert found.quantiles == tuple(np.quantile(x_N, SHARES, method="nearest"))
    assert found.edges == tuple(np.arange(1985.0, 2025.0))
    assert found.counts == tuple(np.bincount(x_N.astype(int) - 1985).tolist())
    assert number_report(NUMBERS["flags"]).edges == (0.0, 1.0, 2.0)


@given(st.lists(st.none() | st.floats() | HOSTILE, max_size=40), CUTS)
def test_a_number_profile_is_that_of_the_whole_and_plain_json(values: list[float | None], cuts: list[int]) -> None:
    cells = pa.array(values, pa.float64())
    whole = ColumnState.of(cells, "float64").profile()
    split = ColumnState.merge([ColumnState.of(part, "float64") for part in pieces(cells, cuts)]).profile()
    one, two = whole.to_dict(), split.to_dict()
    assert {k: v for k, v in one.items() if k not in ("mean", "std")} == {
        k: v for k, v in two.items() if k not in ("mean", "std")
    }
    text = json.dumps(one, allow_nan=False)
    assert len(text) <= 4096
    assert ColumnProfile.from_dict(json.loads(text)) == whole
    present = [value for value in values if value is not None]
    assert (one["rows"], one["nulls"], one["nan"]) == (len(values), len(values) - len(present), sum(v != v for v in present))
    assert one["infinite"] == sum(v in (np.inf, -np.inf) for v in present)
    assert sum(one["counts"]) == len(present) - one["nan"] - one["infinite"]
    assert str(one["min"]) != "-0.0"


@pytest.mark.parametrize(
    ("cells", "kind", "low", "high"),
    [
        (pa.array([3, None, 5], pa.int32()), "int64", 3.0, 5.0),
        (pa.array([3, 5], pa.int64()).dictionary_encode(), "int64", 3.0, 5.0),
        (pa.array([timedelta(seconds=1.5), timedelta(days=1)], pa.duration("ms")), "duration", 1.5, 86400.0),
        (pa.array([True, None]), "float64", 1.0, 1.0),
        (pa.nulls(2), "float64", None, None),
        (pa.array([], pa.float64()), "float64", None, None),
    ],
)
def test_numbers_of_other_types(cells: pa.Array, kind: Kind, low: float | None, high: float | None) -> None:
    found = ColumnState.of(cells, kind).profile()
    assert isinstance(found.values, NumberProfile)
    assert (found.nulls, found.values.nan) == (cells.null_count, 0)
    assert (found.values.min, found.values.max) == (low, high)


# ---- categories

TEXT = st.sampled_from(["UA", "", "\U0001f600" * 80, "x" * 10_000]) | st.text(max_size=2)


@given(st.lists(st.none() | TEXT, max_size=60), CUTS, st.booleans(), st.randoms())
def test_few_values_are_counted_exactly_in_any_order(
    values: list[str | None], cuts: list[int], encode: Any, order: Any
) -> None:
    cells = pa.array(values, pa.string())
    parts = [part.dictionary_encode() if encode else part for part in pieces(cells, cuts)]
    order.shuffle(parts)
    found = ColumnState.merge([ColumnState.of(part, "string") for part in parts]).profile()
    assert found == ColumnState.of(cells, "string").profile()
    assert isinstance(found.values, ValueProfile)
    counts = Counter(value for value in values if value is not None)
    expected = sorted(counts.items(), key=lambda item: (-item[1], item[0].encode()))
    assert [count for _, count in found.values.top] == [count for _, count in expected][: len(found.values.top)]
    assert [text for text, _ in found.values.top if len(text) < 40] == [
        v for v, _ in expected[: len(found.values.top)] if len(v) < 40
    ]
    assert (found.values.error, found.values.distinct) == (0, (len(counts), len(counts)))
    assert sum(count for _, count in found.values.top) + found.values.other + found.nulls == len(values)
    assert len(json.dumps(found.to_dict())) <= 4096
    assert ColumnProfile.from_dict(json.loads(json.dumps(found.to_dict()))) == found


@given(st.lists(st.integers(0, 12).map(str), max_size=120), CUTS, st.integers(1, 6))
def test_many_values_are_counted_within_the_stated_error(values: list[str], cuts: list[int], limit: int) -> None:
    counts = Counter(values)
    parts = [pa.array(part, pa.string()) for part in pieces(values, cuts)]
    found = ColumnState.merge([ColumnState.of(part, "string", max_kept=limit) for part in parts]).profile()
    assert isinstance(found.values, ValueProfile)
    assert found.values.error <= len(values) / (limit + 1)
    assert len(found.values.top) <= limit
    for value, count in found.values.top:
        assert count <= counts[str(value)] <= count + found.values.error
    for value in counts.keys() - {value for value, _ in found.values.top}:
        assert counts[value] <= found.values.error
    assert found.values.distinct[0] <= len(counts) <= found.values.distinct[1]


def test_a_long_dictionary_is_bounded() -> None:
    cells = pa.array([f"id{i}" for i in range(30_000)] + ["common"] * 5000)
    state = ColumnState.merge([ColumnState.of(part, "string") for part in (cells[:20_000], cells[20_000:].dictionary_encode())])
    assert len(pickle.dumps(state)) < 50_000
    found = state.profile().values
    assert isinstance(found, ValueProfile)
    assert found.top == (("common", 4999),)
    assert (found.other, found.error) == (30_001, 2)
    assert found.distinct == (20_000, 30_001)


def test_a_dictionary_may_hold_null_and_a_value_twice() -> None:
    values = pa.array(["a", "b", "a", None, "unused"])
    cells = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, 3, None], pa.int8()), values)
    found = ColumnState.of(cells, "string").profile()
    assert isinstance(found.values, ValueProfile)
    assert (found.nulls, found.values.top, found.values.distinct) == (2, (("a", 2), ("b", 1)), (2, 2))


def test_long_texts_stay_apart() -> None:
    found = ColumnState.of(pa.array(["x" * 100 + end for end in "ab"]), "string").profile().values
    assert isinstance(found, ValueProfile)
    first, second = (str(text) for text, _ in found.top)
    assert first != second
    assert first[:40] == second[:40] == "x" * 40
    assert len(first) < 65


def test_booleans_are_values() -> None:
    found = ColumnState.of(pa.array([True, False, True, None]), "bool").profile()
    assert found.to_dict()["top"] == ((True, 2), (False, 1))
    assert ColumnProfile.from_dict(json.loads(json.dumps(found.to_dict()))) == found


# ---- times and lists


@given(
    st.lists(st.none() | st.datetimes(datetime(1000, 1, 1), datetime(2999, 12, 31)), max_size=30),
    CUTS,
    st.sampled_from(["timestamp", "date"]),
)
def test_times_have_a_range_and_counts_by_days(times: list[datetime | None], cuts: list[int], kind: Kind) -> None:
    cells = pa.array([t if t is None else t.date() if kind == "date" else t.replace(tzinfo=UTC) for t in times], ARROW[kind])
    found = ColumnState.merge([ColumnState.of(part, kind) for part in pieces(cells, cuts)]).profile()
    assert found == ColumnState.of(cells, kind).profile()
    assert ColumnProfile.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert isinstance(found.values, TimeProfile)
    assert len(found.values.counts) <= 64
    assert sum(found.values.counts) == len(times) - found.nulls
    present = sorted(time for time in times if time is not None)
    if present:
        first = date.fromisoformat(str(found.values.first_day))
        place = (present[-1].date() - first).days // found.values.days_per_bin
        assert place == len(found.values.counts) - 1
        assert datetime.fromisoformat(str(found.values.min)).date() == present[0].date()


def test_timestamps_of_other_units_are_the_same_instants() -> None:
    times = [datetime(2013, 1, 1, 5, tzinfo=UTC), datetime(2013, 1, 3, tzinfo=UTC)]
    for unit in ("s", "ms", "us", "ns"):
        found = ColumnState.of(pa.array(times, pa.timestamp(unit, "UTC")), "timestamp").profile().values
        assert found == TimeProfile(
            min="2013-01-01T05:00:00.000000Z",
            max="2013-01-03T00:00:00.000000Z",
            first_day="2013-01-01",
            days_per_bin=1,
            counts=(1, 0, 1),
        )


@pytest.mark.parametrize(
    ("cells", "kind", "expected"),
    [
        (pa.array([["a", None], None, []], pa.list_(pa.string())), "list<string>", (0, 2, 1.0, 2, 1, 0, 1, (1, 0, 1))),
        (pa.array([[1, 2, 3], [4]], pa.large_list(pa.int64())), "list<int64>", (1, 3, 2.0, 4, 0, 1, 1, (1, 0, 1))),
        (pa.array([[1.0, float("nan")], None], pa.list_(pa.float64(), 2)), "vector", (2, 2, 2.0, 2, 1, 2, 1, (1,))),
        (pa.nulls(2), "vector", (None, None, None, 0, 0)),
    ],
)
def test_lists_have_lengths_and_missing_elements(cells: pa.Array, kind: Kind, expected: tuple[Any, ...]) -> None:
    found = ColumnState.of(cells, kind).profile()
    names = [field.name for field in dataclasses.fields(ListProfile)]
    assert found.values == ListProfile(**dict(zip(names, expected, strict=False)))
    assert found.nulls == cells.null_count
    assert ColumnProfile.from_dict(json.loads(json.dumps(found.to_dict()))) == found


# ---- tables

KINDS: dict[str, Kind] = {"x": "float64", "s": "string", "t": "timestamp", "v": "vector", "b": "bool"}


def rows(num: int) -> pa.Table:
    start = datetime(2020, 1, 1, tzinfo=UTC)
    return pa.table(
        {
            "x": pa.array([None if i % 5 == 0 else i / 7 for i in range(num)], pa.float64()),
            "s": pa.array([f"s{i % 3}" for i in range(num)]).dictionary_encode(),
            "t": pa.array([start + timedelta(hours=i) for i in range(num)], US),
            "v": pa.array([[float(i), 1.0] for i in range(num)], pa.list_(pa.float64(), 2)),
            "b": pa.array([i % 2 == 0 for i in range(num)]),
            "other": pa.array([b""] * num),
        }
    )


def test_chunks_of_a_table_merge_to_its_profile() -> None:
    table = rows(100)
    chunks = [profile_chunk(table.slice(start, 30), KINDS) for start in range(0, 100, 30)]
    chunks = [
        {name: ColumnState.from_plain(pickle.loads(pickle.dumps(state)).to_plain()) for name, state in c.items()}
        for c in chunks
    ]
    merged = {name: state.profile() for name, state in merge_profiles(chunks).items()}
    whole = {name: state.profile() for name, state in profile_chunk(table, KINDS).items()}
    assert list(merged) == list(KINDS)
    for name in KINDS:
        one, two = (profiles[name].to_dict() for profiles in (merged, whole))
        assert [one.pop(fact, None) for fact in ("mean", "std")] == pytest.approx(
            [two.pop(fact, None) for fact in ("mean", "std")]
        )
        assert one == two
    assert merged["x"].null_share == 0.2
    joined = pa.concat_tables([table.slice(0, 40), table.slice(40)])  # two chunks with dictionaries of their own
    assert {name: state.profile() for name, state in profile_chunk(joined, KINDS).items()} == whole


def test_a_profile_with_a_fact_missing_is_refused() -> None:
    plain = ColumnState.of(pa.array([1.0]), "float64").profile().to_dict()
    del plain["edges"]
    with pytest.raises(ConfigError, match="edges"):
        ColumnProfile.from_dict(plain)
