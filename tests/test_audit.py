"""The measures of an audit: exact where they can be, the same however rows are cut, and judged by a table of cases."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from raypipe.audit import AsOf, Audit, Held, Measure, Pass, Refuse, Report, look_up, looked_ahead
from raypipe.audit._keys import code, row_hashes
from raypipe.audit._report import CheckName, Severity
from raypipe.audit._sample import HashSample
from raypipe.audit._strength import by_order, by_rate
from raypipe.audit._sums import Sums
from raypipe.core.config import build
from raypipe.core.errors import ConfigError

HOUR = 3_600_000_000
FLOATS = st.lists(st.floats(allow_nan=False, width=32) | st.sampled_from([0.0, -0.0, float("inf")]), min_size=2, max_size=60)


def sums(keys: np.ndarray, values: np.ndarray, limit: int) -> Sums:
    made = Sums.of(keys, values, np.arange(len(keys)) % 2, 2)
    return Sums(keys_D=made.keys_D, sums_DFV=made.sums_DFV, shift=made.shift, limit=limit)


def groups_of(x: Sequence[float], y: Sequence[bool]) -> np.ndarray:
    made = Sums.of(code(pa.array(x, pa.float64())).keys_N, np.stack([np.ones(len(y)), y], axis=1), np.zeros(len(y), int), 1)
    return made.sums_DFV[:, 0]


@given(FLOATS)
def test_keys_have_the_order_of_numbers(values: list[float]) -> None:
    keys = code(pa.array(values, pa.float64())).keys_N
    for i in range(len(values)):
        for j in range(len(values)):
            assert (keys[i] < keys[j]) == (values[i] < values[j])


@pytest.mark.parametrize("found", [pa.int8(), pa.int64(), pa.date32(), pa.timestamp("ns"), pa.duration("s"), pa.time32("ms")])
def test_whole_numbers_dates_and_times_keep_their_order(found: pa.DataType) -> None:
    narrow = pa.int64() if found.bit_width == 64 else pa.int32()
    column = pa.array([3, -100 if not pa.types.is_time(found) else 0, 7, None], narrow).cast(found)
    coded = code(column)
    assert coded.valid_N.tolist() == [True, True, True, False]
    assert np.argsort(coded.keys_N[:3]).tolist() == [1, 0, 2]


@given(st.lists(st.tuples(st.integers(0, 300), st.booleans()), min_size=1, max_size=80), st.data())
def test_sums_are_the_same_however_the_rows_are_cut_and_in_any_order(rows: list[tuple[int, bool]], data: st.DataObject) -> None:
    keys = np.array([key for key, _ in rows], np.uint64) * np.uint64(2**40 + 12345)
    values = np.array([[1.0, label] for _, label in rows])
    folds = np.arange(len(rows)) % 2
    cut = data.draw(st.integers(0, len(rows)))
    parts = [Sums.of(keys[p], values[p], folds[p], 2) for p in (slice(cut, None), slice(0, cut))]
    limited = [Sums(keys_D=p.keys_D, sums_DFV=p.sums_DFV, shift=p.shift, limit=8)._bounded() for p in parts]
    merged = Sums.merge(limited)
    whole = Sums.of(keys, values, folds, 2)
    bounded = Sums(keys_D=whole.keys_D, sums_DFV=whole.sums_DFV, shift=whole.shift, limit=8)._bounded()
    assert merged.shift == bounded.shift
    np.testing.assert_array_equal(merged.keys_D, bounded.keys_D)
    np.testing.assert_array_equal(merged.sums_DFV, bounded.sums_DFV)
    assert len(merged.keys_D) <= 8


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(-5, 5) | st.floats(-1, 1), st.booleans()), min_size=4, max_size=60))
def test_the_auc_of_an_order_is_that_of_scikit_learn(rows: list[tuple[float, bool]]) -> None:
    x, y = [float(a) for a, _ in rows], [b for _, b in rows]
    found = by_order("binary", groups_of(x, y))
    if len({*y}) == 1:
        assert (found.value, found.noise) == (0.5, float("inf"))
        return
    expected = roc_auc_score(y, x)
    assert found.value == pytest.approx(max(expected, 1 - expected), abs=1e-12)


def test_a_rank_correlation_is_spearmans() -> None:
    rng = np.random.default_rng(0)
    x = np.round(rng.normal(size=500), 1)
    y = np.round(x + rng.normal(size=500), 1)

    def ranks(values: np.ndarray) -> np.ndarray:
        _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
        return (np.cumsum(counts) - counts / 2)[place] / len(values) - 0.5

    r = ranks(y)
    made = Sums.of(code(pa.array(x)).keys_N, np.stack([np.ones(500), r, r**2], axis=1), np.zeros(500, int), 1)
    expected = np.corrcoef(ranks(x), r)[0, 1]
    assert by_order("regression", made.sums_DFV[:, 0]).value == pytest.approx(abs(expected), abs=1e-12)


def test_ten_thousand_categories_that_tell_nothing_have_no_strength_and_those_that_repeat_the_label_have_all() -> None:
    rng = np.random.default_rng(0)
    y = rng.random(50_000) < 0.3
    values = np.stack([np.ones(50_000), y], axis=1)
    folds = np.arange(50_000) % 4
    noise = Sums.of(rng.integers(0, 10_000, 50_000).astype(np.uint64), values, folds, 4)
    leak = Sums.of((rng.integers(0, 5_000, 50_000) * 2 + y).astype(np.uint64), values, folds, 4)
    assert by_rate("binary", noise.sums_DFV).value == pytest.approx(0.5, abs=0.02)
    assert by_rate("binary", leak.sums_DFV).value > 0.99


def test_the_interval_of_an_auc_is_that_of_hanley_and_mcneil_and_shrinks_with_the_rows() -> None:
    rng = np.random.default_rng(0)
    margins = []
    for num in (200, 20_000):
        y = np.arange(num) % 2 == 0
        found = by_order("binary", groups_of([*rng.normal(y * 1.8)], [*y]))
        assert found.value == pytest.approx(0.9, abs=0.03)
        margins.append(found.margin)
    assert margins[0] / 2.576 == pytest.approx(0.0219, abs=0.003)
    assert margins[0] / margins[1] == pytest.approx(10, rel=0.2)


def test_few_positives_are_never_told_by_chance() -> None:
    found = by_order("binary", groups_of([1.0, 2.0, 3.0, *range(4, 40)], [True, True, False, *[False] * 36]))
    assert found.value > 0.95
    assert found.value < found.noise


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.data())
def test_samples_of_hashes_are_the_same_however_the_rows_are_cut(rows: list[int], data: st.DataObject) -> None:
    hashes = np.array(rows, np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    other = np.zeros(len(rows), np.uint64)
    cut = data.draw(st.integers(0, len(rows)))
    merged = HashSample.merge([HashSample.of(hashes[cut:], other[cut:]), HashSample.of(hashes[:cut], other[:cut])])
    whole = HashSample.of(hashes, other)
    np.testing.assert_array_equal(merged.hash_D, whole.hash_D)
    np.testing.assert_array_equal(merged.count_D, whole.count_D)
    assert int(whole.count_D.sum()) == len(rows)


def test_a_sample_of_too_many_hashes_estimates_the_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raypipe.audit._sample.MAX_HASHES", 2_000)
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, 30_000).astype(np.uint64) * np.uint64(2)
    zeros = np.zeros(20_000, np.uint64)
    train, test = HashSample.of(hashes[:20_000], zeros), HashSample.of(hashes[10_000:], zeros)
    assert len(train.hash_D) == len(test.hash_D) == 2_000
    below = min(train.below, test.below)
    train, test = train.under(below), test.under(below)
    assert np.isin(test.hash_D, train.hash_D).mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a", None, "", "a", "ß"]),
        pa.array(["a", None, "", "a", "ß"]).dictionary_encode(),
        pa.array([[1, 2], None, [], [1, 2], [2, 1]]),
        pa.array([["x"], None, [], ["x"], [None]]),
        pa.array([[1.0, 2.0], None, [0.0, 0.0], [1.0, 2.0], [2.0, 1.0]], pa.list_(pa.float64(), 2)),
        pa.array([{"a": 1}, None, {"a": 0}, {"a": 1}, {"a": None}]),
        pa.array([1, None, 0, 1, 5], pa.decimal128(5, 1)),
        pa.array([b"1", None, b"", b"1", b"\xff"]),
        pa.array([1.5, float("nan"), 0.0, 1.5, float("inf")]),
    ],
    ids=lambda column: str(column.type),
)
def test_rows_have_equal_hashes_when_their_values_are_equal(column: pa.Array) -> None:
    hashes = row_hashes([code(column)], 5)
    assert hashes[0] == hashes[3]
    assert len({*hashes.tolist()}) == 4


def report(*measures: Measure, by_time: bool = False, task: str = "binary") -> Report:
    return Report(subject="x", label="y", task=task, split="", by_time=by_time, rows={}, columns=("a", "b"), measures=measures)


def measure(check: CheckName, value: float, *, column: str = "", noise: float = 0.0, margin: float = 0.0) -> Measure:
    return Measure(check=check, column=column, value=value, text="said", noise=noise, margin=margin)


@pytest.mark.parametrize(
    ("settings", "found", "refused"),
    [
        ({}, report(), False),
        ({}, report(measure("proxies", 0.9, column="a")), False),
        ({}, report(measure("proxies", 0.901, column="a")), True),
        ({}, report(measure("proxies", 0.99, column="a", noise=0.99)), False),
        ({}, report(measure("proxies", 0.92, column="a", margin=0.03)), False),
        ({}, report(measure("proxies", 0.94, column="a", margin=0.03)), True),
        ({"max_auc": 0.999}, report(measure("proxies", 0.99, column="a")), False),
        ({"max_auc": 0.999}, report(measure("proxies", 0.99, column="a"), task="regression"), True),
        ({"allow": {"a": "why"}}, report(measure("proxies", 1.0, column="a")), False),
        ({"allow": {"a": "why"}}, report(measure("proxies", 1.0, column="b")), True),
        ({"allow": {"a": "why"}}, report(measure("entity_overlap", 1.0, column="a")), True),
        ({"proxies": "warn"}, report(measure("proxies", 1.0, column="a")), False),
        ({"proxies": "off"}, report(measure("proxies", 1.0, column="a")), False),
        ({}, report(measure("entity_overlap", 0.001)), True),
        ({}, report(measure("entity_overlap", 1.0), by_time=True), False),
        ({"entity_overlap": "fail"}, report(measure("entity_overlap", 1.0), by_time=True), True),
        ({"max_entity_overlap": 0.01}, report(measure("entity_overlap", 0.001)), False),
        ({}, report(measure("duplicates", 0.01)), False),
        ({}, report(measure("duplicates", 0.02)), True),
        ({}, report(measure("duplicates", 0.02), by_time=True), False),
        ({}, report(measure("time_overlap", 0.0), by_time=True), False),
        ({}, report(measure("time_overlap", 1e-9), by_time=True), True),
        ({}, report(measure("known_later", 0.91, column="a")), True),
        ({}, report(measure("statistics", 1.0)), True),
        ({}, report(measure("look_ahead", 0.002, column="v")), True),
    ],
)
def test_the_policy_refuses_what_is_above_its_bounds(settings: dict[str, object], found: Report, refused: bool) -> None:  # noqa: FBT001
    decision = build(settings, Audit).decide(found)
    assert isinstance(decision, Refuse if refused else Pass)


@pytest.mark.parametrize(
    ("by_time", "severities"),
    [(False, ("fail", "fail")), (True, ("off", "warn"))],
)
def test_returning_customers_are_a_leak_only_where_the_split_is_not_by_time(
    by_time: bool,  # noqa: FBT001
    severities: tuple[Severity, Severity],
) -> None:
    audit = Audit()
    found = tuple(audit.severity(check, by_time=by_time) for check in ("entity_overlap", "duplicates"))
    assert found == severities


def test_a_hint_warns_and_never_refuses_and_what_is_allowed_says_why() -> None:
    hint = Measure(check="look_ahead", column="a", value=1.0, text="said", weight="hint")
    audit = Audit(allow={"b": "measured before"})
    found = report(hint, measure("proxies", 1.0, column="b"))
    assert audit.decide(found) == Pass(warnings=("look_ahead: a: said",))
    assert [(f.severity, f.text) for f in audit.findings(found)] == [
        ("allowed", "said; allowed: measured before"),
        ("warn", "said"),
    ]


def test_a_report_is_the_same_after_it_was_stored() -> None:
    found = report(measure("proxies", 0.7, column="a"), by_time=True)
    assert Report.from_dict(found.to_dict()) == found


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_auc": 0.4}, "max_auc"),
        ({"proxies": "maybe"}, "proxies"),
        ({"entity": []}, "entity"),
        ({"proxys": "warn"}, "did you mean proxies"),
        ({"gap": "3 parsecs"}, "such as 90m, 3h or 7d"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build(settings, Audit)


PRICES = pa.table(
    {
        "shop": ["a", "a", "a", "b", None],
        "price": [1.0, 2.0, 1.0, float("nan"), 5.0],
        "at": pa.array([0, 10 * HOUR, 20 * HOUR, 5 * HOUR, 0], pa.timestamp("us", "UTC")),
        "known": pa.array([0, 15 * HOUR, 20 * HOUR, None, 0], pa.timestamp("us", "UTC")),
    }
)


@pytest.mark.parametrize("cut", range(6))
@pytest.mark.parametrize(
    ("rule", "shop", "at_h", "price", "told"),
    [
        ({}, "a", 10, 2.0, "same"),
        ({}, "a", 9, 2.0, "later"),
        ({}, "a", 12, 1.0, "other"),
        ({}, "a", 25, 1.0, "same"),
        ({}, "b", 6, None, "same"),
        ({}, "a", 9, 7.0, "other"),
        ({}, None, 9, 5.0, "other"),
        ({"lead_time": timedelta(hours=1)}, "a", 10, 2.0, "later"),
        ({"lead_time": timedelta(hours=1)}, "a", 11, 2.0, "same"),
        ({"known_time": "known"}, "a", 12, 2.0, "later"),
        ({"known_time": "known"}, "a", 12, 1.0, "same"),
        ({"known_time": "known"}, "b", 12, None, "other"),
        ({"ttl": timedelta(hours=3)}, "a", 13, 2.0, "same"),
        ({"ttl": timedelta(hours=3)}, "a", 14, 2.0, "other"),
    ],
)
def test_joined_values_are_looked_up_again_in_the_rows_of_the_view(
    rule: dict[str, Any],
    shop: str | None,
    at_h: int,
    price: float | None,
    told: str,
    cut: int,
) -> None:
    at = pa.array([at_h * HOUR], pa.timestamp("us", "UTC"))
    sample = pa.table({"where": pa.array([shop], pa.string()), "v_price": pa.array([price], pa.float64()), "t": at})
    as_of = AsOf(entity={"where": "shop"}, values={"v_price": "price"}, at="t", event_time="at", **rule)
    held = Held.merge([look_up(sample, PRICES.slice(cut), as_of), look_up(sample, PRICES.slice(0, cut), as_of)])
    found = looked_ahead("prices", held, as_of.ttl)
    assert found.value == float(told != "same")
    assert ("from after it" in found.text) == (told == "later")
