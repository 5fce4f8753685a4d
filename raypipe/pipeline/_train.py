"""Training one candidate: prepared data in, a bundle and a tracked run out."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from raypipe.core.console import Live, live, say, table
from raypipe.core.digest import digest_json
from raypipe.core.storage import join
from raypipe.models import Model, Stepped
from raypipe.pipeline._experiment import Candidate, Experiment
from raypipe.pipeline._finish import check_labels, finish
from raypipe.pipeline._steps import fingerprint
from raypipe.prepare import LoadPrepared, Plan, Prepared, find_audit
from raypipe.registry import MlflowTracker, paid_by, start_run
from raypipe.train import Cost, Speed, Trained, memory_line, result_line, speed_words, train_model

_SHOWN_STEPS = 6
_PACKAGES = ("core", "features", "models", "prepare", "train")


@dataclass(frozen=True, kw_only=True)
class TrainedBundle:
    """A trained candidate, as steps pass it on.

    Attributes:
        candidate: Its name.
        digest: Digest of the bundle.
        bundle_uri: Folder of the bundle.
        run_id: The MLflow run.
        engine: What trained it.
        seconds: Training time.
        best_step: The step that was kept.
        curve: One point per step.
        threshold: Chosen on calibration rows where there are any, else on validation rows; None unless binary.
        step_name: What a step is called: "round" or "epoch".
    """

    candidate: str
    digest: str
    bundle_uri: str
    run_id: str
    engine: str
    seconds: float
    best_step: int
    curve: list[dict[str, float]]
    threshold: float | None
    step_name: str = "step"

    def to_dict(self) -> dict[str, Any]:
        """As stored by the step."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "TrainedBundle":
        """The inverse of `to_dict`."""
        return cls(**data)


def training_fingerprint(candidate: Candidate, prepared: Prepared) -> dict[str, Any]:
    """What the weights of a candidate are a function of; calibrator and threshold are learned after them (`finish`)."""
    return fingerprint(settings=candidate.shaping, inputs={"prepared": prepared.digest}, packages=_PACKAGES)


def train_candidate(
    run: Experiment, name: str, candidate: Candidate, *, plan: Plan, prepared: Prepared, settings: Mapping[str, Any]
) -> TrainedBundle:
    """Train, calibrate, choose the threshold, save the bundle, and track it all in one MLflow run."""
    check_labels(run, prepared)
    digest = digest_json(training_fingerprint(candidate, prepared))[:24]
    tags = {
        "experiment": run.name,
        "candidate": name,
        "prepared": prepared.digest,
        "features": prepared.features.digest,
        "fingerprint": digest,
        **{f"table.{table}": f"{table}@{version}" for table, version in prepared.tables.items()},
    }
    with start_run(run.tracking, run.storage, name=f"{run.name}-{name}", tags=tags, settings=settings) as tracker:
        load = LoadPrepared(prepared.uri, prepared.features.modules)
        say(f"  {memory_line(candidate.model, candidate.trainer, load.size(), prepared.features.specs)}")
        with live(f"train {name}", _steps(candidate.model), plain=candidate.trainer.debug) as line:
            trained = train_model(
                candidate.model,
                trainer=candidate.trainer,
                load=load,
                uri=run.storage.uri("runs"),
                fingerprint=digest,
                on_progress=_Story(line, tracker),
            )
        folder = join(run.storage.uri("runs"), digest, "bundle")
        finished = finish(run, candidate, plan=plan, prepared=prepared, model=trained.model, folder=folder)
        tracker.log_curve([(int(point["step"]), {k: v for k, v in point.items() if k != "step"}) for point in trained.curve])
        told = _told(run, trained, digest)
        tracker.log_metrics(told.metrics)
        tracker.log_tags({"bundle": finished.digest, "engine": trained.engine, "origin": trained.origin, **told.tags})
        tracker.log_json("features.json", json.loads(prepared.features.to_files()["features.json"]))
        tracker.log_json("features_table.json", [asdict(row) for row in prepared.features.describe()])
        tracker.log_json("rows.json", prepared.rows.to_dict())
        audited = find_audit(prepared, run.audit)
        if audited is not None:
            tracker.log_json("audit.json", audited.to_dict())
        _show(name, trained)
    return TrainedBundle(
        candidate=name,
        digest=finished.digest,
        bundle_uri=finished.uri,
        run_id=tracker.run_id,
        engine=trained.engine,
        seconds=round(trained.seconds, 2),
        best_step=trained.best_step,
        curve=[dict(point) for point in trained.curve],
        threshold=finished.threshold,
        step_name=candidate.model.step_name if isinstance(candidate.model, Stepped) else "step",
    )


@dataclass(frozen=True, kw_only=True)
class _Told:
    metrics: Mapping[str, float]
    tags: Mapping[str, str] = field(default_factory=dict)


def _told(run: Experiment, trained: Trained, fingerprint: str) -> _Told:
    """Speed and cost; of a training that an earlier run has told of, that it cost nothing more, and that run."""
    payer = paid_by(run.tracking, run.storage, fingerprint=fingerprint) if trained.origin == "finished" else ""
    return _Told(metrics=Cost().to_dict(), tags={"trained_by": payer}) if payer else _Told(metrics=trained.to_dict())


def _steps(model: Model) -> int:
    """Most steps that the model takes, 1 when it does not say."""
    return model.max_steps if isinstance(model, Stepped) else 1


class _Story:
    """What is said of a training while it runs."""

    def __init__(self, line: Live, tracker: MlflowTracker) -> None:
        self._line, self._tracker, self._speed = line, tracker, ""

    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        """A step is done."""
        self._tracker.follow(step, metrics)
        shown = [f"{name} {value:.4f}" for name, value in metrics.items()]
        self._line.reach(step, ", ".join([*shown, *([self._speed] if self._speed else [])]))

    def measured(self, speed: Speed) -> None:
        """How fast it is."""
        self._speed = speed_words(speed)


def _show(name: str, trained: Trained) -> None:
    """The training curve in a few lines, the kept step among them."""
    every = max(1, len(trained.curve) // _SHOWN_STEPS)
    rows = [p for i, p in enumerate(trained.curve) if i % every == 0 or p["step"] == trained.best_step]
    values = [{name.rpartition("/")[2]: f"{value:.4f}" for name, value in p.items() if name != "step"} for p in rows]
    columns = list(dict.fromkeys(name for found in values for name in found))
    shown = [[_step(p, trained.best_step), *(v.get(c, "") for c in columns)] for p, v in zip(rows, values, strict=True)]
    table(f"{name}: {len(trained.curve)} steps, {trained.seconds:.1f} s in {trained.engine}", ["step", *columns], shown)
    say(f"  {result_line(trained)}")
    for note in trained.notes:
        say(f"  {note}")


def _step(point: Mapping[str, float], best: int) -> str:
    members = {name.rpartition("/")[0] for name in point if "/" in name}  # of an ensemble, one at a time
    return " ".join([str(int(point["step"])), *members, *(["(kept)"] if point["step"] == best else [])])
