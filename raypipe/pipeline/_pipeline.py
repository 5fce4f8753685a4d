"""The pipeline: from sources to a live, judged model and a table of predictions, in one job."""

import time
from typing import Any

from raypipe.core.console import say
from raypipe.core.job import JobRecord
from raypipe.evaluate import Promote
from raypipe.pipeline import _live, _promote, _session, _tune
from raypipe.pipeline._audit import audit
from raypipe.pipeline._experiment import Experiment
from raypipe.pipeline._judge import choose, metrics_of
from raypipe.pipeline._session import Session
from raypipe.pipeline._transforms import transform
from raypipe.prepare import Prepared
from raypipe.registry import ui_command
from raypipe.serve import Deployed


def run_pipeline(run: Experiment, record: JobRecord) -> None:
    """Ingest, prepare, search, train the candidates, judge, gate, deploy, ask, and score; finished steps are reused."""
    started = time.monotonic()
    sweep = _tune.open_pipeline_sweep(run, record)
    session = _session.checked_session(run, record.settings)
    for candidate in run.all_candidates().values():
        candidate.check_files()
    _session.start(session, serving=True)
    run = session.run
    ingested = _session.ingest(session)
    made = transform(session)
    tables = {name: found.ref for name, found in ingested.items()} | {name: found.ref for name, found in made.items()}
    prepared = _session.prepare_data(session, tables)
    audit(session, tables, prepared)
    session = _tune.with_tuned(session, sweep, tables, prepared)
    candidates = session.run.all_candidates()
    trained = {name: _session.train(session, name, candidate, prepared, tables) for name, candidate in candidates.items()}
    found = {name: _session.evaluate(session, name, bundle, prepared) for name, bundle in trained.items()}
    _session.show_evaluations(found)
    chosen = choose(run, {name: by_split["validation"] for name, by_split in found.items()})
    say(f"  chosen on validation: {chosen}")
    found[chosen] = _session.inspect(session, chosen, trained[chosen], prepared, found[chosen])
    _promote.keep(session, trained[chosen], prepared)
    outcome = _promote.gate(session, trained[chosen], prepared, found[chosen]["test"])
    report_uri = _promote.report(session, outcome, prepared=prepared, tables=tables, trained=trained, evaluations=found)
    record.finish(
        model={"name": run.name, "version": outcome.version.version, "digest": outcome.version.digest, "candidate": chosen},
        metrics={split: metrics_of(evaluation) for split, evaluation in found[chosen].items()},
        candidates={name: metrics_of(by_split["test"]) for name, by_split in found.items()},
        gate={"verdict": outcome.verdict.decision.verdict, "reason": outcome.verdict.decision.reason},
        tables={name: ref.version for name, ref in tables.items()},
        rows={**{name: t.rows.to_dict() for name, t in ingested.items()}, "prepared": prepared.rows.to_dict()},
        report=report_uri,
    )
    deployed: Deployed | None = None
    if isinstance(outcome.verdict.decision, Promote):
        deployed = _live.go_live(session, outcome.version)
        record.finish(**_use(session, outcome, deployed, prepared))
    _session.show_steps(session.steps.done, time.monotonic() - started)
    say(f"report: {report_uri}")
    say(f"runs:   {ui_command(run.tracking, run.storage)}")
    held = not isinstance(outcome.verdict.decision, Promote)
    record.finish(hold=held, steps=[step.to_dict() for step in session.steps.done])
    if deployed is not None and run.deploy.keep:
        _live.stay(deployed)


def _use(session: Session, outcome: _promote.Outcome, deployed: Deployed, prepared: Prepared) -> dict[str, Any]:
    """Ask the endpoint, and score with the version behind it."""
    requests = _live.ask_endpoint(session, deployed, outcome.version, prepared)
    scored = _live.score(session, _session.scored_tables(session), outcome.version)
    return {
        "endpoint": deployed.to_dict(),
        "requests": requests.to_dict(),
        "predictions": {"uri": scored.ref.uri, "version": scored.ref.version, "rows": scored.rows.to_dict()},
    }
