"""A job's session: the checked experiment, its remembered steps, and the tables, on a started cluster."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from raypipe.core import cluster
from raypipe.core.config import to_settings
from raypipe.core.console import headline, say, table
from raypipe.core.storage import join
from raypipe.evaluate import Evaluation
from raypipe.ingest import Ingested
from raypipe.pipeline._data import aside, show_ingested
from raypipe.pipeline._events import ingest_told, train_told
from raypipe.pipeline._experiment import Candidate, Experiment
from raypipe.pipeline._finish import finished_fingerprint
from raypipe.pipeline._inside import look_inside
from raypipe.pipeline._judge import evaluate_bundle
from raypipe.pipeline._provenance import provenance_of, record_provenance
from raypipe.pipeline._steps import ALL_TOGETHER, Step, Steps, fingerprint
from raypipe.pipeline._tracked import track_inputs
from raypipe.pipeline._train import TrainedBundle, train_candidate
from raypipe.prepare import JOINED_MANIFEST, MANIFEST, Plan, Prepared, digests_of, prepare, prepared_digest
from raypipe.registry import Events, Registry, tracking_uri
from raypipe.serve import prepare_environment
from raypipe.tables import TableRef, Tables

DATA, DRIVER = "Ray Data", "driver"
_PREPARED_BY = ("contract", "core", "expressions", "features", "joins", "prepare", "profiles", "split")
_EVALUATED_BY = (
    "bundle",
    "contract",
    "core",
    "evaluate",
    "expressions",
    "features",
    "models",
    "pages",
    "prepare",
    "profiles",
    "score",
)


@dataclass(frozen=True, kw_only=True)
class Session:
    """What every job works with.

    Attributes:
        run: The experiment.
        plan: Its checked task.
        steps: Finished steps.
        settings: The resolved configuration with secrets masked.
        events: Where what the job reads and writes is told.
    """

    run: Experiment
    plan: Plan
    steps: Steps
    settings: Mapping[str, Any]
    events: Events
    _contents: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict, repr=False)

    def contents_of(self, prepared: Prepared) -> dict[str, dict[str, str]]:
        """Digests of what `prepared` holds; read once a job."""
        if prepared.digest not in self._contents:
            self._contents[prepared.digest] = digests_of(prepared, self.plan.key)
        return self._contents[prepared.digest]

    @property
    def registry(self) -> Registry:
        """The model registry of this experiment."""
        return Registry(tracking=self.run.tracking, storage=self.run.storage)


def open_session(run: Experiment, settings: Mapping[str, Any]) -> Session:
    """Check everything that can be known before work, then start or join the cluster.

    Raises:
        ConfigError, LeakyColumn, StorageError: before any cluster is started.
    """
    session = checked_session(run, settings)
    start(session)
    return session


def checked_session(run: Experiment, settings: Mapping[str, Any]) -> Session:
    """A session whose cluster is not started yet, for what else can be refused before that.

    Raises:
        ConfigError, LeakyColumn, StorageError: as `open_session`.
    """
    plan = run.plan()
    tracking_uri(run.tracking, run.storage)
    run.storage.check_usable(several_machines=cluster.is_submitted())
    run = _with_absolute_root(run)
    return Session(run=run, plan=plan, steps=Steps(run.storage, run.name), settings=settings, events=run.lineage.open())


def start(session: Session, *, serving: bool = False) -> None:
    """Start or join the cluster.

    Args:
        session: A checked one.
        serving: The job will deploy, so the cluster must be started with what the ingress needs.
    """
    if serving:
        prepare_environment(session.run.serving)
    session.steps.checked("start", lambda: _start(session.run), engine="Ray")


def _start(run: Experiment) -> tuple[Mapping[str, Any], str, bool]:
    connected = cluster.is_connected()
    run.ray.start()
    run.storage.check_usable(several_machines=cluster.num_nodes() > 1)
    return {}, "connected already" if connected else "a cluster for this job", connected


def _with_absolute_root(run: Experiment) -> Experiment:
    """Workers have other working folders, so a local root is made absolute once."""
    return replace(run, storage=replace(run.storage, root=run.storage.uri().rstrip("/")))


def ingest(session: Session) -> dict[str, Ingested]:
    """Bring all tables up to their sources."""
    run = session.run

    def work() -> tuple[dict[str, Ingested], str, bool]:
        done = ingest_told(run, session.events)
        changed = [name for name, table in done.items() if not table.reused]
        reason = f"new versions of {', '.join(changed)}" if changed else "no source has changed"
        return done, reason, not changed

    done: dict[str, Ingested] = dict(session.steps.checked("ingest", work, engine=DATA).result)
    show_ingested(done)
    return done


def open_tables(session: Session) -> dict[str, TableRef]:
    """The latest version of every table that the task reads.

    Raises:
        TableNotFound: when the ingest job has not been run.
    """
    tables = Tables(session.run.storage)
    return {name: tables.open(name) for name in session.plan.tables}


def scored_tables(session: Session) -> dict[str, TableRef]:
    """The tables of the task, with the events that `scoring` names in the place of its events.

    Raises:
        TableNotFound: when a table or the version to score was never written.
    """
    scoring, events = session.run.scoring, session.plan.task.events
    found = Tables(session.run.storage).select(scoring.table or events, scoring.version)
    return {**open_tables(session), events: found}


def prepare_data(session: Session, tables: Mapping[str, TableRef]) -> Prepared:
    """Join, split, fit and transform, unless the same was done before."""
    run, plan = session.run, session.plan
    digest = prepared_digest(plan, tables)
    made_of = {"task": plan.task, "split": plan.split, "features": plan.features.features}
    inputs = {name: tables[name].label for name in plan.tables} | {ALL_TOGETHER: digest}
    parts = fingerprint(settings=to_settings(made_of), inputs=inputs, packages=_PREPARED_BY)

    def work() -> Mapping[str, Any]:
        made = prepare(plan, tables, run.storage, run.joins)
        say(f"  {made.did}")
        manifests = {"manifest": join(made.uri, MANIFEST), "joined": join(made.joined.uri, JOINED_MANIFEST)}
        return {"uri": made.uri, **manifests, "did": made.did}

    step = session.steps.cached("prepare", parts, work, engine=DATA, outputs=("manifest", "joined"))
    prepared = Prepared.open(step.result["uri"], allowed=plan.features.modules)
    prepared.mark_used()
    _show_prepared(prepared)
    return prepared


def train(
    session: Session, name: str, candidate: Candidate, prepared: Prepared, tables: Mapping[str, TableRef]
) -> TrainedBundle:
    """Train one candidate and record what it was made of and what came out, unless the same was done before."""
    engine = DRIVER if candidate.trainer.in_driver else f"Ray Train, {candidate.trainer.workers_text} worker(s)"
    run, plan = session.run, session.plan
    read = {table: tables[table] for table in plan.tables}

    def train_it() -> TrainedBundle:
        return train_candidate(run, name, candidate, plan=plan, prepared=prepared, settings=session.settings)

    def work() -> Mapping[str, Any]:
        with prepared.in_use():
            trained = train_told(run, session.events, name, read, train_it)
            track_inputs(run, trained.run_id, prepared, read)
            contents = session.contents_of(prepared)
            made_of = provenance_of(run, candidate, trained, plan=plan, prepared=prepared, contents=contents, tables=read)
            record_provenance(run, made_of, trained)
        return trained.to_dict()

    tracked = {"tracking": tracking_uri(run.tracking, run.storage)}
    parts = {**finished_fingerprint(run, candidate, prepared), **tracked}
    step = session.steps.cached(f"train-{name}", parts, work, engine=engine, outputs=("bundle_uri",))
    return TrainedBundle.from_dict(step.result)


def evaluate(session: Session, name: str, trained: TrainedBundle, prepared: Prepared) -> dict[str, Evaluation]:
    """Evaluations of a bundle on validation and test rows, unless they were made before."""
    parts = _judged_by(session.run, trained, prepared)

    def work() -> Mapping[str, Any]:
        with prepared.in_use():
            return evaluate_bundle(session.run, prepared, uri=trained.bundle_uri, digest=trained.digest)

    step = session.steps.cached(f"evaluate-{name}", parts, work, engine=DATA)
    return {split: Evaluation.from_dict(found) for split, found in step.result.items()}


def inspect(
    session: Session, name: str, trained: TrainedBundle, prepared: Prepared, found: Mapping[str, Evaluation]
) -> dict[str, Evaluation]:
    """The evaluations `found`, that of test with what the bundle goes by and how it behaves, unless it was looked at before."""

    def work() -> Mapping[str, Any]:
        with prepared.in_use():
            inside = look_inside(session.run, prepared, uri=trained.bundle_uri, digest=trained.digest)
        return replace(found["test"], **inside).to_dict()

    step = session.steps.cached(f"inspect-{name}", _judged_by(session.run, trained, prepared), work, engine=DATA)
    test = Evaluation.from_dict(dict(step.result))
    for behaviour in test.behaviours:
        say(f"  behaviour {behaviour.name} {'passed' if behaviour.passed else 'failed'}: {behaviour.outcome}")
    return {**found, "test": test}


def _judged_by(run: Experiment, trained: TrainedBundle, prepared: Prepared) -> dict[str, Any]:
    inputs = {"bundle": trained.digest, "prepared": prepared.digest}
    return fingerprint(settings=to_settings(run.evaluator), inputs=inputs, packages=_EVALUATED_BY)


def show_evaluations(evaluations: Mapping[str, Mapping[str, Evaluation]]) -> None:
    """One line a model and metric, with the interval."""
    rows, percent = [], 0.0
    for name, by_split in evaluations.items():
        test, validation = by_split["test"], by_split["validation"]
        percent = 100 * test.confidence  # one evaluator judges all
        for metric in test.better:
            value, found = validation.metrics[metric].value, test.metrics[metric]
            rows.append([name, metric, _number(value), _number(found.value), f"{_number(found.low)} to {_number(found.high)}"])
    table("evaluation", ["model", "metric", "validation", "test", f"{percent:g} % interval of test"], rows)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _show_prepared(prepared: Prepared) -> None:
    rows = [[split, f"{num:,}", *prepared.times.get(split, ("", ""))] for split, num in prepared.num_rows.items()]
    table("splits", ["split", "rows", "first prediction", "last prediction"], rows)
    say(f"  {prepared.rows.rows_in:,} events, set aside: {aside(prepared.rows)}")
    for name, num in prepared.unmatched.items():
        why = ", ".join(f"{count:,} {reason}" for reason, count in prepared.joined.unmatched_why.get(name, {}).items())
        say(f"  view {name}: nothing found for {num:,} rows{f' ({why})' if why else ''}")


def show_steps(steps: list[Step], seconds: float) -> None:
    """What was done, by which Ray library, and what was reused."""
    headline(f"done in {seconds:.1f} s with {os.cpu_count()} cores")
    rows = [[s.name, s.engine, "reused" if s.reused else "ran", f"{s.seconds:.1f}", s.reason] for s in steps]
    table("steps", ["step", "done by", "", "seconds", "why"], rows, text=("done by", "", "why"))
