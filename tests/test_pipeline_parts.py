"""Parts of the pipeline without a job: what a fingerprint is made of, and what is said before a model is registered."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from evaluate_parts import binary_rows
from shops import Shop
from tune_parts import Composer, fake, space_of

from raypipe.bundle import MANIFEST
from raypipe.core.digest import environment
from raypipe.core.errors import BundleError, ConfigError
from raypipe.core.storage import Storage, write_bytes, write_json
from raypipe.evaluate import Evaluator, evaluate
from raypipe.pipeline._promote import register, tells_promotion
from raypipe.pipeline._session import show_evaluations
from raypipe.pipeline._steps import fingerprint
from raypipe.pipeline._train import TrainedBundle, _told
from raypipe.pipeline._tune_runs import SearchRuns
from raypipe.prepare import Collection, Prepared, collect
from raypipe.registry import Tracking, paid_by, start_run
from raypipe.registry._tracking import open_existing
from raypipe.train import Cost, Speed, Trained
from raypipe.tune import Search, Trial, Tuning
from raypipe.tune._attempt import Attempt, Kept, Work
from raypipe.tune._ledger import Ledger
from raypipe.tune._store import Store


def code_of(settings: Any) -> Any:
    return fingerprint(settings=settings, inputs={}, packages=("core",))["code"]


def test_a_step_runs_again_when_what_the_users_module_imports_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "their_model.py").write_text("import their_layers\n")
    layers = tmp_path / "their_layers.py"
    layers.write_text("SIZE = 1\n")
    settings = {"model": [{"_type_": "their_model.Net", "size": 3}], "split": {"_type_": "raypipe.split.HashSplit"}}
    before = code_of(settings)
    assert {"their_model", "their_layers"} <= {*before}
    assert code_of(settings) == before
    layers.write_text("SIZE = 2\n")
    assert {name for name, sha in code_of(settings).items() if before[name] != sha} == {"their_layers"}
    with pytest.raises(ConfigError, match="module theirs_too has no source file"):
        code_of({"_type_": "theirs_too.Net"})


def test_rules_of_time_zones_are_among_the_versions_that_decide_numbers() -> None:
    assert {"zoneinfo", "tzdata"} & {*environment()["libraries"]}


PROMOTED = {"decision": ["promote", "it is better"], "card": {"owner": ""}, "chosen": "a", "evaluations": "x"}
CHAMPION = {**PROMOTED, "decision": ["promote", "already the champion"], "evaluations": "of fewer candidates"}


@pytest.mark.parametrize(
    ("told", "now"),
    [
        (PROMOTED, {**CHAMPION, "card": {"owner": "me"}}),
        (PROMOTED, {**CHAMPION, "chosen": "b"}),
        (PROMOTED, {**CHAMPION, "decision": ["hold", "below the minimum"]}),
        ({**PROMOTED, "decision": ["hold", "below the minimum"]}, CHAMPION),
        ({}, CHAMPION),
    ],
)
def test_the_report_of_a_champion_stays_only_while_it_tells_its_promotion_and_what_holds_now(told: Any, now: Any) -> None:
    assert tells_promotion(PROMOTED, CHAMPION)
    assert not tells_promotion(told, now)


@pytest.mark.parametrize(("confidence", "title"), [(0.95, "95 % interval"), (0.8, "80 % interval"), (0.995, "99.5 % interval")])
def test_the_console_says_which_intervals_it_shows(confidence: float, title: str, capsys: pytest.CaptureFixture[str]) -> None:
    evaluator = Evaluator(num_resamples=20, confidence=confidence)
    found = {split: evaluate(binary_rows(100), evaluator=evaluator) for split in ("validation", "test")}
    show_evaluations({"xgboost": found})
    assert title in capsys.readouterr().err


def test_a_training_that_is_found_finished_costs_nothing_more_and_names_the_run_that_has_its_cost(tmp_path: Path) -> None:
    store = {"tracking": Tracking(), "storage": Storage(root=str(tmp_path))}
    run: Any = SimpleNamespace(**store)
    made = {"model": None, "curve": [], "best_step": 1, "seconds": 0.1, "engine": "driver"}
    spent: dict[str, Any] = {"speed": Speed(rows_per_s=9), "cost": Cost(core_hours=0.5, num_runs=2)}
    fresh, found = (Trained(**made, **spent, origin=origin) for origin in ("fresh", "finished"))
    ids = []
    for trained in (found, found, fresh):  # the first run was killed before it told of the training that it did
        told = _told(run, trained, "aa")
        with start_run(**store, name="train", tags={"fingerprint": "aa"}) as tracker:
            tracker.log_metrics(told.metrics)
        ids.append((tracker.run_id, told))
    (first, whole), (_, nothing), (_, again) = ids
    assert (whole.metrics, whole.tags) == (found.to_dict(), {})
    assert (nothing.metrics, nothing.tags) == (Cost().to_dict(), {"trained_by": first})
    assert (again.metrics, again.tags) == (fresh.to_dict(), {})
    assert _told(run, found, "bb").tags == {}


def test_the_cost_of_trials_is_in_their_runs_and_its_sum_in_that_of_the_search(tmp_path: Path) -> None:
    run = SimpleNamespace(name="mine", tracking=Tracking(), storage=Storage(root=str(tmp_path)))
    session: Any = SimpleNamespace(run=run, settings={})
    spec: Any = SimpleNamespace(data_key="", model=None, trainer=None)
    costs = [Cost(core_hours=0.5, num_runs=1).to_dict(), Cost(core_hours=0.25, num_runs=2).to_dict(), {}]
    trials = tuple(replace(fake(n, {}), cost=cost, fingerprint=f"f{n}") for n, cost in enumerate(costs))
    about = {"name": "s", "metric": "validation_loss", "mode": "min", "axes": (), "seconds": 1.0, "num_kept": 0}
    search = Search(**about, trials=trials, best=trials[0], uri=str(tmp_path))
    with SearchRuns(session, name="s", metric="validation_loss", uri=str(tmp_path)) as runs:
        ids = [runs.add(trial, spec) for trial in trials]
        for _ in range(2):
            runs.finish(search, page="", command="")
        parent = runs.parent.run_id
    client = open_existing(run.tracking, run.storage)
    assert [client.get_run(one).data.metrics.get("core_hours") for one in ids] == [0.5, 0.25, None]
    metrics = client.get_run(parent).data.metrics
    assert (metrics["trials_core_hours"], metrics["trials_num_runs"]) == (0.75, 3)
    assert [len(client.get_metric_history(parent, name)) for name in ("trials_core_hours", "best_validation_loss")] == [1, 1]
    assert paid_by(run.tracking, run.storage, fingerprint="f1") == ids[1]
    assert Trial.from_dict({name: value for name, value in asdict(trials[2]).items() if name != "cost"}) == trials[2]


def test_a_trial_has_what_its_training_cost_and_nothing_where_that_was_found(tmp_path: Path) -> None:
    tuning = Tuning(name="s", num_trials=2)
    store, compose = Store(uri=str(tmp_path / "s")), Composer(root=str(tmp_path))
    about: dict[str, Any] = {"store": store, "past": (), "compose": compose}
    books = Ledger(space_of(), tuning, **about, on_trial=lambda _: None)
    begun = books.next()
    assert begun is not None
    for num_runs in ({1}, set()):
        work = Work(number=0, spec=begun.spec, metric="validation_loss", mode="min", marks=(), resources={"CPU": 1.0})
        attempt = Attempt(work, Kept())
        while "ended" not in (told := attempt.next()):
            pass
        books.progressed(0, told)
        assert {value for name, value in books.trials[0].cost.items() if name == "num_runs"} == num_runs


class _Refusing:
    """A registry that refuses every bundle."""

    def register(self, name: str, folder: Path, **more: object) -> None:  # noqa: ARG002  # as the real one
        raise BundleError(str(folder), "differs")


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.long
def test_prepared_data_is_said_to_be_kept_before_the_model_is_registered(shop: Shop) -> None:
    prepared: Prepared = shop.prepared()
    write_bytes(uri := shop.storage.uri("runs", "x", "bundle"), b"")
    trained = TrainedBundle(
        candidate="x", digest="abc", bundle_uri=uri, run_id="", engine="", seconds=0, best_step=0, curve=[], threshold=None
    )
    session: Any = SimpleNamespace(run=SimpleNamespace(name="mine"), registry=_Refusing())
    with pytest.raises(BundleError):
        register(session, trained, prepared)
    (mark,) = (Path(prepared.uri) / "models").iterdir()
    assert json.loads(mark.read_text()) == {"manifest": f"models/mine/abc/{MANIFEST}"}
    for folder in (prepared.uri, prepared.joined.uri):
        write_json(f"{folder}/used.json", {"at": "2020-01-01T00:00:00+00:00"})
    assert len(collect(shop.storage, Collection(dry_run=True)).collected) == 2, "no bundle of it is registered"
    write_bytes(shop.storage.uri("models", "mine", "abc", MANIFEST), b"{}")
    assert collect(shop.storage, Collection(dry_run=True)).collected == ()
