"""Searches: data is prepared once a variant, a trial is a training as any other, and the best is handed on as any model."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from raypipe.core.config import to_settings
from raypipe.core.console import say
from raypipe.core.digest import digest_json, digest_sources
from raypipe.core.errors import ConfigError
from raypipe.core.job import JobRecord
from raypipe.evaluate import Promote
from raypipe.pipeline import _promote, _session
from raypipe.pipeline._experiment import Candidate, Experiment
from raypipe.pipeline._judge import metrics_of
from raypipe.pipeline._session import Session
from raypipe.pipeline._train import training_fingerprint
from raypipe.pipeline._tune_runs import search_facts
from raypipe.pipeline._tune_trials import Searched, Sweep, Trials, Variant, prepare_variant, rooted, search
from raypipe.prepare import Prepared
from raypipe.registry import tracking_uri
from raypipe.tables import TableRef
from raypipe.tune import Store, read_space

ENGINE = "Ray Tune"
TUNED = "tuned"
_SHORT = 12


def open_sweep(run: Experiment, record: JobRecord) -> Sweep:
    """The space of the job, every combination of groups composed, built and planned; no cluster is needed.

    Raises:
        ConfigError: when there is nothing to search, or something that cannot be searched.
    """
    if run.tune.num_trials == 0:
        raise ConfigError(["tune.num_trials=0 searches nothing; the pipeline alone takes it, as no search"])
    sweep = _sweep(run, record)
    if not sweep.space.axes:
        raise ConfigError([f"nothing to search: {_none_applies(sweep)}; add one that does"])
    sweep.preflight()
    return sweep


def _sweep(run: Experiment, record: JobRecord) -> Sweep:
    composition = record.composition.for_job("train", without="tune")
    space = read_space(run.tune.space, composition)
    return Sweep(tuning=run.tune, space=space, composition=composition, begun_by=record.composition)


def _none_applies(sweep: Sweep) -> str:
    return f"no axis of tune.space applies to {sweep.space.words}"


def run_tune(run: Experiment, record: JobRecord) -> None:
    """Search, then train, register, judge and gate the best as any model.

    Raises:
        ConfigError: when there is nothing to search, or a combination cannot be composed; before any cluster is started.
        SearchError: when no trial finished.
    """
    run = replace(run, tune=replace(run.tune, name=run.tune.name or run.name))
    store = Store(uri=run.storage.uri("searches", str(run.tune.name)))
    if run.tune.resume and not any(run.tune.space.values()):
        _session.checked_session(run, record.settings)
        store.check(run.tune)
    sweep = open_sweep(run, record)
    session = _session.checked_session(run, record.settings)
    store.check(run.tune, sweep.space)
    _session.open_tables(session)
    _session.start(session)
    variants = [prepare_variant(session, sweep, lines) for lines in sweep.space.variants()]

    def work() -> tuple[Mapping[str, Any], str, bool]:
        searched = search(session, sweep, variants)
        new = len(searched.search.trials) - searched.search.num_kept
        return {"searched": searched}, f"{new} trials, {searched.search.num_kept} of an earlier run", new == 0

    searched: Searched = session.steps.checked("tune", work, engine=ENGINE).result["searched"]
    command = sweep.composition.command(searched.best.overrides)
    record.finish(search=search_facts(searched.search, report=searched.report), best=command)
    _hand_on(sweep, searched, Trials(sweep, variants).variant(searched.best.overrides), record)
    say(f"search: {searched.report}")
    say(f"best: {command}")


def _hand_on(sweep: Sweep, searched: Searched, variant: Variant, record: JobRecord) -> None:
    """Train the best, which finds its finished training, and do with it what is done with any model."""
    lines, prepared, tables = searched.best.overrides, variant.prepared, variant.tables
    run = rooted(sweep.experiment(lines), variant.session)
    session = replace(variant.session, run=run, settings=sweep.composition.redacted(lines))
    name = run.model.kind
    trained = _session.train(session, name, Candidate(model=run.model, trainer=run.trainer), prepared, tables)
    _promote.keep(session, trained, prepared)
    found = _session.inspect(session, name, trained, prepared, _session.evaluate(session, name, trained, prepared))
    _session.show_evaluations({name: found})
    outcome = _promote.gate(session, trained, prepared, found["test"])
    made, judged = {name: trained}, {name: found}
    report = _promote.report(session, outcome, prepared=prepared, tables=tables, trained=made, evaluations=judged)
    say(f"report: {report}")
    version, decision = outcome.version, outcome.verdict.decision
    record.finish(
        hold=not isinstance(decision, Promote),
        model={"name": version.name, "version": version.version, "digest": version.digest},
        run_id=trained.run_id,
        metrics={split: metrics_of(evaluation) for split, evaluation in found.items()},
        gate={"verdict": decision.verdict, "reason": decision.reason},
        report=report,
        steps=[step.to_dict() for step in session.steps.done],
    )


def open_pipeline_sweep(run: Experiment, record: JobRecord) -> Sweep | None:
    """The search of the pipeline, or None when it has none; where no axis applies to its model, this is said.

    Raises:
        ConfigError: also when an axis decides the data: all candidates of a pipeline learn from the same.
    """
    if not any(run.tune.space.values()) or run.tune.num_trials == 0:
        return None
    sweep = _sweep(run, record)
    if not sweep.space.axes:
        say(f"no search: {_none_applies(sweep)}")
        return None
    sweep.preflight()
    if len(sweep.space.variants()) > 1:
        outside = [axis.name for axis in sweep.space.facts if axis.name.partition(".")[0] not in ("model", "trainer")]
        raise ConfigError(
            [f"tune.space: {', '.join(outside)}: the pipeline tunes model and trainer; take jobs/tune.py for these"]
        )
    return sweep


def with_tuned(session: Session, sweep: Sweep | None, tables: Mapping[str, TableRef], prepared: Prepared) -> Session:
    """The session with one more candidate, the best of its search, which is not done again while nothing changed."""
    if sweep is None:
        return session
    run = session.run
    settings = {
        name: value for name, value in to_settings(run.tune).items() if name not in ("resume", "name", "max_concurrent")
    }
    parts = {
        **training_fingerprint(Candidate(model=run.model, trainer=run.trainer), prepared),
        "search": {
            **settings,
            "options": sweep.options,
            **digest_sources(("tune",)),
            "tracking": tracking_uri(run.tracking, run.storage),
        },
    }
    # a search that was killed goes on; one whose settings changed has another name, and nothing to go on with
    name = f"{run.name}-{digest_json(parts)[:_SHORT]}"
    mine = replace(sweep, tuning=replace(run.tune, name=name, resume=True))

    def work() -> Mapping[str, Any]:
        searched = search(session, mine, [Variant(session=session, tables=tables, prepared=prepared)])
        did = f"{len(searched.search.trials)} trials, best {searched.search.metric} {searched.best.value:.5f}"
        return {"overrides": list(searched.best.overrides), "report": searched.report, "did": did}

    step = session.steps.cached("tune", parts, work, engine=ENGINE, outputs=("report",))
    lines = step.result["overrides"]
    say(f"  tuned: {' '.join(lines)}; {step.result['report']}")
    best, told = sweep.experiment(lines), sweep.composition.redacted(lines)
    candidates: dict[str, Candidate | None] = {**run.all_candidates(), TUNED: Candidate(model=best.model, trainer=best.trainer)}
    shown = {
        **session.settings.get("candidates", {}),
        TUNED: {name: told[name] for name in ("model", "trainer") if name in told},
    }
    return replace(session, run=replace(run, candidates=candidates), settings={**session.settings, "candidates": shown})
