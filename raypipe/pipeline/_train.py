"""Training one candidate: prepared data in, a bundle and a tracked run out."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from raypipe.core.config import to_settings
from raypipe.core.console import bar, table
from raypipe.core.digest import digest_json
from raypipe.core.storage import join
from raypipe.models import Model
from raypipe.pipeline._experiment import Candidate, Experiment
from raypipe.pipeline._finish import check_labels, finish
from raypipe.pipeline._steps import fingerprint
from raypipe.prepare import LoadPrepared, Plan, Prepared, find_audit
from raypipe.registry import start_run
from raypipe.train import Trained, train_model

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
    settings = {"model": to_settings(candidate.model), "trainer": to_settings(candidate.trainer)}
    return fingerprint(settings=settings, inputs={"prepared": prepared.digest}, packages=_PACKAGES)


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
        with bar(f"train {name}", _steps(candidate.model)) as progress:
            trained = train_model(
                candidate.model,
                trainer=candidate.trainer,
                load=LoadPrepared(prepared.uri, prepared.features.modules),
                uri=run.storage.uri("runs"),
                fingerprint=digest,
                on_progress=lambda step, metrics: progress.advance(note=_note(step, metrics)),
            )
        folder = join(run.storage.uri("runs"), digest, "bundle")
        finished = finish(run, candidate, plan=plan, prepared=prepared, model=trained.model, folder=folder)
        tracker.log_curve([(int(point["step"]), {k: v for k, v in point.items() if k != "step"}) for point in trained.curve])
        tracker.log_tags({"bundle": finished.digest, "engine": trained.engine})
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
        step_name="round" if candidate.model.framework == "xgboost" else "epoch",
    )


def _steps(model: Model) -> int:
    """Most steps that the model takes, for the progress bar."""
    settings = to_settings(model)
    return int(settings.get("num_rounds") or settings.get("max_epochs") or 1)


def _show(name: str, trained: Trained) -> None:
    """The training curve in a few lines, the kept step among them."""
    every = max(1, len(trained.curve) // _SHOWN_STEPS)
    rows = [p for i, p in enumerate(trained.curve) if i % every == 0 or p["step"] == trained.best_step]
    columns = [column for column in (rows[-1] if rows else {}) if column != "step"]
    shown = [[_step(p, trained.best_step), *(f"{p[c]:.4f}" for c in columns)] for p in rows]
    table(f"{name}: {len(trained.curve)} steps, {trained.seconds:.1f} s in {trained.engine}", ["step", *columns], shown)


def _step(point: Mapping[str, float], best: int) -> str:
    return f"{int(point['step'])}{' (kept)' if point['step'] == best else ''}"


def _note(step: int, metrics: Mapping[str, float]) -> str:
    shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items() if name != "step")
    return f"step {step}: {shown}"
