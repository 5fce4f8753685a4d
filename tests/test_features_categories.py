"""Kinds over categories, lists and clocks: each value is that of a count, a formula or the standard library."""

import datetime as dt
import hashlib
import math
import zoneinfo
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from feature_parts import NEW_YORK, US, feature_set, fit, fitted, labels, output, values
from feature_rows import DATES, TIMES

CATEGORY = {"kind": "category"}
CELLS = ["b", "a", "c", "c", None, "d", "a", "\u00e9", "Z"]
TABLE = pa.table(
    {"c": CELLS, "n": [5, 5, 7, 9, 9, None, 9, 10, -3], "f": [True, False, True, None, True, True, False, None, True]}
)


@pytest.mark.parametrize(
    ("settings", "known"),
    [
        ({}, ["a", "c", "Z", "b", "d", "\u00e9"]),
        ({"min_count": 2}, ["a", "c"]),
        ({"max_size": 3}, ["a", "c", "Z"]),
        ({"max_size": 1}, ["a"]),
        ({"max_size": 3, "min_count": 2}, ["a", "c"]),
        ({"max_size": 500}, ["a", "c", "Z", "b", "d", "\u00e9"]),
    ],
)
def test_an_index_is_the_rank_by_count_then_bytes_and_the_rest_is_zero(settings: dict[str, Any], known: list[str]) -> None:
    found = fitted(feature_set(c=CATEGORY | settings), TABLE, cuts=[1, 4])
    cells = [*CELLS, "A", "a ", "e\u0301", ""]
    assert values(found, pa.table({"c": cells}))["c"] == [1 + known.index(cell) if cell in known else 0 for cell in cells]
    assert found.specs.cardinalities == (1 + len(known),)


def test_whole_numbers_and_booleans_are_categories_of_their_own_kind() -> None:
    found = fitted(feature_set(n=CATEGORY | {"min_count": 2}, f=CATEGORY), TABLE, cuts=[2, 3])
    assert values(found, TABLE) == {"n": [2, 2, 0, 1, 1, 0, 1, 0, 0], "f": [1, 2, 1, 0, 1, 1, 2, 0, 1]}
    assert [vars(out)["vocabulary"].values.to_pylist() for out in found.outputs] == [[9, 5], [True, False]]


@pytest.mark.parametrize("settings", [{}, {"min_count": 2}, {"max_size": 3}])
def test_one_hot_has_a_column_for_each_known_value_and_frequency_the_share_of_rows(settings: dict[str, Any]) -> None:
    found = fitted(
        feature_set(
            hot=CATEGORY | settings | {"column": "c", "encode": "one_hot"},
            share=CATEGORY | settings | {"column": "c", "encode": "frequency"},
        ),
        TABLE,
        cuts=[4],
    )
    count = Counter(cell for cell in CELLS if cell is not None)
    ranked = sorted(count, key=lambda value: (-count[value], value.encode()))
    known = [value for value in ranked if count[value] >= settings.get("min_count", 1)][: settings.get("max_size")]
    cells = [*CELLS, "new"]
    answer = values(found, pa.table({"c": cells}))
    assert list(answer) == [*(f"hot_{value}" for value in known), "share"]
    for value in known:
        assert answer[f"hot_{value}"] == [float(cell == value) for cell in cells]
    expected = [np.float32(count[cell] / len(CELLS)) if cell in known else 0.0 for cell in cells]
    assert answer["share"] == expected


def test_a_cross_is_known_by_the_texts_of_its_columns_and_null_where_one_is_null() -> None:
    found = fitted(feature_set(x={"kind": "cross", "columns": ["c", "n", "f"], "min_count": 1}), TABLE, cuts=[3])
    texts = [
        None if None in (c, n, f) else f"{c} | {n} | {str(f).lower()}"
        for c, n, f in zip(*(TABLE[name].to_pylist() for name in "cnf"), strict=True)
    ]
    ranked = sorted({text for text in texts if text})  # each occurs once
    assert values(found, TABLE)["x"] == [ranked.index(text) + 1 if text else 0 for text in texts]
    other = pa.table({"c": ["b", "b"], "n": [5, 7], "f": [True, True]})
    assert values(found, other)["x"] == [ranked.index("b | 5 | true") + 1, 0]


def test_different_values_are_never_one_cross() -> None:
    texts = ["a", "b", "a | b", "b | c", "c", "\\", "\\\\", "|", "\\|", " ", "", " |", "| ", "\u00e9 | ", "\u0142|\u0142", None]
    pairs = [(left, right) for left in texts for right in texts]
    plain = pa.table({"l": [left for left, _ in pairs], "r": [right for _, right in pairs]})
    found = fitted(feature_set(x={"kind": "cross", "columns": ["l", "r"]}), plain, cuts=[100])
    index = values(found, plain)["x"]
    known = [i for i, pair in zip(index, pairs, strict=True) if None not in pair]
    assert len(known) == len(set(known)) == 15 * 15
    assert {i for i, pair in zip(index, pairs, strict=True) if None in pair} == {0}
    encoded = pa.table({name: plain[name].combine_chunks().dictionary_encode() for name in plain.column_names})
    for table in (plain, encoded):
        for start, stop in ((0, len(pairs)), (37, 90), (len(pairs) - 1, len(pairs)), (14, 15)):
            assert values(found, table.slice(start, stop - start))["x"] == index[start:stop]
        assert found.transform(table.slice(3, 0))["categories_NC"].shape == (0, 1)


