"""Work over fragments on Ray: order, errors with their type and facts, and results that stay off the driver."""

import os
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import ray
from ray.exceptions import RayTaskError, WorkerCrashedError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from raypipe.core.errors import DuplicateKeys, InputError, RaypipeError
from raypipe.core.fragments import Apart, map_fragments, share
from raypipe.core.job import _without_ray_frames
from raypipe.score._actors import Pool, map_on_actors

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]
FACTS = ("planes", ("tailnum",), 3, "tailnum=N1")


def slow_for_early_ones(item: int) -> tuple[int, int]:
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


def test_a_bug_on_a_worker_names_the_log_of_that_very_worker() -> None:
    calls = [
        lambda: list(map_fragments(has_a_bug, [0, 5], title="t")),
        lambda: share({"bug": lambda: has_a_bug(7)}),
        lambda: list(map_on_actors(has_a_bug, [0, 5], pool=Pool(most=1, cpus=1.0), title="t")),
    ]
    for call in calls:
        with pytest.raises(RayTaskError) as caught:
            call()
        shown = _without_ray_frames(str(caught.value)).splitlines()
        log, _, node = shown[-1].removeprefix("log of the worker: ").partition(" on ")
        assert node == os.uname().nodename
        assert Path(log).is_file()
        assert re.findall(r"pid=(\d+)", str(caught.value)) == re.findall(r"-(\d+)\.err$", log)


def test_shared_results_stay_in_the_object_store_for_other_tasks() -> None:
    refs = share({"a": lambda: pa.table({"x": [1, 2]}), "b": lambda: "text"})
    assert all(isinstance(ref, ray.ObjectRef) for ref in refs.values())
    assert list(map_fragments(lambda name: ray.get(refs[name]), ["b"], title="t")) == ["text"]
    assert ray.get(refs["a"]).num_rows == 2
    assert share({}) == {}


def test_the_large_side_of_a_result_stays_in_the_object_store_for_other_tasks() -> None:
    def halves(num: int) -> Any:
        return num if num == 0 else Apart(value=f"{num} numbers", large=np.arange(num))

    plain, first, second = map_fragments(halves, [0, 3, 100_000], title="t")
    assert plain == 0
    assert (first.value, second.value) == ("3 numbers", "100000 numbers")
    assert isinstance(second.large, ray.ObjectRef)
    sums = map_fragments(lambda ref: int(ray.get(ref).sum()), [first.large, second.large], title="t")
    assert list(sums) == [3, 4_999_950_000]


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


def test_a_worker_that_always_dies_is_an_error_after_four_times(tmp_path: Path) -> None:
    tries = tmp_path / "tries"

    def die(item: int) -> None:
        with tries.open("a") as file:
            file.write("x")
        os._exit(1)

    with pytest.raises(WorkerCrashedError):
        list(map_fragments(die, [0], title="t"))
    assert tries.read_text() == "xxxx"


def test_an_exception_is_not_tried_again(tmp_path: Path) -> None:
    tries = tmp_path / "tries"

    def fail(item: int) -> None:
        with tries.open("a") as file:
            file.write("x")
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        list(map_fragments(fail, [0], title="t"))
    assert tries.read_text() == "x"


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Work that is heavy to unpack, and counts on each worker how often that is done."""

    folder: Path
    vocabulary: Any = field(default_factory=lambda: np.arange(1_000_000))

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        (self.folder / f"{os.getpid()}-{time.time_ns()}").touch()

    def __call__(self, item: int) -> tuple[int, int]:
        return int(self.vocabulary[item]), os.getpid()


def test_work_is_unpacked_once_a_worker(tmp_path: Path) -> None:
    done = list(map_fragments(Counts(folder=tmp_path), list(range(20)), title="t"))
    assert [value for value, _ in done] == list(range(20))
    unpacked = Counter(int(path.name.split("-")[0]) for path in tmp_path.iterdir())
    assert unpacked == Counter({pid for _, pid in done})


def test_the_next_call_has_its_own_work() -> None:
    for added in range(3):
        assert list(map_fragments(lambda n, added=added: n + added, [0, 1], title="t")) == [added, added + 1]


def test_what_comes_back_may_be_changed() -> None:
    (array,) = map_fragments(np.ones, [50_000], title="t")
    array += 1
    assert array.sum() == 100_000


def test_work_and_results_that_cannot_be_pickled_are_errors() -> None:
    lock = threading.Lock()
    with pytest.raises(TypeError, match="lock"):
        list(map_fragments(lambda _: lock.locked(), [0], title="t"))
    with pytest.raises(RayTaskError, match="lock"):
        list(map_fragments(lambda _: threading.Lock(), [0], title="t"))


def test_tasks_ahead_of_the_caller_are_bounded(tmp_path: Path) -> None:
    results = map_fragments(lambda n: (tmp_path / str(n)).touch(), list(range(50)), title="t")
    next(results)
    time.sleep(1)
    assert len(list(tmp_path.iterdir())) == 8  # four for each of the two CPUs
    list(results)
    assert len(list(tmp_path.iterdir())) == 50


def test_nothing_runs_any_more_after_an_error(tmp_path: Path) -> None:
    def write_on(item: int) -> None:
        if item == 0:
            while not (tmp_path / "1").exists():
                time.sleep(0.01)
            raise DuplicateKeys(*FACTS)
        for _ in range(100):
            (tmp_path / str(item)).write_text(str(time.time_ns()))
            time.sleep(0.01)

    with pytest.raises(DuplicateKeys):
        list(map_fragments(write_on, list(range(6)), title="t"))
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    time.sleep(0.3)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == written


def test_a_call_that_ends_early_never_ends_the_driver(tmp_path: Path) -> None:
    for _ in range(100):  # with ray.cancel the driver ended in one of them
        results = map_fragments(refuse_one, [0, 2, 3, 4, 5, 6, 7, 8], title="t")
        assert next(results) == 0
        results.close()
    begun = map_fragments(lambda n: (tmp_path / str(n)).touch() or time.sleep(0.2), list(range(8)), title="t")
    next(begun)
    begun.close()
    assert len(list(tmp_path.iterdir())) <= 4  # the first one and those that ran with it; the others pass


def test_a_call_from_a_full_placement_group_ends() -> None:
    group = placement_group([{"CPU": 1}])
    inside = PlacementGroupSchedulingStrategy(group, placement_group_capture_child_tasks=True)

    @ray.remote(num_cpus=1, scheduling_strategy=inside)
    class Caller:
        def call(self) -> list[int]:
            return list(map_fragments(refuse_one, [0, 2, 3], title="t"))

    caller = Caller.remote()
    try:
        assert ray.get(caller.call.remote(), timeout=60) == [0, 2, 3]
    finally:
        ray.kill(caller)
        remove_placement_group(group)
