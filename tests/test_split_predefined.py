"""A column that names the split, and what becomes of values that name none."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from raypipe.core.config import build
from raypipe.core.errors import ConfigError
from raypipe.split import FittedSplit, PredefinedSplit, fit_split, groups_of, is_stable


def split_of(**settings: Any) -> PredefinedSplit:
    return build({"column": "fold", **settings}, PredefinedSplit)


def assigned(split: PredefinedSplit, values: Sequence[Any], size: int = 2) -> list[str | None]:
    rows = pa.table({"fold": pa.array(values)})
    pieces = [rows.slice(i, size) for i in range(0, rows.num_rows, size)]
    fitted = fit_split(split, lambda question: [question(piece) for piece in pieces], key=("id",), at=None)
    return [name for piece in pieces for name in fitted.assign(piece, key=("id",), at=None).to_pylist()]


@pytest.mark.parametrize(
    ("settings", "values"),
    [
        ({}, ["train", "validation", "test"]),
        ({"train": ["learn"], "validation": ["dev"], "test": ["final"]}, ["learn", "dev", "final"]),
        ({"train": [1, 2], "validation": [3], "test": [4]}, [2, 3, 4]),
        ({"train": ["1"], "validation": ["-3"], "test": ["4"]}, [1, -3, 4]),
        ({"train": [""], "validation": ["ü"], "test": ["a b"]}, ["", "ü", "a b"]),
    ],
)
def test_the_column_names_the_split_under_the_names_that_its_values_have(settings: dict[str, Any], values: list[Any]) -> None:
    assert assigned(split_of(**settings), values) == ["train", "validation", "test"]


def test_two_values_of_a_boolean_and_null_are_three_splits_only_when_each_is_named() -> None:
    with pytest.raises(ConfigError, match="each of train, validation and test needs a value"):
        split_of(train=[True], validation=[], test=[False])
    assert assigned(split_of(train=[True], validation=["none"], test=[False]), [True, False]) == ["train", "test"]


def test_values_that_name_no_split_refuse_all_rows_and_are_counted_over_all_of_them() -> None:
    values = ["train", "tset", None, "tset", "test", "Train", "dev", "x"]
    with pytest.raises(ConfigError) as caught:
        assigned(split_of(), values)
    assert str(caught.value).endswith(
        "split.column: fold is 'tset' in 2 rows, 'Train' in 1 rows, 'dev' in 1 rows and more; "
        "expected one of train, validation, test; name it, or set split.unknown=set_aside"
    )


def test_values_that_name_no_split_can_be_set_aside_with_a_reason() -> None:
    found = assigned(split_of(unknown="set_aside"), ["train", "tset", None, "test"])
    assert found == ["train", "fold names no split", "fold names no split", "test"]


def test_it_asks_the_rows_only_when_it_may_refuse_them() -> None:
    def ask(question: Any, /) -> list[Any]:
        raise AssertionError("asked")

    split = split_of(unknown="set_aside")
    assert fit_split(split, ask, key=("id",), at=None) is split
    with pytest.raises(AssertionError):
        fit_split(split_of(), ask, key=("id",), at=None)


def test_rows_that_the_author_kept_together_are_the_groups_of_folds() -> None:
    split = split_of(together=["patient"])
    assert (split.columns, groups_of(split)) == (("fold", "patient"), ("patient",))
    assert groups_of(split_of()) == ()
    assert isinstance(split, FittedSplit)
    assert is_stable(split)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"train": ["a"], "test": ["a"]}, "'a' is named twice"),
        ({"train": []}, "needs a value"),
        ({"unknown": "drop"}, "unknown"),
        ({"colum": "x"}, "did you mean column"),
    ],
)
def test_names_that_cannot_be_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        split_of(**settings)