def test_a_cross_is_readable_and_marks_only_bars_and_backslashes_in_texts() -> None:
    table = pa.table({"s": ["UA", "a | b", "c:\\d"], "t": ["New York", "|", ""], "n": [1, -1, 0]})
    (found,) = fitted(feature_set(x={"kind": "cross", "columns": ["s", "t", "n"]}), table).outputs
    written = ["UA | New York | 1", "a \\| b | \\| | -1", "c:\\\\d |  | 0"]
    assert sorted(vars(found)["vocabulary"].values.to_pylist()) == sorted(written)


@pytest.mark.parametrize("seed", [0, 7, 2**63 - 1])
def test_a_hash_is_one_more_than_the_seeded_digest_modulo_the_buckets(seed: int) -> None:
    cells = ["UA", "", "\u00e9" * 10_000, None, "3"]
    table = pa.table({"s": cells, "n": [3, None, -1, 2**63 - 1, 0], "f": [True, False, None, True, True]})
    found = fitted(feature_set(all={"kind": "hash", "columns": ["s", "n", "f"], "buckets": 1009, "seed": seed}), table)
    digests = [
        hashlib.blake2b((cell or "").encode(), digest_size=8, salt=seed.to_bytes(8, "little"), person=b"raypipe string")
        for cell in cells
    ]
    answer = values(found, table)
    assert answer["s"] == [
        0 if cell is None else 1 + int.from_bytes(digest.digest(), "little") % 1009
        for cell, digest in zip(cells, digests, strict=True)
    ]
    assert found.specs.cardinalities == (1010,) * 3
    assert [answer["n"][1], answer["f"][2]] == [0, 0]
    assert all(1 <= i <= 1009 for i in (*answer["n"][2:], *answer["f"][3:]))
    assert answer["s"][4] != answer["n"][0], "3 is not its text"


def test_another_seed_gives_other_collisions() -> None:
    table = pa.table({"n": range(200)})
    specs = {f"h{seed}": {"kind": "hash", "column": "n", "buckets": 50, "seed": seed} for seed in (0, 1)}
    one, other = (np.array(cells) for cells in values(fitted(feature_set(**specs), table), table).values())
    together = [{(i, j) for i in range(200) for j in range(i) if index[i] == index[j]} for index in (one, other)]
    assert len(together[0] & together[1]) < len(together[0]) / 5


Y = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0]
FOLD = [0, 1, 2, 0, 1, 2, 0, 1, 2]


def mean_label(cell: str | None, rows: Sequence[int], smoothing: float) -> float:
    """(sum of y + smoothing * prior) / (rows + smoothing), of the rows that may be seen."""
    prior = sum(Y[i] for i in rows) / len(rows) if rows else sum(Y) / len(Y)
    own = [Y[i] for i in rows if cell is not None and CELLS[i] == cell]
    return prior if not own else (sum(own) + smoothing * prior) / (len(own) + smoothing)


@pytest.mark.parametrize("smoothing", [0, 1.5, 20])
@pytest.mark.parametrize("past_only", [False, True])
def test_a_target_encoding_is_the_smoothed_mean_label_and_leaves_out_the_fold_of_a_training_row(
    smoothing: float, past_only: Any
) -> None:
    features = feature_set(c={"kind": "target", "smoothing": smoothing}, n={"kind": "number"})
    known = labels(Y, FOLD, past_only=past_only)
    result = fit(features, TABLE, cuts=[2, 6], known=known)
    cells = [*CELLS, "new"]
    every = range(len(CELLS))
    answer = values(result.features, pa.table({"c": cells, "n": range(len(cells))}))
    np.testing.assert_allclose(answer["c"], [mean_label(cell, every, smoothing) for cell in cells], rtol=1e-6)
    assert result.folds is not None
    tensors = result.folds.transform(result.features, TABLE, known.fold_N)
    out_of_fold = [
        mean_label(cell, [i for i in every if (FOLD[i] < fold if past_only else FOLD[i] != fold)], smoothing)
        for cell, fold in zip(CELLS, FOLD, strict=True)
    ]
    np.testing.assert_allclose(output(result.features, tensors, "c"), out_of_fold, rtol=1e-6)
    served = result.features.transform(TABLE)
    assert output(result.features, tensors, "n").tobytes() == output(result.features, served, "n").tobytes()


def test_features_without_labels_have_no_encodings_by_fold() -> None:
    assert fit(feature_set(c=CATEGORY), TABLE).folds is None


