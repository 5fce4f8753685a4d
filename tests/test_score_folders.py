"""Folders of predictions: which there can be, and what they are called."""

import pyarrow as pa
import pytest

from raypipe.core.config import build
from raypipe.core.errors import ConfigError
from raypipe.score import Scoring
from raypipe.score._folders import MOST_FOLDERS, by_folder, check_folders

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("label", pa.string()),
        ("at", pa.timestamp("us", "UTC")),
        ("score", pa.float64()),
        ("day", pa.date32()),
        ("image", pa.binary()),
    ]
)


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("carrier", "predictions have no column carrier; they have id, label, at, score, day, image"),
        ("hour(day)", "hour(day) is of a time, and day is date32[day]"),
        ("image", "image is binary, which has no name; take another column"),
        ("day(label)", "day(label) is of a time, and label is string"),
        ("at", "take another column, or the day of a time"),
        ("score", "score is double"),
        ("week(at)", "'week(at)' is no folder; write a column, or year, month, day or hour of a time"),
    ],
)
def test_folders_that_cannot_be_are_refused_with_what_can(folder: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_folders(build({"partition_by": [folder]}, Scoring).partition_by, SCHEMA)
    assert words in str(caught.value)
    assert len(caught.value.problems) == 1


def test_values_become_names_that_every_file_system_takes_and_differ_when_they_do() -> None:
    values = ["a", "a/b", "a~2Fb", "ü =", None, "", "../..", "x" * 300, "x" * 301, "__HIVE_DEFAULT_PARTITION__"]
    rows = pa.table({"label": pa.array(values)})
    found = dict(by_folder(rows, ["label"]))
    assert sorted(row for table in found.values() for row in table.column("label").to_pylist() if row is not None) == sorted(
        value for value in values if value is not None
    )
    assert len(found) == len(values)
    assert {"label=a~2Fb", "label=a~7E2Fb", "label=~C3~BC~20~3D", "label=__HIVE_DEFAULT_PARTITION__"} <= set(found)
    assert all("/" not in name and len(name) < 120 and not name.endswith("=..") for name in found)


def test_more_folders_than_a_file_system_should_hold_are_refused() -> None:
    rows = pa.table({"id": range(MOST_FOLDERS + 1)})
    with pytest.raises(ConfigError, match=r"gives 1,001 folders for 1,001 rows, at most 1,000; take coarser ones"):
        list(by_folder(rows, ["id"]))
