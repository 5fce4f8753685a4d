"""Predictions that a restore takes back: every way out that a refusal names leads on."""

import re
from typing import Any

import pytest
import score_parts
from score_parts import Ready, frame, newer, saved, strict

from raypipe import cli
from raypipe.core.errors import ConfigError, RaypipeError, StorageError
from raypipe.core.storage import Storage
from raypipe.score import ModelId, Scored
from raypipe.score._rows import OUTSIDE
from raypipe.tables import Quarantine, Tables

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]
binary = score_parts.binary
WINDOW = {"since": "2020-02-01", "until": "2020-03-01"}


@pytest.fixture(scope="module")
def demanding(binary: Ready, tmp_path_factory: pytest.TempPathFactory) -> ModelId:
    return saved(strict(binary.bundle), tmp_path_factory.mktemp("strict") / "bundle")


def follow(refused: RaypipeError, storage: Storage) -> None:
    """Do what the refusal says, as a person would."""
    (way_out,) = re.findall(r"raypipe (tables restore [^)]*)", str(refused))
    assert cli.main([*way_out.split(), f"storage.root={storage.root}"]) == 0


def test_what_was_scored_with_keep_is_replaced_after_the_restore_that_the_refusal_names(
    binary: Ready, demanding: ModelId, storage: Storage
) -> None:
    late, out = newer(binary), Tables(storage, "predictions")

    def score(made: Ready, **scoring: Any) -> Scored:
        return made.score(storage, model=demanding, **WINDOW, **scoring)

    first = score(binary)
    set_aside = {rule: num for rule, num in first.rows.set_aside.items() if rule != OUTSIDE}
    assert set_aside
    doubled = score(late)
    assert frame(doubled)["prediction_id"].is_duplicated().all()
    for _ in range(2):  # what was taken back twice is scored a third time
        with pytest.raises(ConfigError, match="scored with keep before") as refused:
            score(late, earlier="replace")
        follow(refused.value, storage)
        assert frame(Scored(ref=out.open("m"), rows=first.rows, reused=True)).equals(frame(first))
        replaced = score(late, earlier="replace")
        assert (replaced.reused, replaced.rows) == (False, first.rows)
        assert frame(replaced)["prediction_id"].is_unique().all()
        assert frame(replaced).height == first.rows.rows_out
        assert Quarantine(storage, "m", "predictions").counts()["open"] == set_aside
        again = score(late, earlier="replace")
        assert (again.reused, again.ref, again.rows) == (True, replaced.ref, first.rows)
        out.restore("m", doubled.ref.version)


def test_what_came_first_stands_alone_after_the_restore_that_the_refusal_names(binary: Ready, storage: Storage) -> None:
    first = binary.score(storage)
    before = frame(first)
    newer(binary).score(storage, **WINDOW)
    with pytest.raises(ConfigError, match="scored with keep before") as refused:
        binary.score(storage, earlier="replace")
    follow(refused.value, storage)
    again = binary.score(storage, earlier="replace")
    assert (again.reused, again.rows) == (True, first.rows)
    assert frame(again).equals(before)


def test_what_left_the_table_is_there_again_after_the_restore_that_the_refusal_names(binary: Ready, storage: Storage) -> None:
    first = binary.score(storage)
    before = frame(first)
    late = newer(binary).score(storage, earlier="replace")
    with pytest.raises(StorageError, match="left the table since") as refused:
        binary.score(storage)
    follow(refused.value, storage)
    again = binary.score(storage)
    assert (again.reused, again.rows) == (True, first.rows)
    assert frame(again).equals(before)
    other = newer(binary).score(storage, earlier="replace")
    assert (other.reused, other.rows) == (False, late.rows)
    assert frame(other)["prediction_id"].is_unique().all()