@pytest.mark.parametrize(
    ("cells", "settings", "known"),
    [
        ([["p", "q", "p"], None, ["q", None], [], ["r"], ["q", "s"]], {}, ["q", "p", "r", "s"]),
        ([["p", "q", "p"], None, ["q", None], [], ["r"], ["q", "s"]], {"min_count": 2}, ["q", "p"]),
        ([["p", "q", "p"], None, ["q", None], [], ["r"], ["q", "s"]], {"max_size": 3}, ["q", "p", "r"]),
        ([[3, 1], None, [3, None], [-(2**63), 2**53 + 1]], {}, [3, -(2**63), 1, 2**53 + 1]),
    ],
)
def test_multi_hot_marks_every_known_value_that_a_list_holds_once(cells: Any, settings: Any, known: Sequence[Any]) -> None:
    table = pa.table({"tags": cells})
    found = fitted(feature_set(tags={"kind": "multi_hot", **settings}), table, cuts=[2])
    other = pa.table({"tags": pa.array([*cells, [known[0]] * 3, [known[1], known[0]]], table["tags"].type)})
    answer = values(found, other)
    assert list(answer) == [f"tags_{value}" for value in known]
    for value in known:
        assert answer[f"tags_{value}"] == [float(value in (cell or [])) for cell in other["tags"].to_pylist()]


ZONES = [NEW_YORK, "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Monrovia", "UTC"]
PARTS = ["second", "minute", "hour", "weekday", "day", "dayofyear", "week", "month", "quarter", "year"]
FIRST = {"day": 1, "dayofyear": 1, "week": 1, "month": 1, "quarter": 1}
NUMBER_OF = {
    "second": 60,
    "minute": 60,
    "hour": 24,
    "weekday": 7,
    "day": 31,
    "dayofyear": 366,
    "week": 53,
    "month": 12,
    "quarter": 4,
}
CHANGES = [
    dt.datetime(*day, tzinfo=dt.UTC) + dt.timedelta(minutes=15 * i)
    for day in [(2013, 3, 10, 5), (2013, 11, 3, 4), (2013, 4, 6, 14), (2013, 10, 5, 14), (2012, 12, 31, 22), (1972, 1, 7, 0)]
    for i in range(12)
]
INSTANTS = [*CHANGES, *(time for time in TIMES if 1 < time.year < 9999)]


def parts_of(local: dt.datetime | dt.date, clock: dt.time) -> dict[str, int]:
    return {
        "second": clock.second,
        "minute": clock.minute,
        "hour": clock.hour,
        "weekday": local.weekday(),
        "day": local.day,
        "dayofyear": local.timetuple().tm_yday,
        "week": local.isocalendar().week,
        "month": local.month,
        "quarter": (local.month + 2) // 3,
        "year": local.year,
    }


@pytest.mark.parametrize("zone", [*ZONES, None])
def test_calendar_parts_are_those_of_the_clock_of_the_zone_and_a_date_has_none(zone: str | None) -> None:
    if zone is None:
        table = pa.table({"t": pa.array([*DATES, None], pa.date32())})
        expected = [parts_of(day, dt.time(0)) for day in DATES]
    else:
        table = pa.table({"t": pa.array([*INSTANTS, None], US)})
        locals_ = [time.astimezone(zoneinfo.ZoneInfo(zone)) for time in INSTANTS]
        expected = [parts_of(local, local.time()) for local in locals_]
    spec = {"kind": "calendar", "column": "t", "zone": zone or "UTC", "parts": PARTS}
    fixed = spec | {"parts": PARTS[:-1]}
    found = fitted(feature_set(n=spec, c=fixed | {"as": "category"}, o=fixed | {"as": "cyclic"}), table)
    answer = values(found, table)
    for part in PARTS:
        assert answer[f"n_{part}"][:-1] == [parts[part] for parts in expected], part
        assert math.isnan(answer[f"n_{part}"][-1])
    for part, size in NUMBER_OF.items():
        places = [parts[part] - FIRST.get(part, 0) for parts in expected]
        assert answer[f"c_{part}"] == [*(place + 1 for place in places), 0], part
        for name, of in (("sin", math.sin), ("cos", math.cos)):
            circle = [of(2 * math.pi * place / size) for place in places]
            np.testing.assert_allclose(answer[f"o_{part}_{name}"], [*circle, math.nan], atol=1e-7)
    assert found.specs.cardinalities == tuple(size + 1 for size in NUMBER_OF.values())


def test_a_scaled_calendar_part_has_mean_zero_and_deviation_one() -> None:
    table = pa.table({"t": pa.array([dt.datetime(2013, 1, 1, hour, tzinfo=dt.UTC) for hour in range(24)], US)})
    spec = {"kind": "calendar", "zone": "UTC", "parts": ["hour"], "scale": "standard"}
    hours = values(fitted(feature_set(t=spec), table), table)["t_hour"]
    np.testing.assert_allclose(hours, (np.arange(24) - 11.5) / np.std(np.arange(24)), rtol=1e-6)
