"""From evaluated candidates to a registered version, the gate's decision, and the report."""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from raypipe.bundle import MANIFEST
from raypipe.core.config import to_settings
from raypipe.core.console import say
from raypipe.core.digest import digest_json
from raypipe.core.storage import download_folder, exists, is_remote, write_bytes
from raypipe.evaluate import (
    METRICS,
    CandidateFacts,
    Evaluation,
    FeatureFacts,
    Promote,
    ReportFacts,
    SplitFacts,
    TableFacts,
    TrainingCurve,
    card_markdown,
    card_page,
    figures,
    render_report,
)
from raypipe.models import Limited
from raypipe.pipeline._audit import audit_facts
from raypipe.pipeline._judge import Verdict, ask_gate, tracked_metrics
from raypipe.pipeline._session import DRIVER, Session
from raypipe.pipeline._train import TrainedBundle
from raypipe.prepare import Prepared
from raypipe.registry import ModelVersion, reopen_run
from raypipe.score import loaded
from raypipe.split import HashSplit, TimeSplit
from raypipe.tables import TableRef

_SHOWN_METRICS = 4


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of the chosen candidate; `unchanged` when it was the champion before."""

    version: ModelVersion
    verdict: Verdict
    unchanged: bool


def keep(session: Session, trained: TrainedBundle, prepared: Prepared) -> None:
    """Say that `prepared` is what a bundle was made of, that is registered or will be.

    It is said before: a job that is killed in between leaves a word too many, which nothing goes by without a bundle.
    """
    name = session.run.name
    prepared.keep_for(f"{name}-{trained.digest}", f"models/{name}/{trained.digest}/{MANIFEST}")


def register(session: Session, trained: TrainedBundle, prepared: Prepared) -> ModelVersion:
    """The registered version of a trained bundle; found by digest when it is there."""
    keep(session, trained, prepared)
    tags = {f"table.{name}": f"{name}@{version}" for name, version in prepared.tables.items()}
    tags |= {"candidate": trained.candidate, "prepared": prepared.digest}
    folder = download_folder(trained.bundle_uri)
    try:
        return session.registry.register(session.run.name, folder, run_id=trained.run_id, tags=tags)
    finally:
        if is_remote(trained.bundle_uri):
            shutil.rmtree(folder)


def gate(session: Session, trained: TrainedBundle, prepared: Prepared, test: Evaluation) -> Outcome:
    """Register the bundle, ask the gate, and move the alias when it says Promote. Checked against the registry each time."""
    registry = session.registry

    def work() -> tuple[Mapping[str, Any], str, bool]:
        known = registry.find_by_digest(session.run.name, trained.digest)
        version = known or register(session, trained, prepared)
        champion = registry.champion(session.run.name)
        verdict = ask_gate(session.run, prepared, test=test, version=version, champion=champion)
        same = champion is not None and champion.version == version.version
        if isinstance(verdict.decision, Promote) and not same:
            registry.promote(session.run.name, version.version)
        return {"version": version, "verdict": verdict, "unchanged": same}, verdict.decision.reason, same

    step = session.steps.checked("gate", work, engine=DRIVER)
    outcome = Outcome(**step.result)
    word = "promoted" if isinstance(outcome.verdict.decision, Promote) else "held back"
    say(f"  {session.run.name}@{outcome.version.version} ({trained.candidate}) {word}: {outcome.verdict.decision.reason}")
    return outcome


def report(
    session: Session,
    outcome: Outcome,
    *,
    prepared: Prepared,
    tables: Mapping[str, TableRef],
    trained: Mapping[str, TrainedBundle],
    evaluations: Mapping[str, Mapping[str, Evaluation]],
) -> str:
    """The HTML report under ``reports/``, the model card beside it, both also in the MLflow run; returns the report's URI."""
    chosen = _chosen(outcome, trained)
    decision = outcome.verdict.decision
    uri = session.run.storage.uri("reports", session.run.name, f"version-{outcome.version.version}.html")
    parts = {
        "digests": [found.digest for found in trained.values()],
        "decision": [decision.verdict, decision.reason],
        "version": outcome.version.version,
        "card": to_settings(session.run.card),
        "chosen": _digest(evaluations[chosen]),
        "evaluations": digest_json({name: _digest(by_split) for name, by_split in evaluations.items()}),
    }
    step = f"report-version-{outcome.version.version}"
    if outcome.unchanged and exists(uri) and tells_promotion(session.steps.parts(step), parts):
        session.steps.checked(step, lambda: ({}, "it tells how the champion was promoted", True), engine=DRIVER)
        return uri

    def work() -> Mapping[str, Any]:
        facts = _facts(session, outcome, prepared=prepared, tables=tables, trained=trained, found=evaluations)
        write_bytes(uri, render_report(facts).encode())
        for ending, text in _card(session, facts).items():
            write_bytes(f"{uri.removesuffix('.html')}-card.{ending}", text.encode())
        tags = {"gate": f"{decision.verdict}: {decision.reason}", "version": facts.version, "evaluated_on": prepared.digest}
        _track(session, facts, trained[chosen].run_id, list(evaluations[chosen].values()), tags)
        return {"uri": uri}

    session.steps.cached(step, parts, work, engine=DRIVER, outputs=("uri",))
    return uri


