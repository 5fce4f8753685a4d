"""Stratified splits: every class within one row of its share, rare ones too, whatever the order and the pieces of the rows."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.core.config import build
from raypipe.core.errors import ConfigError
from raypipe.split import LABEL, SPLITS, KFold, Split, StratifiedSplit, _strata, fit_split, is_stable
from raypipe.split._points import points
from raypipe.split._strata import apportion

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}


def labelled(labels: Sequence[str | None], ids: Sequence[int] | None = None) -> pa.Table:
    return pa.table(
        {"id": pa.array(ids if ids is not None else range(len(labels)), pa.int64()), LABEL: pa.array(labels, pa.string())}
    )


def pieces_of(rows: pa.Table, size: int) -> Callable[..., list[Any]]:
    """Asks as the driver of a preparation does: piece by piece."""
    slices = [rows.slice(i, size) for i in range(0, rows.num_rows, size)] or [rows]
    return lambda question: [question(piece) for piece in slices]


def split_of(split: Split, rows: pa.Table, size: int = 1000) -> dict[int, str | None]:
    fitted = fit_split(split, pieces_of(rows, size), key=("id",), at=None)
    names = [fitted.assign(rows.slice(i, size), key=("id",), at=None).to_pylist() for i in range(0, rows.num_rows, size)]
    return dict(zip(rows.column("id").to_pylist(), [name for found in names for name in found], strict=True))


def counts(where: Mapping[int, str | None], rows: pa.Table) -> dict[str, Counter[str | None]]:
    found: dict[str, Counter[str | None]] = {}
    for row in rows.to_pylist():
        found.setdefault(row[LABEL], Counter())[where[row["id"]]] += 1
    return found


classes = st.lists(st.sampled_from(["a", "b", "c", "d", "", "ü"]), min_size=1, max_size=120)
shares = st.tuples(*[st.integers(1, 20)] * 3).map(lambda parts: [part / sum(parts) for part in parts])


@given(classes, shares, st.integers(0, 3))
def test_each_split_is_within_one_row_of_its_share_of_each_class(labels: list[str], wanted: list[float], seed: int) -> None:
    rows = labelled(labels)
    split = StratifiedSplit(train=wanted[0], validation=wanted[1], test=wanted[2], seed=seed)
    for name, found in counts(split_of(split, rows), rows).items():
        total = labels.count(name)
        assert found.total() == total
        assert None not in found
        for where, share in zip(SPLITS, wanted, strict=True):
            assert abs(found[where] - share * total) < 1 + 1e-6


@given(classes, st.integers(1, 30), st.randoms(use_true_random=False))
def test_neither_the_order_of_the_rows_matters_nor_how_they_are_cut(labels: list[str], size: int, random: Any) -> None:
    rows = labelled(labels)
    where = split_of(StratifiedSplit(), rows)
    order = random.sample(range(len(labels)), len(labels))
    moved = rows.take(pa.array(order))
    assert split_of(StratifiedSplit(), moved, size) == where


@pytest.mark.parametrize(
    ("num", "expected"),
    [(1, [(1, 0, 0)]), (2, [(1, 1, 0), (1, 0, 1)]), (3, [(1, 1, 1)]), (4, [(2, 1, 1)]), (5, [(3, 1, 1)]), (10, [(6, 2, 2)])],
)
def test_a_class_with_few_rows_is_learned_from_first_and_then_in_every_split(num: int, expected: list[tuple[int, ...]]) -> None:
    found = [tuple(apportion(num, [0.6, 0.2, 0.2], name=f"class {i}", seed=0, first=0)) for i in range(50)]
    assert {*found} == {*expected}


def test_one_row_within_its_share_comes_before_a_row_in_every_split() -> None:
    assert apportion(3, [0.9, 0.05, 0.05], name="a", seed=0, first=0)[0] == 2  # 2.7 of them: 2 or 3


def test_over_many_small_classes_no_split_is_favoured() -> None:
    tests = sum(apportion(2, [0.6, 0.2, 0.2], name=f"class {i}", seed=0, first=0)[2] for i in range(2000))
    assert 900 < tests < 1100
    folds = np.sum([apportion(3, [0.2] * 5, name=f"class {i}", seed=0) for i in range(2000)], axis=0)
    assert folds.min() > 1100


@given(st.integers(0, 500), shares)
def test_parts_sum_to_the_whole_and_are_less_than_a_row_off(num: int, wanted: list[float]) -> None:
    sizes = apportion(num, wanted, name="a", seed=0, first=0)
    assert sum(sizes) == num
    assert all(abs(size - num * share) < 1 + 1e-6 for size, share in zip(sizes, wanted, strict=True))
    assert num == 0 or sizes[0] > 0


def test_the_split_is_what_sorting_all_hashes_in_one_place_gives() -> None:
    rng = np.random.default_rng(0)
    labels = np.array(["common", "rare", "rarest"])[np.searchsorted([0.98, 0.999], rng.random(60_000))].tolist()
    rows = labelled(labels)
    where = split_of(StratifiedSplit(seed=3), rows, size=7_000)
    hash_N, names = points(rows, ("id",), seed=3), np.array(labels)
    for name in ("common", "rare", "rarest"):
        ids = np.flatnonzero(names == name)
        ordered = ids[np.argsort(hash_N[ids])]
        sizes = apportion(len(ids), [0.6, 0.2, 0.2], name=f"{len(name)}:{name}", seed=3, first=0)
        expected = np.repeat(SPLITS, sizes)
        assert [where[i] for i in ordered.tolist()] == expected.tolist()


def test_few_hashes_leave_a_worker_and_a_bad_guess_costs_a_pass_only(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = labelled(["a"] * 50_000)
    answers: list[Any] = []

    def ask(question: Callable[[pa.Table], Any]) -> list[Any]:
        answers.append([question(rows.slice(i, 10_000)) for i in range(0, 50_000, 10_000)])
        return answers[-1]

    wanted = fit_split(StratifiedSplit(), ask, key=("id",), at=None)
    assert len(answers) == 2
    assert sum(len(hashes) for answer in answers[1] for _, hashes in answer.values()) < 16 * 2 * 50_000**0.5
    answers.clear()
    monkeypatch.setattr(_strata, "_SIGMAS", 0.001)  # the rank is hardly ever where it is looked for first
    assert fit_split(StratifiedSplit(), ask, key=("id",), at=None) == wanted
    assert 2 < len(answers) < 6


@given(st.integers(2, 12), st.integers(0, 15), st.integers(0, 15), st.integers(0, 99))
def test_wherever_a_rank_is_looked_for_first_it_is_found(num: int, low: int, length: int, seed: int) -> None:
    strata, rows = _strata.Strata(columns=(LABEL,), key=("id",), seed=seed, cuts={}), labelled(["a"] * num)
    wanted = [_strata._Rank("1:a", rank, num) for rank in range(1, num)]
    window = (low << 60, min(2**64 - 1, low + length << 60))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_strata._Rank, "window", lambda _: window)
        found = strata._select(pieces_of(rows, 5), wanted)
    assert [found[one] for one in wanted] == sorted(points(rows, ("id",), seed=seed).tolist())[1:]


def test_columns_may_be_the_classes_and_null_is_one_of_them() -> None:
    rng = np.random.default_rng(1)
    place = pa.array(rng.integers(0, 3, 300), mask=rng.random(300) < 0.3)
    rows = pa.table({"id": np.arange(300), "place": place, "good": rng.random(300) < 0.5})
    split = StratifiedSplit(by=("place", "good"))
    assert split.columns == ("place", "good")
    assert split.groups == ()
    found: dict[Any, Counter[Any]] = {}
    where = split_of(split, rows, 50)
    for row in rows.to_pylist():
        found.setdefault((row["place"], row["good"]), Counter())[where[row["id"]]] += 1
    assert len(found) == 8
    for its in found.values():
        assert all(abs(its[name] - SHARES[name] * its.total()) < 1 for name in SPLITS)


def test_too_many_classes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_strata, "MAX_CLASSES", 10)
    with pytest.raises(ConfigError, match="split: id has more than 10 classes; stratify by fewer"):
        split_of(StratifiedSplit(by=("id",)), labelled(["a"] * 20))


@given(classes, st.integers(3, 7), st.booleans())
def test_each_row_is_tested_once_over_all_folds_and_in_train_otherwise(labels: list[str], folds: int, stratified: bool) -> None:  # noqa: FBT001
    rows = labelled(labels)
    stratify: Any = "label" if stratified else None
    runs = [split_of(KFold(folds=folds, test=i, stratify=stratify), rows, 40) for i in range(folds)]
    for row in range(len(labels)):
        assert Counter(run[row] for run in runs) == {"test": 1, "validation": 1, "train": folds - 2}
    tested = [{row for row, name in run.items() if name == "test"} for run in runs]
    chosen = [{row for row, name in run.items() if name == "validation"} for run in runs]
    assert chosen == [*tested[1:], tested[0]]
    if stratified:
        for name in {*labels}:
            sizes = [sum(labels[row] == name for row in fold) for fold in tested]
            assert max(sizes) - min(sizes) <= 1


@given(st.lists(st.sampled_from(["a", "b", "c", "d", None]), min_size=1, max_size=60))
def test_folds_keep_groups_together_and_never_move_a_row_as_data_grow(groups: list[str | None]) -> None:
    rows = pa.table({"id": range(len(groups)), "group": pa.array(groups, pa.string())})
    split = KFold(folds=4, test=1, validation=3, by=("group",))
    where = split_of(split, rows)
    assert len({*zip(groups, where.values(), strict=True)}) == len({*groups})
    half = rows.slice(0, len(groups) // 2)
    assert split_of(split, half) == {row: where[row] for row in range(half.num_rows)}
    assert split.groups == ("group",)
    assert is_stable(split)
    assert not is_stable(KFold(stratify="label"))
    assert not is_stable(StratifiedSplit())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"folds": 2}, "folds"),
        ({"test": 5}, "test=5 is no fold of 5, which are 0 to 4"),
        ({"validation": 7}, "validation=7 is no fold"),
        ({"test": 1, "validation": 1}, "the same fold"),
        ({"by": ["a"], "stratify": "label"}, "by and stratify"),
        ({"stratify": "lable"}, "stratify"),
        ({"by": []}, "by"),
    ],
)
def test_folds_that_cannot_be_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build(settings, KFold)


@pytest.mark.parametrize("settings", [{"train": 0.5}, {"train": 0.8, "test": 0.0}, {"train": float("nan")}, {"by": []}])
def test_shares_that_cannot_be_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        build(settings, StratifiedSplit)
