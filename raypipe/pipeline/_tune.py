"""Searches: data is prepared once a variant, a trial is a training as any other, and the best is handed on as any model."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from raypipe.core.compose import Composition
from raypipe.core.config import build, to_settings
from raypipe.core.console import bar, say
from raypipe.core.digest import digest_json, digest_sources
from raypipe.core.errors import ConfigError
from raypipe.core.job import JobRecord
from raypipe.evaluate import Promote
from raypipe.pipeline import _promote, _session
from raypipe.pipeline._audit import audit
from raypipe.pipeline._experiment import Candidate, Experiment
from raypipe.pipeline._judge import metrics_of
from raypipe.pipeline._session import Session
from raypipe.pipeline._train import training_fingerprint
from raypipe.pipeline._tune_runs import SearchRuns, note_trial, search_facts, show_search, write_page
from raypipe.prepare import LoadPrepared, Prepared, prepared_digest
from raypipe.registry import tracking_uri
from raypipe.tables import TableRef
from raypipe.tune import Search, Space, Trial, TrialSpec, Tuning, preflight, read_space, run_search

ENGINE = "Ray Tune"
TUNED = "tuned"
_SHORT, _FINGERPRINT = 12, 24


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What is searched, checked before any cluster is started.

    Attributes:
        tuning: How.
        space: What is varied.
        composition: Makes the settings of a trial as ``jobs/train.py`` makes its own.
    """

    tuning: Tuning
    space: Space
    composition: Composition

    def experiment(self, lines: Sequence[str]) -> Experiment:
        """What ``jobs/train.py`` would build with these overrides beside those of the job."""
        plain = self.composition.compose(lines)
        return build(plain, Experiment, allowed=(plain.get("core") or {}).get("allowed_targets") or [])

    def check(self, lines: Sequence[str]) -> None:
        """Refuse what can be refused before a cluster is started."""
        run = self.experiment(lines)
        run.plan()
        run.trainer.check(run.model)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One combination of the axes that decide the data: its session, its tables, and the prepared data."""

    session: Session
    tables: Mapping[str, TableRef]
    prepared: Prepared


@dataclass(frozen=True, kw_only=True)
class Searched:
    """A search that is done, its page, and the overrides of its best trial."""

    search: Search
    report: str
    best: Trial


def open_sweep(run: Experiment, record: JobRecord) -> Sweep:
    """The space of the job, every combination of groups composed, built and planned; no cluster is needed.

    Raises:
        ConfigError: when there is nothing to search, or something that cannot be searched.
    """
    if not run.tune.space:
        raise ConfigError(["tune.space is empty: sweep a setting, such as 'model.max_depth=range(3,9)', or fill tune.space"])
    if run.tune.num_trials == 0:
        raise ConfigError(["tune.num_trials=0 searches nothing; the pipeline alone takes it, as no search"])
    composition = record.composition.for_job("train", without="tune")
    sweep = Sweep(tuning=run.tune, space=read_space(run.tune.space, composition), composition=composition)
    preflight(sweep.space, sweep.check)
    return sweep


def run_tune(run: Experiment, record: JobRecord) -> None:
    """Search, then train, register, judge and gate the best as any model.

    Raises:
        ConfigError: when there is nothing to search, or a combination cannot be composed; before any cluster is started.
        SearchError: when no trial finished.
    """
    sweep = open_sweep(run, record)
    sweep = replace(sweep, tuning=replace(run.tune, name=run.tune.name or run.name))
    session = _session.open_session(run, record.settings)
    variants = [_variant(session, sweep, lines) for lines in sweep.space.variants()]

    def work() -> tuple[Mapping[str, Any], str, bool]:
        searched = search(session, sweep, variants)
        new = len(searched.search.trials) - searched.search.num_kept
        return {"searched": searched}, f"{new} trials, {searched.search.num_kept} of an earlier run", new == 0

    searched: Searched = session.steps.checked("tune", work, engine=ENGINE).result["searched"]
    command = sweep.composition.command(searched.best.overrides)
    record.finish(search=search_facts(searched.search, report=searched.report), best=command)
    _hand_on(sweep, searched, _Trials(sweep, variants).variant(searched.best.overrides), record)
    say(f"search: {searched.report}")
    say(f"best: {command}")


def _hand_on(sweep: Sweep, searched: Searched, variant: Variant, record: JobRecord) -> None:
    """Train the best, which finds its finished training, and do with it what is done with any model."""
    lines, prepared, tables = searched.best.overrides, variant.prepared, variant.tables
    run = _rooted(sweep.experiment(lines), variant.session)
    session = replace(variant.session, run=run, settings=sweep.composition.redacted(lines))
    name = run.model.kind
    trained = _session.train(session, name, Candidate(model=run.model, trainer=run.trainer), prepared, tables)
    _promote.keep(session, trained, prepared)
    found = _session.evaluate(session, name, trained, prepared)
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
    """The search of the pipeline, or None when it has none.

    Raises:
        ConfigError: also when an axis decides the data: all candidates of a pipeline learn from the same.
    """
    if not run.tune.space or run.tune.num_trials == 0:
        return None
    sweep = open_sweep(run, record)
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
        "search": {**settings, **digest_sources(("tune",)), "tracking": tracking_uri(run.tracking, run.storage)},
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
    say(f"  tuned: {' '.join(lines)}")
    best, told = sweep.experiment(lines), sweep.composition.redacted(lines)
    candidates: dict[str, Candidate | None] = {**run.all_candidates(), TUNED: Candidate(model=best.model, trainer=best.trainer)}
    shown = {
        **session.settings.get("candidates", {}),
        TUNED: {name: told[name] for name in ("model", "trainer") if name in told},
    }
    return replace(session, run=replace(run, candidates=candidates), settings={**session.settings, "candidates": shown})


def search(session: Session, sweep: Sweep, variants: Sequence[Variant]) -> Searched:
    """Run, or go on with, the search; every trial that ends gets a run in MLflow, and the whole a page.

    Raises:
        ConfigError: when the name is taken, or the search changed.
        SearchError: when no trial finished.
    """
    run, tuning, trials = session.run, sweep.tuning, _Trials(sweep, variants)
    name = tuning.name or run.name
    uri = run.storage.uri("searches", name)
    seen: list[float] = []
    better = min if tuning.mode == "min" else max
    with ExitStack() as stack:
        for variant in variants:
            stack.enter_context(variant.prepared.in_use())
        runs = stack.enter_context(SearchRuns(session, name=name, metric=tuning.metric, uri=uri))
        progress = stack.enter_context(bar(f"search {name}", tuning.num_trials))

        def ended(trial: Trial) -> str:
            seen.extend([] if trial.value is None else [trial.value])
            note_trial(progress, trial, better(seen, default=None))
            return runs.add(trial, trials.spec(trial.overrides))

        found = run_search(
            sweep.space,
            tuning,
            compose=trials.spec,
            uri=uri,
            fingerprint=_fingerprint(run, variants),
            on_trial=ended,
        )
        show_search(found)
        best = found.best
        assert best is not None  # run_search raises where there is none
        command = sweep.composition.command(best.overrides)
        report = run.storage.uri("reports", run.name, f"search-{name}.html")
        page = write_page(report, found, command=command, about=_about(run, tuning, variants))
        runs.finish(found, page=page, command=command)
    return Searched(search=found, report=report, best=best)


class _Trials:
    """What trials train, composed in the driver."""

    def __init__(self, sweep: Sweep, variants: Sequence[Variant]) -> None:
        self._sweep, self._variants = sweep, {variant.prepared.digest: variant for variant in variants}
        self._tables = {name: ref for variant in variants for name, ref in variant.tables.items()}
        self._specs: dict[tuple[str, ...], TrialSpec] = {}

    def variant(self, lines: Sequence[str]) -> Variant:
        """The prepared data that a trial with these overrides learns from."""
        return self._of(self._sweep.experiment(lines))

    def spec(self, lines: Sequence[str]) -> TrialSpec:
        """What a trial with these overrides trains."""
        key = tuple(lines)
        if key not in self._specs:
            self._specs[key] = self._compose(key)
        return self._specs[key]

    def _of(self, run: Experiment) -> Variant:
        if len(self._variants) == 1:
            return next(iter(self._variants.values()))
        return self._variants[prepared_digest(run.plan(), self._tables)]

    def _compose(self, lines: Sequence[str]) -> TrialSpec:
        run = self._sweep.experiment(lines)
        variant = self._of(run)
        prepared = variant.prepared
        parts = training_fingerprint(Candidate(model=run.model, trainer=run.trainer), prepared)
        return TrialSpec(
            model=run.model,
            trainer=run.trainer,
            load=LoadPrepared(prepared.uri, prepared.features.modules),
            data_key=prepared.digest,
            fingerprint=digest_json(parts)[:_FINGERPRINT],
            uri=variant.session.run.storage.uri("runs"),
        )


def _variant(session: Session, sweep: Sweep, lines: Sequence[str]) -> Variant:
    """Prepare and audit one variant; what it shares with others is found by its digest."""
    run = _rooted(sweep.experiment(lines), session)
    mine = replace(session, run=run, plan=run.plan())
    tables = _session.open_tables(mine)
    prepared = _session.prepare_data(mine, tables)
    audit(mine, tables, prepared)
    return Variant(session=mine, tables=tables, prepared=prepared)


def _rooted(run: Experiment, session: Session) -> Experiment:
    """`run` with the storage of the session, whose root is absolute."""
    return replace(run, storage=session.run.storage)


def _fingerprint(run: Experiment, variants: Sequence[Variant]) -> dict[str, str]:
    """What a search is a function of beside its space."""
    parts = training_fingerprint(Candidate(model=run.model, trainer=run.trainer), variants[0].prepared)
    found = {name: digest_json(value)[:_SHORT] for name, value in parts.items() if name != "inputs"}
    return {**found, "data": digest_json(sorted(variant.prepared.digest for variant in variants))[:_SHORT]}


def _about(run: Experiment, tuning: Tuning, variants: Sequence[Variant]) -> dict[str, str]:
    data = ", ".join(variant.prepared.digest[:_SHORT] for variant in variants)
    return {"Experiment": run.name, "Searcher": tuning.searcher.kind, "Scheduler": tuning.scheduler.kind, "Prepared data": data}
