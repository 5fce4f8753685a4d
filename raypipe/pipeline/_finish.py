"""What is learned after the weights: calibrator and threshold; and the bundle that holds it all.

The weights are kept under a fingerprint of their own (`training_fingerprint`), so that another calibration, other costs or
another way to choose the threshold make a new bundle of the same weights without training again.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raypipe.bundle import MANIFEST, Bundle, save_bundle
from raypipe.core.config import to_settings
from raypipe.core.digest import digest_json
from raypipe.core.errors import ConfigError
from raypipe.core.storage import join, upload_folder
from raypipe.evaluate import Decision, decide, label_problems
from raypipe.models import FittedModel
from raypipe.pipeline._experiment import Candidate, Experiment
from raypipe.pipeline._steps import fingerprint
from raypipe.prepare import Plan, Prepared
from raypipe.score import JOINS, joins_of
from raypipe.split import CALIBRATION

_PACKAGES = ("bundle", "core", "evaluate", "features", "models", "prepare", "profiles", "train")


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A saved bundle: where, its digest, and its threshold, None unless binary."""

    uri: str
    digest: str
    threshold: float | None


def finished_fingerprint(run: Experiment, candidate: Candidate, prepared: Prepared) -> dict[str, Any]:
    """What a bundle is a function of: its weights, and the settings that decide calibrator and threshold."""
    settings = {**candidate.shaping, "evaluator": run.evaluator.shaping}
    return fingerprint(settings=settings, inputs={"prepared": prepared.digest}, packages=_PACKAGES)


def finish(
    run: Experiment, candidate: Candidate, *, plan: Plan, prepared: Prepared, model: FittedModel, folder: str
) -> Finished:
    """Calibrate, choose the threshold, and save the bundle in a folder of its own below `folder`."""
    uri = join(folder, digest_json(finished_fingerprint(run, candidate, prepared))[:24])
    decision = _decide(run, prepared, model)
    bundle = _bundle(run, plan, prepared, model=model, decision=decision)
    with tempfile.TemporaryDirectory(prefix="raypipe-") as scratch:
        local = Path(scratch) / "bundle"
        digest = save_bundle(bundle, local)
        upload_folder(local, uri, last=MANIFEST)
    return Finished(uri=uri, digest=digest, threshold=decision.threshold)


def check_labels(run: Experiment, prepared: Prepared) -> None:
    """Refuse behaviours about classes that the data do not have, before anything is trained.

    Raises:
        ConfigError: naming them.
    """
    problems = [*label_problems(run.evaluator.declared, prepared.target)]
    if problems:
        raise ConfigError(problems)


def _decide(run: Experiment, prepared: Prepared, model: FittedModel) -> Decision:
    """On the rows kept for calibration where there are any, else on validation rows."""
    wanted = run.evaluator
    if prepared.target.kind != "binary" and wanted.calibration is None:
        return Decision(calibrator=None, threshold=None, facts={})
    split = CALIBRATION if CALIBRATION in prepared.num_rows else "validation"
    rows = prepared.tensors(split)
    raw = model.predict(rows.inputs)
    return decide(rows.y_N, raw, target=prepared.target, split=split, calibration=wanted.calibration, costs=wanted.costs)


def _bundle(run: Experiment, plan: Plan, prepared: Prepared, *, model: FittedModel, decision: Decision) -> Bundle:
    shaping = [times[1] for split, times in prepared.times.items() if split != "test"]
    meta = {
        "key": list(plan.key),
        "tables": dict(prepared.tables),
        JOINS: joins_of(plan.task, prepared.sources),
        "features": prepared.features.digest,
        "split": {"digest": digest_json(to_settings(run.split)), "by_time": run.split.by_time},
        "shaped_until": max(shaping, default=""),
        **decision.facts,
    }
    return Bundle(
        inputs=prepared.inputs,
        sources=prepared.sources,
        features=prepared.features,
        model=model,
        target=prepared.target,
        examples=prepared.examples,
        threshold=decision.threshold,
        calibrator=decision.calibrator,
        profile=prepared.profile,
        meta=meta,
    )
