"""The single jobs: each opens a session, does its part of the pipeline alone, and records the result."""

from typing import Any

from raypipe.core.console import say
from raypipe.core.job import JobRecord
from raypipe.evaluate import Promote
from raypipe.pipeline import _live, _promote, _session
from raypipe.pipeline._audit import audit
from raypipe.pipeline._data import ingested_facts
from raypipe.pipeline._experiment import Candidate, Experiment
from raypipe.pipeline._judge import metrics_of
from raypipe.pipeline._train import TrainedBundle
from raypipe.pipeline._transforms import transform, transformed_facts
from raypipe.registry import ModelVersion
from raypipe.score import Scored


def run_ingest(run: Experiment, record: JobRecord) -> None:
    """Bring every table of the experiment up to its source, and those that its transforms make up to them."""
    session = _session.open_session(run, record.settings)
    record.finish(**ingested_facts(_session.ingest(session)))
    made = transform(session)
    if made:
        record.finish(transforms=transformed_facts(made))


def run_train(run: Experiment, record: JobRecord) -> None:
    """Train the experiment's model on the latest tables and register the bundle, without promoting it."""
    session = _session.checked_session(run, record.settings)
    candidate = Candidate(model=run.model, trainer=run.trainer)
    candidate.check_files()
    tables = _session.open_tables(session)
    _session.start(session)
    prepared = _session.prepare_data(session, tables)
    audit(session, tables, prepared)
    trained = _session.train(session, run.model.kind, candidate, prepared, tables)
    version = _promote.register(session, trained, prepared)
    say(f"registered {version.name}@{version.version}, digest {version.digest[:12]}")
    record.finish(
        model=_named(version),
        run_id=version.run_id,
        tables=dict(prepared.tables),
        rows={"prepared": prepared.rows.to_dict(), "splits": dict(prepared.num_rows)},
        steps=[step.to_dict() for step in session.steps.done],
    )


def run_evaluate(run: Experiment, record: JobRecord) -> None:
    """Judge a registered version on the test rows, ask the gate, and move the alias ``champion`` when it says so."""
    session = _session.checked_session(run, record.settings)
    version = session.registry.resolve(run.name, run.evaluate.model)
    tables = _session.open_tables(session)
    _session.start(session)
    prepared = _session.prepare_data(session, tables)
    trained = _as_trained(version)
    step = f"version-{version.version}"
    found = _session.inspect(session, step, trained, prepared, _session.evaluate(session, step, trained, prepared))
    _session.show_evaluations({f"{version.name}@{version.version}": found})
    outcome = _promote.gate(session, trained, prepared, found["test"])
    key = trained.candidate
    report_uri = _promote.report(
        session, outcome, prepared=prepared, tables=tables, trained={key: trained}, evaluations={key: found}
    )
    say(f"report: {report_uri}")
    decision = outcome.verdict.decision
    record.finish(
        hold=not isinstance(decision, Promote),
        model=_named(version),
        metrics={split: metrics_of(evaluation) for split, evaluation in found.items()},
        gate={"verdict": decision.verdict, "reason": decision.reason},
        report=report_uri,
    )


def run_score(run: Experiment, record: JobRecord) -> None:
    """Batch-score a table version with registered model versions, all in one pass."""
    session = _session.checked_session(run, record.settings)
    resolved = [session.registry.resolve(run.name, which) for which in (run.scoring.model, *run.scoring.also)]
    versions = list({version.version: version for version in resolved}.values())  # an alias may name the same one
    tables = _session.scored_tables(session)
    _session.start(session)
    done = _live.score_all(session, tables, versions)
    first, *others = [_scored(version, scored) for version, scored in zip(versions, done, strict=True)]
    record.finish(**first)
    if others:
        record.finish(also=others)


def run_deploy(run: Experiment, record: JobRecord) -> None:
    """Deploy a registered version; with ``deploy.keep=true`` the job stays with the endpoint until it is interrupted."""
    session = _session.checked_session(run, record.settings)
    version = session.registry.resolve(run.name, run.deploy.model)
    _session.start(session, serving=True)
    deployed = _live.go_live(session, version)
    record.finish(model=_named(version), endpoint=deployed.to_dict())
    if run.deploy.keep:
        _live.stay(deployed)


def _scored(version: ModelVersion, scored: Scored) -> dict[str, Any]:
    predictions = {"uri": scored.ref.uri, "version": scored.ref.version}
    return {"model": _named(version), "predictions": predictions, "rows": scored.rows.to_dict(), "reused": scored.reused}


def _named(version: ModelVersion) -> dict[str, str | int]:
    return {"name": version.name, "version": version.version, "digest": version.digest}


def _as_trained(version: ModelVersion) -> TrainedBundle:
    """A registered version in the form that judging takes."""
    return TrainedBundle(
        candidate=f"version {version.version}",
        digest=version.digest,
        bundle_uri=version.bundle_uri,
        run_id=version.run_id,
        engine="registry",
        seconds=0.0,
        best_step=0,
        curve=[],
        threshold=None,
    )
