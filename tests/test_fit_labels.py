"""Sums of labels and the encodings made of them, against the formula and in any splitting of rows."""

import pickle
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fit_parts import CUTS, DISGUISES, disguised, pieces
from hypothesis import given
from hypothesis import strategies as st

from raypipe.features._protocols import Labels
from raypipe.features._targets import TargetSums


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
