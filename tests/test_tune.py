"""Searches without Ray: the space, who proposes, who is stopped, and the books from which a search goes on."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from tune_parts import GROUPS, RATE, TREES_OR_NET, Composer, fake, space_of

from raypipe.core.compose import Composition
from raypipe.core.config import build
from raypipe.core.console import live
from raypipe.core.errors import ConfigError, StorageError
from raypipe.models import Ensemble, Linear
from raypipe.pipeline._tune_runs import Following
from raypipe.pipeline._tune_trials import Trials, Variant
from raypipe.train import Trainer
from raypipe.tune import (
    Asha,
    AxisFacts,
    GridSearch,
    OptunaSearch,
    Search,
    Trial,
    Tuning,
    check_comparable,
    preflight,
    read_space,
)
from raypipe.tune._executor import cause_of_death
from raypipe.tune._ledger import Ledger
from raypipe.tune._room import find_room
from raypipe.tune._store import Origin, Store

ONE_NODE = [{"Alive": True, "Resources": {"CPU": 4.0}}]


def books(root, tuning: Tuning, *, space=None, told=None, **composer) -> Ledger:
    space, store = space or space_of(), Store(uri=f"{root}/searches/{tuning.name}")
    past = store.open(space, tuning, Origin(fingerprint={"data": "a"}))
    told = [] if told is None else told

    def on_trial(trial: Trial) -> str:
        told.append(trial.number)
        return f"run-{trial.number}"

    return Ledger(space, tuning, store=store, past=past, compose=Composer(root=str(root), **composer), on_trial=on_trial)


def result(*losses: float, first: int = 1, **more) -> dict:
    points = [{"step": float(step), "validation_loss": loss} for step, loss in enumerate(losses, first)]
    return {"points": json.dumps(points), "percent": 100, "value": min(losses, default=9.0), "seconds": 0.5, **more}


def test_a_search_goes_on_from_its_records_with_what_was_unfinished_first(tmp_path):
    tuning = Tuning(name="a", num_trials=4)
    first = books(tmp_path, tuning)
    begun = [first.next().trial for _ in range(3)]
    first.ended(0, result(0.3, 0.2), status="finished")
    first.progressed(1, result(0.4))
    told = []
    again = books(tmp_path, replace(tuning, resume=True), told=told)
    assert (again.num_kept, again.trials[0].value, again.trials[0].run_id) == (1, 0.2, "run-0")
    assert [again.next().trial.sample for _ in range(2)] == [begun[1].sample, begun[2].sample]
    fourth = again.next().trial
    assert (fourth.number, again.is_done, again.next()) == (3, True, None)
    again.ended(1, result(0.4, 0.1), status="finished")
    again.ended(2, result(), status="failed", error="the loss is nan")
    assert told == [1, 2]
    third = books(tmp_path, replace(tuning, resume=True, num_trials=2))
    assert [third.next().trial.number for _ in range(2)] == [2, 3]
    assert third.next() is None


def test_a_curve_is_that_of_the_last_attempt_from_where_it_began_again(tmp_path):
    ledger = books(tmp_path, Tuning(name="a", num_trials=2))
    for _ in range(2):
        ledger.next()
    ledger.progressed(0, result(0.5, 0.4, 0.1))  # of an attempt that died, and that is not repeated exactly
    ledger.progressed(1, result(0.5, 0.4, 0.1))
    ledger.ended(0, result(0.5, 0.3, ended=True, error=""), status="finished")
    ledger.progressed(1, result(0.5, 0.2, first=2))  # goes on from a checkpoint after step 1
    ledger.ended(1, result(first=4), status="failed", error="the loss is nan")
    found = ledger.trials[0]
    assert (found.value, found.best_step, found.steps, len(found.curve)) == (0.3, 2, 2, 2)
    assert [point["validation_loss"] for point in ledger.trials[1].curve] == [0.5, 0.5, 0.2]
    assert (ledger.trials[1].value, ledger.trials[1].best_step) == (None, 3)


def test_combinations_that_train_the_same_are_trained_once(tmp_path):
    space = space_of(model__rate="0.1,0.01", features__x="1,2")
    ledger = books(tmp_path, Tuning(name="a", searcher=GridSearch()), space=space)
    assert ledger.next().trial.sample == {"model.rate": "0.1", "features.x": "1"}
    assert ledger.next() is None  # the next one trains what runs
    assert not ledger.is_done
    ledger.ended(0, result(0.3), status="finished")
    assert ledger.next().trial.sample == {"model.rate": "0.01", "features.x": "1"}
    ledger.ended(2, result(0.2), status="finished")
    assert ledger.next() is None
    assert ledger.is_done
    assert [(trial.number, trial.value, trial.seconds) for trial in ledger.trials.values()] == [
        (0, 0.3, 0.5),
        (1, 0.3, 0.0),
        (2, 0.2, 0.5),
        (3, 0.2, 0.0),
    ]


def test_trials_say_how_many_threads_they_train_with_unless_it_is_said_already(tmp_path):
    ledger = books(tmp_path, Tuning(name="a"))
    assert ledger.composed(("model.rate=0.1",))[0] == ("model.rate=0.1", "trainer.num_threads=1")
    assert ledger.composed(("model.rate=0.1", "trainer.num_threads=2"))[0] == ("model.rate=0.1", "trainer.num_threads=2")
    assert ledger.composed(("model.rate=0.1", "trainer.num_workers=1"))[0] == ("model.rate=0.1", "trainer.num_workers=1")


def test_a_sample_that_cannot_be_composed_fails_by_itself(tmp_path):
    told = []
    ledger = books(tmp_path, Tuning(name="a", searcher=GridSearch()), space=space_of(model__rate="1000,0.1"), told=told)
    assert ledger.next().trial.number == 1
    assert (ledger.trials[0].status, ledger.trials[0].error) == ("failed", "model.rate: 1000.0 is more than 100")
    assert told == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tuning": Tuning(name="a")}, ["search a exists (1 trials, 0 finished)", "tune.resume=true", "tune.name="]),
        ({"space": {**RATE, "trainer.seed": "choice(1,2)"}}, ["axis trainer.seed is new", "tune.name=a-2"]),
        ({"space": {"model.rate": "interval(1e-3,1)"}}, ["axis model.rate changed: 0.001 to 1.0 (log) -> 0.001 to 1.0)"]),
        ({"tuning": Tuning(name="a", resume=True, metric="validation_auc")}, ["metric validation_loss -> validation_auc"]),
        ({"fingerprint": {"data": "b", "code": "c"}}, ["code is new", "data changed"]),
    ],
)
def test_another_search_of_the_same_name_is_refused_with_what_changed(change, words, tmp_path):
    store = Store(uri=f"{tmp_path}/searches/a")
    store.open(space_of(), Tuning(name="a"), Origin(fingerprint={"data": "a"}))
    store.write(fake(0, {"model.rate": 0.1}, status="interrupted"))
    space = space_of(**{key.replace(".", "__"): text for key, text in change.get("space", RATE).items()})
    with pytest.raises(ConfigError) as error:
        store.open(
            space,
            change.get("tuning", Tuning(name="a", resume=True)),
            Origin(fingerprint=change.get("fingerprint", {"data": "a"})),
        )
    assert all(word in str(error.value) for word in words), str(error.value)


def test_a_model_that_says_no_steps_is_refused_where_trials_are_compared():
    model = SimpleNamespace(kind="mine")
    check_comparable(model, Tuning())
    with pytest.raises(ConfigError, match=r"model mine does not say how many steps .*tune\.scheduler\.kind=none"):
        check_comparable(model, Tuning(scheduler=Asha()))


def test_an_ensemble_is_refused_where_trials_are_compared():
    parts = Ensemble(members={"a": Linear(), "b": Linear(l2=1.0)})
    check_comparable(parts, Tuning())
    with pytest.raises(ConfigError, match=r"an ensemble does not report while its members learn.*tune\.scheduler\.kind=none"):
        check_comparable(parts, Tuning(scheduler=Asha()))


def test_progress_of_a_search_that_goes_on_counts_what_is_kept(capsys):
    with live("search a", 3) as line:
        follow = Following(line, "min", lambda trial: f"run-{trial.number}")
        follow.goes_on([fake(0, {}, value=0.25), fake(1, {}, value=None)])
        assert follow(fake(2, {}, value=0.5)) == "run-2"
    first, last = capsys.readouterr().err.splitlines()
    assert "2/3, best 0.25" in first
    assert "3/3" in last
    assert "best 0.25" in last


def test_a_trial_learns_from_the_variant_of_which_it_has_all_overrides():
    lines = [("model=mlp",), ("model=xgboost", "features.a.encode=index"), ("model=xgboost", "features.a.encode=one_hot")]
    variants = [Variant(lines=one, session=None, tables={}, prepared=None) for one in lines]
    trials = Trials(None, variants)
    found = [trials.variant((*one, "model.rate=0.1", "trainer.num_threads=1")) for one in lines]
    assert all(one is variant for one, variant in zip(found, variants, strict=True))


def test_two_processes_never_run_the_same_search_at_once(tmp_path):
    store = Store(uri=f"{tmp_path}/searches/a")
    with store.alone(), pytest.raises(ConfigError, match="search a is running in another process"), store.alone():
        pass
    with store.alone():
        pass


def test_a_trial_that_cannot_be_recorded_is_one_clear_line_with_the_way_on(tmp_path):
    (tmp_path / "trials").write_text("in the way")
    with pytest.raises(StorageError, match=r"the search cannot be recorded here \(.*\); make room .*tune\.resume=true"):
        Store(uri=str(tmp_path)).write(fake(0, {"model.rate": 0.1}))


KILLED = "The actor died.\nWorker exit type: SYSTEM_ERROR Worker exit detail: Worker exits with end of file. (1) The process"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (KILLED, "its process died (Worker exits with end of file); set tune.max_failures to start it again"),
        ("Failure # 1\nTask was killed due to the node running low on memory.", "ran out of memory; lower tune.max_concurrent"),
        (
            "Failure # 1\nray::TrialActor.__init__()\nTraceback (most\nKeyError: 'a'",
            "ray::TrialActor.__init__()\nTraceback (most",
        ),
        (
            f"Failure # 1\nray::TrialActor.__init__()\nTraceback (most\nKeyError: 'a'\nFailure # 2\n{KILLED}",
            "its process died (Worker exits with end of file); set tune.max_failures to start it again",
        ),
        (f"Failure # 1\nTask was killed (OOM).\nFailure # 2\n{KILLED}", "its process died (Worker exits with end of file)"),
    ],
)
def test_why_the_process_of_a_trial_died_the_last_time_is_said(said, words):
    assert words in cause_of_death(said)


def test_what_was_found_survives_json():
    trials = (fake(0, {"model.rate": 0.1}), fake(1, {"model": "mlp"}, value=None, status="failed"))
    axes = (AxisFacts(name="model", kind="choice", labels=("mlp", "xgboost"), when=("trainer:driver",)),)
    found = Search(
        name="a",
        metric="validation_loss",
        mode="min",
        axes=axes,
        trials=trials,
        best=trials[0],
        seconds=1.0,
        num_kept=1,
        uri="u",
    )
    assert Search.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_probes_reach_every_value_in_every_combination_of_groups():
    probes = list(space_of(**TREES_OR_NET).probes())
    assert {lines[0] for lines in probes} == {"model=xgboost", "model=mlp"}
    reached = {line for lines in probes for line in lines}
    assert {"model.depth=3", "model.depth=8", "model.dropout=0.0", "model.dropout=0.6", "trainer.seed=2"} <= reached
    many = space_of(model="choice(mlp,xgboost)", trainer="choice(driver,ray_train)")
    assert len(list(many.probes())) == 4


def test_a_space_that_reaches_what_cannot_be_built_is_refused_with_the_overrides():
    space = space_of(model__rate="interval(1,1000)", trainer__seed="choice(1,2)")
    with pytest.raises(ConfigError, match=r"model.rate=999\.99.*: model.rate: 999\.99.* is more than 100"):
        preflight(space, Composer(root="unused"))


def test_axes_of_the_data_are_variants_and_bounded():
    space = space_of(model="choice(mlp,xgboost)", model__rate="interval(0,1)", features__x="tag(model:mlp,choice(1,2))")
    assert space.variants() == (("model=mlp", "features.x=1"), ("model=mlp", "features.x=2"), ("model=xgboost",))
    assert space_of().variants() == ((),)
    with pytest.raises(ConfigError, match="more than 16 ways"):
        space_of(split__seed="range(0,17)").variants()
    with pytest.raises(ConfigError, match=r"split.share varies what is prepared beforehand"):
        space_of(split__share="interval(0,1)").variants()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, ["nothing to search"]),
        ({"model.rate": None}, ["nothing to search"]),
        ({"storage.root": "a,b"}, ["storage.root cannot be varied", "what can: model, trainer"]),
        ({"modle.rate": "choice(1,2)"}, ["did you mean model"]),
        ({"model.objective.loss": "choice(squared,absolute)"}, ["changes what the validation loss measures"]),
        ({"storage.root": "a,b", "model.rate": "range(1,1)"}, ["storage.root", "is empty"]),
    ],
)
def test_a_space_of_what_cannot_be_searched_is_refused(settings, words):
    with pytest.raises(ConfigError) as error:
        read_space(settings, Composition(job="train"))
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize(
    ("trainer", "tuning", "expected"),
    [
        (Trainer(), Tuning(), 4),
        (Trainer(num_threads=2), Tuning(), 2),
        (Trainer(num_threads=2), Tuning(max_concurrent=1), 1),
        (Trainer(num_workers=2), Tuning(), 2),
        (Trainer(num_workers=(1, 8)), Tuning(), 1),
        (Trainer(num_workers=3), Tuning(), 1),
        (Trainer(num_workers=9, can_grow=True), Tuning(), 1),
    ],
)
def test_no_more_trials_run_than_the_cluster_has_cpus_for(trainer, tuning, expected):
    room = find_room([trainer], tuning, ONE_NODE)
    assert (room.num_trials, room.in_driver) == (expected, trainer.in_driver)
    assert room.resources(trainer) == ({"CPU": float(trainer.num_threads or 1)} if trainer.in_driver else {"memory": 1.0})


def test_settings_of_a_search_are_chosen_by_kind():
    tuning = build({"searcher": {"kind": "optuna", "seed": 3}, "scheduler": {"kind": "asha", "grace_percent": 10}}, Tuning)
    assert (tuning.searcher, tuning.scheduler) == (OptunaSearch(seed=3), Asha(grace_percent=10))
    with pytest.raises(ConfigError, match="unknown kind 'optna'; did you mean optuna"):
        build({"searcher": {"kind": "optna"}}, Tuning)
    assert GROUPS.chosen["model"] == "xgboost"
