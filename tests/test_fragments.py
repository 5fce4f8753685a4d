"""Work over fragments on Ray: order, errors with their type and facts, and results that stay off the driver."""

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray
from ray.exceptions import RayTaskError

from raypipe.core.errors import DuplicateKeys, InputError, RaypipeError
from raypipe.core.fragments import map_fragments, share

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]
FACTS = ("planes", ("tailnum",), 3, "tailnum=N1")


def slow_for_early_ones(item: int) -> tuple[int, int]:
    import time

    time.sleep(0.2 if item == 0 else 0)
    return item, os.getpid()


def refuse_one(item: int) -> int:
    if item == 1:
        raise DuplicateKeys(*FACTS)
    return item


def has_a_bug(item: int) -> int:
    return {0: 0}[item]


def test_results_come_in_the_order_of_the_items_from_other_processes() -> None:
    results = list(map_fragments(slow_for_early_ones, list(range(6)), title="t"))
    assert [item for item, _ in results] == list(range(6))
    assert os.getpid() not in {pid for _, pid in results}


def test_no_items_are_no_work() -> None:
    assert list(map_fragments(refuse_one, [], title="t")) == []


def test_anything_picklable_comes_back() -> None:
    made = list(map_fragments(lambda n: pa.table({"a": range(n)}), [0, 2], title="t"))
    assert [table.num_rows for table in made] == [0, 2]
    assert list(map_fragments(lambda _: None, [1], title="t")) == [None]


def test_a_refusal_on_a_worker_reaches_the_driver_as_it_was_raised(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RaypipeError) as caught:
        list(map_fragments(refuse_one, [0, 1, 2], title="t"))
    assert type(caught.value) is DuplicateKeys
    assert vars(caught.value) == vars(DuplicateKeys(*FACTS))
    assert str(caught.value) == str(DuplicateKeys(*FACTS))
    assert "Traceback" not in capfd.readouterr().err


def test_results_before_a_refusal_are_given_first() -> None:
    results = map_fragments(refuse_one, [0, 1, 2], title="t")
    assert next(results) == 0
    with pytest.raises(InputError):
        next(results)


def test_a_bug_on_a_worker_shows_where_it_is() -> None:
    with pytest.raises(RayTaskError, match="has_a_bug"):
        list(map_fragments(has_a_bug, [0, 5], title="t"))


def test_shared_results_stay_in_the_object_store_for_other_tasks() -> None:
    refs = share({"a": lambda: pa.table({"x": [1, 2]}), "b": lambda: "text"})
    assert all(isinstance(ref, ray.ObjectRef) for ref in refs.values())
    assert list(map_fragments(lambda name: ray.get(refs[name]), ["b"], title="t")) == ["text"]
    assert ray.get(refs["a"]).num_rows == 2
    assert share({}) == {}


def test_a_refusal_while_sharing_reaches_the_driver_as_it_was_raised() -> None:
    def refuse() -> None:
        raise DuplicateKeys(*FACTS)

    with pytest.raises(RaypipeError) as caught:
        share({"fine": lambda: 1, "refused": refuse})
    assert type(caught.value) is DuplicateKeys
    assert vars(caught.value) == vars(DuplicateKeys(*FACTS))


def test_a_bug_while_sharing_shows_where_it_is() -> None:
    with pytest.raises(RayTaskError, match="KeyError"):
        share({"bug": lambda: has_a_bug(7)})


def test_a_worker_that_dies_once_is_replaced(tmp_path: Path) -> None:
    marker = tmp_path / "died"

    def die_once(item: int) -> Any:
        if item == 1 and not marker.exists():
            marker.touch()
            os._exit(1)
        return item

    assert list(map_fragments(die_once, [0, 1, 2], title="t")) == [0, 1, 2]
    assert marker.exists()
