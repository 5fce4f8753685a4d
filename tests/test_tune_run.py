"""Searches on Ray Tune: they find the best, stop the worse, go on after a kill, and refuse what they cannot do."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray
from tune_parts import Composer, search, space_of

from raypipe.core.errors import ConfigError, SearchError
from raypipe.train import train_model
from raypipe.tune import Asha, Origin, Trial, Tuning, run_search
from raypipe.tune._searchers import Proposer

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


def records(root: Path, name: str) -> list[Trial]:
    files = sorted((root / "searches" / name / "trials").glob("*.json"))
    return [Trial.from_dict(json.loads(path.read_text())) for path in files]


@pytest.mark.long
def test_a_search_keeps_its_trials_is_not_repeated_takes_more_and_its_best_is_trained_already(tmp_path):
    root = str(tmp_path)
    found = search(root, Tuning(name="a", num_trials=3))
    assert [trial.number for trial in found.trials] == [0, 1, 2]
    assert {(trial.status, trial.steps, len(trial.curve)) for trial in found.trials} == {("finished", 40, 40)}
    assert [trial.run_id for trial in found.trials] == ["run-0", "run-1", "run-2"]
    assert found.best.value == min(trial.value for trial in found.trials)
    assert found.best.overrides == (f"model.rate={found.best.sample['model.rate']!r}", "trainer.num_threads=1")
    assert list(found.trials) == records(tmp_path, "a")

    with pytest.raises(ConfigError, match=r"search a exists \(3 trials, 3 finished\); .*tune.resume=true"):
        search(root, Tuning(name="a", num_trials=3))
    more = search(root, Tuning(name="a", num_trials=4, resume=True))
    assert (more.num_kept, more.trials[:3], more.trials[3].status) == (3, found.trials, "finished")

    spec = Composer(root=root)(found.best.overrides)
    trained = train_model(spec.model, trainer=spec.trainer, load=spec.load, uri=spec.uri, fingerprint=spec.fingerprint)
    assert (trained.origin, trained.curve) == ("finished", found.best.curve)


@pytest.mark.long
def test_asha_stops_the_worse_and_some_failures_do_not_end_a_search(tmp_path):
    tuning = Tuning(name="asha", num_trials=10, scheduler=Asha(grace_percent=10, reduction_factor=3), max_concurrent=1)
    found = search(str(tmp_path), tuning, fails="bug", above=0.3, pause_s=0.005)
    by_status = {status: [t for t in found.trials if t.status == status] for status in ("finished", "stopped", "failed")}
    assert all(by_status.values()), [t.status for t in found.trials]
    assert found.best.value == min(trial.value for trial in by_status["finished"])
    assert all(0 < trial.steps < 40 and trial.value is not None for trial in by_status["stopped"])
    assert all("ZeroDivisionError: a bug of the user" in trial.error and trial.value is None for trial in by_status["failed"])


@pytest.mark.long
def test_a_training_that_was_done_before_is_at_every_mark_of_another_search(tmp_path):
    search(str(tmp_path), Tuning(name="before", num_trials=1), space=space_of(model__rate="choice(0.01)"))
    tuning = Tuning(name="asha", num_trials=2, scheduler=Asha(grace_percent=10, reduction_factor=2), max_concurrent=1)
    found = search(str(tmp_path), tuning, space=space_of(model__rate="0.01,0.02"), pause_s=0.2)
    assert [trial.status for trial in found.trials] == ["finished", "stopped"]
    assert found.trials[1].percent < 40


def test_a_search_in_which_all_trials_fail_says_the_first_error_and_can_go_on(tmp_path):
    with pytest.raises(SearchError) as error:
        search(str(tmp_path), Tuning(name="bad", num_trials=2), fails="raypipe")
    assert "2 of 2 failed; trial 0 (model.rate=" in str(error.value)
    assert "the loss is nan" in str(error.value)
    assert "tune.resume=true" in str(error.value)
    found = search(str(tmp_path), Tuning(name="bad", num_trials=2, resume=True))
    assert {trial.status for trial in found.trials} == {"finished"}


@pytest.mark.long
def test_a_search_ends_when_its_time_is_over_and_goes_on_later(tmp_path):
    begun = time.monotonic()
    with pytest.raises(SearchError, match=r"raise tune\.max_seconds"):
        search(str(tmp_path), Tuning(name="time", num_trials=2, max_seconds=5.0), pause_s=1.0)
    assert time.monotonic() - begun < 60
    begun = records(tmp_path, "time")
    assert [trial.status for trial in begun] == ["interrupted"] * 2
    found = search(str(tmp_path), Tuning(name="time", num_trials=2, resume=True))
    assert [(trial.status, len(trial.curve)) for trial in found.trials] == [("finished", 40)] * 2
    assert [trial.sample for trial in found.trials] == [trial.sample for trial in begun]


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ({"trainer__num_threads": "choice(1,64)"}, ["64 CPU", "lower trainer.num_threads"]),
        ({"trainer__num_workers": "choice(1,9)"}, ["9 worker(s)", "lower trainer.num_workers"]),
    ],
)
def test_a_trial_that_the_cluster_has_no_room_for_is_refused_before_the_search_begins(axes, words, tmp_path):
    with pytest.raises(ConfigError) as error:
        search(str(tmp_path), Tuning(name="big", num_trials=4), space=space_of(**axes))
    assert all(word in str(error.value) for word in words), str(error.value)
    assert not (tmp_path / "searches").exists()


def test_a_search_whose_driver_is_killed_goes_on_with_what_it_had(tmp_path):
    environment = {**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    script = Path(__file__).parent / "tune_parts.py"
    driver = subprocess.Popen([sys.executable, str(script), str(tmp_path), "0.05"], env=environment)
    try:
        until = time.monotonic() + 120
        while sum(trial.status == "finished" for trial in records(tmp_path, "killed")) < 2:
            assert driver.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    before = records(tmp_path, "killed")
    finished = [trial for trial in before if trial.status == "finished"]
    assert len(finished) < 6
    tuning = Tuning(name="killed", num_trials=6, max_concurrent=2, resume=True)
    with pytest.raises(ConfigError, match=r"\(axis model.rate changed: 0.001 to 1.0 \(log\) -> 0.001 to 1.0\)"):
        search(str(tmp_path), tuning, space=space_of(model__rate="interval(0.001,1)"))
    found = search(str(tmp_path), tuning, pause_s=0.05)
    assert [trial.status for trial in found.trials] == ["finished"] * 6
    assert (found.num_kept, [found.trials[trial.number] for trial in finished]) == (len(finished), finished)
    assert [found.trials[trial.number].sample for trial in before] == [trial.sample for trial in before]
    undisturbed = Proposer(space_of(), tuning)
    assert [trial.sample for trial in found.trials] == [undisturbed.propose(number, ()) for number in range(6)]
    for trial in found.trials:
        assert trial.value == pytest.approx(0.9**40 + abs(math.log10(trial.sample["model.rate"]) + 2))
        assert [point["step"] for point in trial.curve] == list(range(1, 41))


@pytest.mark.long
def test_a_trial_whose_process_is_killed_is_started_again_and_goes_on_from_its_checkpoint(tmp_path):
    dying = space_of(model__rate="0.01,0.1")
    marker = tmp_path / "pids"
    marker.mkdir()
    found = run_search(
        dying,
        Tuning(name="dies", num_trials=2, max_failures=1, max_concurrent=1),
        compose=Composer(root=str(tmp_path), pause_s=0.02, fails=str(marker)),
        uri=f"{tmp_path}/searches/dies",
        origin=Origin(fingerprint={}),
    )
    assert [(trial.status, trial.error) for trial in found.trials] == [("finished", None)] * 2
    assert all(len(trial.curve) == 40 for trial in found.trials)
    assert len(list(marker.iterdir())) == 2


@pytest.mark.long
def test_trials_that_train_on_workers_of_their_own_are_stopped_with_them_and_wait_for_nobody(tmp_path):
    space = space_of(model__rate="0.01,0.5", trainer__num_workers="choice(1)")
    # one after the other: a trial that is the first at a mark is never stopped there
    tuning = Tuning(name="workers", num_trials=2, scheduler=Asha(grace_percent=10, reduction_factor=2), max_concurrent=1)
    found = search(str(tmp_path), tuning, space=space, pause_s=0.2)
    assert {trial.status for trial in found.trials} == {"finished", "stopped"}
    assert found.best.sample["model.rate"] == "0.01"
    until = time.monotonic() + 60
    while ray.available_resources().get("CPU") != 2.0:
        assert time.monotonic() < until
        time.sleep(0.2)
