"""What a search tries: settings composed as a training's are, on data that is prepared once a variant."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from raypipe.core.compose import Composition, flat, key_of
from raypipe.core.config import build
from raypipe.core.console import live
from raypipe.core.digest import digest_json
from raypipe.core.errors import ConfigError
from raypipe.pipeline import _session
from raypipe.pipeline._audit import audit
from raypipe.pipeline._experiment import Candidate, Experiment
from raypipe.pipeline._session import Session
from raypipe.pipeline._train import training_fingerprint
from raypipe.pipeline._tune_runs import Following, SearchRuns, show_search, write_page
from raypipe.prepare import LoadPrepared, Prepared
from raypipe.tables import TableRef
from raypipe.tune import Origin, Proposer, Search, Space, Trial, TrialSpec, Tuning, check_comparable, preflight, run_search

_SHORT, _FINGERPRINT = 12, 24


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What is searched, checked before any cluster is started.

    Attributes:
        tuning: How.
        space: What is varied.
        composition: Makes the settings of a trial as ``jobs/train.py`` makes its own.
        begun_by: How the job itself was composed.
    """

    tuning: Tuning
    space: Space
    composition: Composition
    begun_by: Composition

    def experiment(self, lines: Sequence[str]) -> Experiment:
        """What ``jobs/train.py`` would build with these overrides beside those of the job."""
        plain = self.composition.compose(lines)
        return build(plain, Experiment, allowed=(plain.get("core") or {}).get("allowed_targets") or [])

    @property
    def command(self) -> str:
        """What goes on with this search."""
        if self.begun_by.job == "pipeline":
            return self.begun_by.command()
        fixed = tuple(line for line in self.begun_by.fixed if key_of(line) != "tune.resume")
        swept = [f"{key}={text}" for key, text in self.tuning.space.items() if text is not None]
        return replace(self.begun_by, job="tune", fixed=fixed).command([*swept, "tune.resume=true"])

    @property
    def options(self) -> str:
        """Digest of what each combination of the searched groups brings: an edited option is another search."""
        axes = [axis for axis in self.space.axes if axis.key in self.space.chosen]
        runs = [self.experiment(self.space.overrides(sample)) for sample in self.space.combinations(axes)] if axes else []
        return digest_json([Candidate(model=run.model, trainer=run.trainer).shaping for run in runs])

    @property
    def num_trials(self) -> int:
        """Trials in all; a space of few combinations has no more than these."""
        return Proposer(self.space, self.tuning).num_trials

    def preflight(self) -> None:
        """Refuse what can be refused before a cluster is started.

        Raises:
            ConfigError: for a space that its searcher cannot search, or that reaches what cannot be trained.
        """
        Proposer(self.space, self.tuning)
        preflight(self.space, self.check)

    def check(self, lines: Sequence[str]) -> None:
        """Refuse what cannot be trained, or compared, with these overrides."""
        run = self.experiment(lines)
        run.plan()
        run.trainer.check(run.model)
        check_comparable(run.model, self.tuning)
        if self.tuning.metric == "validation_auc" and run.task.kind != "binary":
            problem = f"tune.metric=validation_auc is of binary tasks, and this one has task.kind={run.task.kind}"
            raise ConfigError([f"{problem}; set tune.metric=validation_loss"])


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One combination of the axes that decide the data: its overrides, its session, its tables, and the prepared data."""

    lines: tuple[str, ...] = ()
    session: Session
    tables: Mapping[str, TableRef]
    prepared: Prepared


@dataclass(frozen=True, kw_only=True)
class Searched:
    """A search that is done, its page, and the overrides of its best trial."""

    search: Search
    report: str
    best: Trial


def search(session: Session, sweep: Sweep, variants: Sequence[Variant]) -> Searched:
    """Run, or go on with, the search; every trial that ends gets a run in MLflow, and the whole a page.

    Raises:
        ConfigError: when the name is taken, or the search changed.
        SearchError: when no trial finished.
    """
    run, tuning, trials = session.run, sweep.tuning, Trials(sweep, variants)
    name = tuning.name or run.name
    uri = run.storage.uri("searches", name)
    with ExitStack() as stack:
        for variant in variants:
            stack.enter_context(variant.prepared.in_use())
        runs = stack.enter_context(SearchRuns(session, name=name, metric=tuning.metric, uri=uri))
        with live(f"search {name}", sweep.num_trials) as line:
            following = Following(line, tuning.mode, lambda trial: runs.add(trial, trials.spec(trial.overrides)))
            origin = Origin(
                fingerprint=_fingerprint(run, variants, sweep), command=sweep.command, settings=flat(session.settings)
            )
            found = run_search(sweep.space, tuning, compose=trials.spec, uri=uri, origin=origin, on_trial=following)
        show_search(found)
        best = found.best
        assert best is not None  # run_search raises where there is none
        command = sweep.composition.command(best.overrides)
        report = run.storage.uri("reports", run.name, f"search-{name}.html")
        page = write_page(report, found, command=command, about=_about(run, tuning, variants))
        runs.finish(found, page=page, command=command)
    return Searched(search=found, report=report, best=best)


class Trials:
    """What trials train, composed in the driver."""

    def __init__(self, sweep: Sweep, variants: Sequence[Variant]) -> None:
        self._sweep, self._variants = sweep, variants
        self._specs: dict[tuple[str, ...], TrialSpec] = {}

    def variant(self, lines: Sequence[str]) -> Variant:
        """The prepared data that a trial with these overrides learns from: the variant of which it has all overrides."""
        own = [variant for variant in self._variants if set(variant.lines) <= set(lines)]
        return max(own, key=lambda variant: len(variant.lines))

    def spec(self, lines: Sequence[str]) -> TrialSpec:
        """What a trial with these overrides trains."""
        key = tuple(lines)
        if key not in self._specs:
            self._specs[key] = self._compose(key)
        return self._specs[key]

    def _compose(self, lines: Sequence[str]) -> TrialSpec:
        run = self._sweep.experiment(lines)
        variant = self.variant(lines)
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


def prepare_variant(session: Session, sweep: Sweep, lines: Sequence[str]) -> Variant:
    """Prepare and audit one variant; what it shares with others is found by its digest."""
    run = rooted(sweep.experiment(lines), session)
    mine = replace(session, run=run, plan=run.plan())
    tables = _session.open_tables(mine)
    prepared = _session.prepare_data(mine, tables)
    audit(mine, tables, prepared)
    return Variant(lines=tuple(lines), session=mine, tables=tables, prepared=prepared)


def rooted(run: Experiment, session: Session) -> Experiment:
    """`run` with the storage of the session, whose root is absolute."""
    return replace(run, storage=session.run.storage)


def _fingerprint(run: Experiment, variants: Sequence[Variant], sweep: Sweep) -> dict[str, str]:
    """What a search is a function of beside its space."""
    parts = training_fingerprint(Candidate(model=run.model, trainer=run.trainer), variants[0].prepared)
    found = {name: digest_json(value)[:_SHORT] for name, value in parts.items() if name != "inputs"}
    return {
        **found,
        "options": sweep.options[:_SHORT],
        "data": digest_json(sorted(variant.prepared.digest for variant in variants))[:_SHORT],
    }


def _about(run: Experiment, tuning: Tuning, variants: Sequence[Variant]) -> dict[str, str]:
    data = ", ".join(variant.prepared.digest[:_SHORT] for variant in variants)
    return {"Experiment": run.name, "Searcher": tuning.searcher.kind, "Scheduler": tuning.scheduler.kind, "Prepared data": data}
