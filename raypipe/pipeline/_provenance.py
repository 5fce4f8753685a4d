"""The provenance of a trained candidate: digests of its settings, code, tables, data and bundle, for its run."""

import os
from collections.abc import Mapping
from typing import Any

import safetensors.numpy

from raypipe.bundle import MANIFEST
from raypipe.core.config import to_settings
from raypipe.core.digest import digest_json, digest_sources, environment
from raypipe.core.storage import join, read_bytes, read_json
from raypipe.pipeline._experiment import Candidate, Experiment
from raypipe.pipeline._train import TrainedBundle
from raypipe.prepare import Plan, Prepared, digest_own_parts
from raypipe.registry import PROVENANCE, Entry, Provenance, reopen_run
from raypipe.tables import TableRef

_PACKAGES = (
    *("bundle", "contract", "core", "evaluate", "expressions", "features", "joins", "models"),
    *("prepare", "profiles", "score", "split", "train"),
)
_FEATURES, _WEIGHTS, _GOLDEN = (
    ("features.json", "features.arrow"),
    ("model.json", "model/", "target.json", "calibrator.json"),
    "golden.safetensors",
)


def provenance_of(  # noqa: PLR0913  # what a model is made of
    run: Experiment,
    candidate: Candidate,
    trained: TrainedBundle,
    *,
    plan: Plan,
    prepared: Prepared,
    contents: Mapping[str, Mapping[str, Entry]],
    tables: Mapping[str, TableRef],
) -> Provenance:
    """What `trained` was made of and what it is; `contents` is what `prepared` held (`raypipe.prepare.digests_of`)."""
    settings = decisive(run, candidate, plan)
    used = {name: tables[name] for name in plan.tables}
    layers: dict[str, Mapping[str, Entry]] = {
        "config": {name: digest_json(value) for name, value in settings.items()},
        "code": {**digest_sources(_PACKAGES), **digest_own_parts(settings)},
        "environment": _environment(),
        "tables": {name: f"{ref.label} {ref.facts.get('digest', '')}".rstrip() for name, ref in used.items()},
        **contents,
        **_bundle_layers(trained.bundle_uri),
        "metrics": {"curve": digest_json(trained.curve)},
    }
    return Provenance(
        root=run.storage.uri(),
        candidate=trained.candidate,
        prepared=prepared.digest,
        bundle_uri=trained.bundle_uri,
        tables={name: ref.version for name, ref in used.items()},
        layers=layers,
    )


def record_provenance(run: Experiment, provenance: Provenance, trained: TrainedBundle) -> None:
    """Write `provenance` into the MLflow run; digests of config and code become tags, which a registered version takes over."""
    tracker = reopen_run(run.tracking, run.storage, run_id=trained.run_id)
    tracker.log_json(PROVENANCE, provenance.to_dict())
    tracker.log_tags({name: provenance.digest(name) for name in ("config", "code")})


def decisive(run: Experiment, candidate: Candidate, plan: Plan) -> dict[str, Any]:
    """The settings that decide what a training gives, by part: not where it runs or where its state lies."""
    parts = {
        "task": run.task,
        "split": run.split,
        "features": run.features,
        "joins": run.joins,
        "evaluator": run.evaluator,
        "model": candidate.model,
        "trainer": candidate.trainer,
    }
    contracts = {name: run.data.tables[name].contract.digest for name in plan.tables}
    return {**{name: to_settings(part) for name, part in parts.items()}, "contracts": contracts}


def _environment() -> dict[str, Entry]:
    """Libraries, Python, machine and number of CPUs: threads sum in another order where there are more of them."""
    found = environment()
    return {**found["libraries"], **found["platform"], "cpus": os.cpu_count()}


def _bundle_layers(uri: str) -> dict[str, dict[str, Entry]]:
    """Layers ``features``, ``weights`` and ``golden`` of the bundle at `uri`: digests of its files, and the golden scores."""
    digests = {entry["path"]: entry["sha256"] for entry in read_json(join(uri, MANIFEST))["files"]}
    scores = safetensors.numpy.load(read_bytes(join(uri, _GOLDEN)))["scores"]
    named = {f"row {i}": row for i, row in enumerate(scores.reshape(len(scores), -1).tolist())}
    golden = {f"{row}, output {k}": score for row, values in named.items() for k, score in enumerate(values)}
    return {
        "features": {path: digests[path] for path in _FEATURES},
        "weights": {path: digest for path, digest in digests.items() if path.startswith(_WEIGHTS)},
        "golden": golden,
    }