def tells_promotion(told: Mapping[str, Any], parts: Mapping[str, Any]) -> bool:
    """Whether a report made of `told` tells the promotion of a champion, with the card and the numbers of `parts`."""
    same = all(told.get(name) == parts[name] for name in ("card", "chosen"))
    return same and all(found["decision"][0] == Promote.verdict for found in (told, parts))


def _digest(by_split: Mapping[str, Evaluation]) -> str:
    return digest_json({split: evaluation.to_dict() for split, evaluation in by_split.items()})


def _track(session: Session, facts: ReportFacts, run_id: str, evaluations: list[Evaluation], tags: Mapping[str, str]) -> None:
    tracker = reopen_run(session.run.tracking, session.run.storage, run_id=run_id)
    tracker.log_once(tracked_metrics(evaluations))
    tracker.log_tags(tags)
    tracker.log_json("evaluation.json", {e.split: e.to_dict() for e in evaluations})
    with tempfile.TemporaryDirectory(prefix="raypipe-") as scratch:
        pages = {"report.html": render_report(facts)}
        pages |= {f"model_card.{ending}": text for ending, text in _card(session, facts).items()}
        for name, text in pages.items():
            page = Path(scratch) / name
            page.write_text(text, encoding="utf-8")
            tracker.log_file(page)
        for name, data in figures(facts.evaluation, curves=facts.curves).items():
            image = Path(scratch) / name
            image.write_bytes(data)
            tracker.log_file(image, "figures")


def _card(session: Session, facts: ReportFacts) -> dict[str, str]:
    """The model card by the ending of its file."""
    card = session.run.card
    return {"md": card_markdown(card, facts), "html": card_page(card, facts)}


def _facts(
    session: Session,
    outcome: Outcome,
    *,
    prepared: Prepared,
    tables: Mapping[str, TableRef],
    trained: Mapping[str, TrainedBundle],
    found: Mapping[str, Mapping[str, Evaluation]],
) -> ReportFacts:
    run, task, chosen = session.run, session.plan.task, _chosen(outcome, trained)
    shown = list(METRICS[task.kind])[:_SHOWN_METRICS]
    return ReportFacts(
        model=run.name,
        evaluation=found[chosen]["test"],
        summary=f"Predicts {task.name} for every row of {task.events}: {task.label}.",
        version=str(outcome.version.version),
        digest=outcome.version.digest,
        created_utc=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        decision=outcome.verdict.decision,
        validation=found[chosen]["validation"],
        champion=outcome.verdict.champion,
        comparison=outcome.verdict.comparison,
        candidates=[
            CandidateFacts(
                name=name,
                metrics={metric: by_split["validation"].metrics[metric] for metric in shown},
                engine=trained[name].engine,
                seconds=trained[name].seconds,
                outcome="chosen" if name == chosen else "not chosen",
            )
            for name, by_split in found.items()
        ],
        curves=[
            TrainingCurve(name=name, points=t.curve, best_step=t.best_step, step_name=t.step_name)
            for name, t in trained.items()
        ],
        tables=[
            TableFacts(name=name, version=ref.version, num_rows=ref.num_rows, role=_role(session, name))
            for name, ref in tables.items()
        ],
        splits=[
            SplitFacts(name=name, num_rows=num, window=_window(session, name), label_mean=prepared.joined.label_mean(name))
            for name, num in prepared.num_rows.items()
        ],
        set_aside=prepared.rows.set_aside,
        audit=audit_facts(session, prepared),
        features=[
            FeatureFacts(name=row.name, kind=row.kind, columns=row.sources, detail=row.statistics)
            for row in prepared.features.describe()
        ],
        limits=_limits(trained[chosen]),
        run={
            "MLflow run": trained[chosen].run_id,
            "candidate": chosen,
            "prepared data": prepared.digest[:16],
            "features": prepared.features.digest[:16],
            "settings": digest_json(to_settings(run))[:16],
        },
    )


def _limits(trained: TrainedBundle) -> tuple[str, ...]:
    model = loaded(trained.bundle_uri, trained.digest).model
    return model.limits if isinstance(model, Limited) else ()


def _chosen(outcome: Outcome, trained: Mapping[str, TrainedBundle]) -> str:
    return next(name for name, found in trained.items() if found.digest == outcome.version.digest)


def _role(session: Session, table: str) -> str:
    task = session.plan.task
    if table == task.events:
        return "events"
    views = [f"{name} by {', '.join(view.entity)}" for name, view in task.views.items() if view.table == table]
    return "view " + "; ".join(views)


def _window(session: Session, split: str) -> str:
    rule = session.run.split
    if isinstance(rule, TimeSplit):
        low, high = rule.windows()[split]
        return f"{low:%Y-%m-%d} to before {high:%Y-%m-%d}, {rule.zone}"
    if isinstance(rule, HashSplit):
        return f"by hash of {', '.join(rule.by or session.plan.key)}"
    return f"by {type(rule).__name__}"
