"""Running a recorded training again, on the table versions it had, and comparing what comes out layer by layer.

Nothing of the first run is reused and nothing that is used is touched: the second one has a scratch root of its own, its
MLflow run is in an experiment of its own, and it registers nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from raypipe.core.cluster import Cluster
from raypipe.core.config import build, config, to_settings
from raypipe.core.console import say, table
from raypipe.core.digest import digest_json
from raypipe.core.errors import ConfigError, LineageError, NotReproduced, StorageError, TableNotFound
from raypipe.core.job import JobRecord
from raypipe.core.storage import Storage, list_files, remove
from raypipe.evaluate import Evaluation
from raypipe.pipeline import _session
from raypipe.pipeline._experiment import Candidate, Core, Experiment
from raypipe.pipeline._judge import tracked_metrics
from raypipe.pipeline._session import Session
from raypipe.pipeline._train import TrainedBundle
from raypipe.prepare import Prepared
from raypipe.registry import (
    CAUSES,
    REPRODUCTIONS,
    Compared,
    LineageEvents,
    Provenance,
    RecordedRun,
    Tracking,
    compare,
    first_difference,
    read_run,
    reopen_run,
    tracking_uri,
)
from raypipe.tables import TableRef, Tables

_SHOWN = 4
_SHORT = 12


@config
class Reproduction:
    """Which run is run again, and when it counts as the same.

    Attributes:
        run: Its id in MLflow.
        tolerance: How far a golden score or a metric may be from the recorded one; 0 wants every bit, of weights too. With a
            tolerance, weights are judged by what they predict.
        keep: When the scratch data stays, under ``reproductions/RUN`` of the root.
        storage: Where the tables of the run are.
        tracking: The MLflow store that has the run.
        ray: The cluster.
        core: ``allowed_targets`` must allow code of your own that the run used.
    """

    run: Annotated[str, Field(min_length=1)]
    tolerance: Annotated[float, Field(ge=0)] = 0.0
    keep: Literal["never", "different", "always"] = "different"
    storage: Storage = Storage()
    tracking: Tracking = Tracking()
    ray: Cluster = Cluster()
    core: Core = Core()


def run_reproduce(wanted: Reproduction, record: JobRecord) -> None:
    """Train again what a run trained, and compare.

    Raises:
        LineageError: when the run, its provenance or its table versions are not there.
        NotReproduced: naming the first layer of results that differs.
    """
    recorded = read_run(wanted.tracking, wanted.storage, run_id=wanted.run)
    before = _provenance(recorded)
    run = _experiment(wanted, recorded)
    tables = _tables(wanted.storage, recorded, before)
    session = _session.open_session(run, recorded.settings)
    with _scratch(run.storage, wanted.keep) as decide:
        found = _again(session, recorded, before, tables)
        layers = compare(_with_metrics(before, recorded), found, tolerance=wanted.tolerance)
        first = first_difference(layers, tolerance=wanted.tolerance)
        decide(first is None)
        causes = [one.layer for one in layers if one.layer in CAUSES and one.outcome == "different"]
        _show(recorded, layers, first)
        record.finish(
            run_id=recorded.run_id,
            reproduced=first is None,
            first_difference=next((one.layer for one in layers if one.outcome in ("different", "close")), None),
            layers={one.layer: _result(one) for one in layers},
        )
        if first is not None:
            raise NotReproduced(recorded.run_id, first.layer, first.differs[:_SHOWN], causes)


def _provenance(recorded: RecordedRun) -> Provenance:
    what = f"run {recorded.run_id}"
    if recorded.deleted:
        raise LineageError(what, "was deleted in MLflow", f"restore it there: mlflow runs restore --run-id {recorded.run_id}")
    if recorded.provenance is None or not recorded.settings:
        problem = f"has no provenance ({recorded.status.lower()}); it failed, or was made before raypipe recorded it"
        raise LineageError(what, problem, "train it again")
    return recorded.provenance


def _experiment(wanted: Reproduction, recorded: RecordedRun) -> Experiment:
    """The experiment of the run, with the cluster and the store of this job and a root of its own."""
    theirs = (recorded.settings.get("core") or {}).get("allowed_targets") or []
    unknown = sorted(set(theirs) - set(wanted.core.allowed_targets))
    if unknown:
        more = ",".join([*wanted.core.allowed_targets, *unknown])
        raise ConfigError(
            [f"core.allowed_targets: the run used code in {', '.join(unknown)}; say core.allowed_targets=[{more}]"]
        )
    ours = ("storage", "tracking", "ray", "lineage")  # may hold masked secrets, and are not what is proved
    try:
        run = build({k: v for k, v in recorded.settings.items() if k not in ours}, Experiment, allowed=theirs)
    except ConfigError as error:
        head = f"run {recorded.run_id}: this code no longer takes its settings{_code_of(recorded)}"
        raise ConfigError([head, *error.problems]) from error
    storage = replace(wanted.storage, root=wanted.storage.uri("reproductions", recorded.run_id))
    uri = tracking_uri(wanted.tracking, wanted.storage)
    tracking = Tracking(uri=uri, experiment=f"{wanted.tracking.experiment}{REPRODUCTIONS}")
    return replace(run, storage=storage, tracking=tracking, ray=wanted.ray, lineage=LineageEvents())


def _code_of(recorded: RecordedRun) -> str:
    revision = recorded.tags.get("git.revision", "unknown")
    return "" if revision == "unknown" else f"; it was made at git revision {revision[:_SHORT]}"


def _tables(storage: Storage, recorded: RecordedRun, before: Provenance) -> dict[str, TableRef]:
    """The versions that the run read, all of whose files are there.

    Raises:
        LineageError: naming the version that is gone, and where the run had it.
    """
    tables = Tables(storage)
    return {name: _whole(tables, name, version, recorded, before) for name, version in before.tables.items()}


def _whole(tables: Tables, name: str, version: int, recorded: RecordedRun, before: Provenance) -> TableRef:
    what = f"run {recorded.run_id}"
    try:
        ref = tables.open(name, version)
    except (StorageError, TableNotFound) as error:
        problem = f"table {name}@{version} is not below this root, or no longer in its log"
        raise LineageError(what, problem, f"the run read it with storage.root={before.root}") from error
    there = {*list_files(ref.uri)}
    gone = [part.path for part in ref.parts if ref.part_uri(part) not in there]
    if gone:
        problem = f"{len(gone)} of {len(ref.parts)} files of table {ref.label} are gone, for example {gone[0]}: it was vacuumed"
        raise LineageError(what, problem, "bring them back from a backup, or train on a version that is there")
    return ref


@contextmanager
def _scratch(storage: Storage, keep: Literal["never", "different", "always"]) -> Iterator[Any]:
    """A root that is empty at first and, unless it is kept, gone at the end; the block says whether the run was the same."""
    remove(storage.uri())
    same: list[bool] = []
    try:
        yield same.append
    finally:
        if keep == "never" or (keep == "different" and same != [False]):
            remove(storage.uri())
        else:
            say(f"  kept: {storage.uri()}")


def _again(session: Session, recorded: RecordedRun, before: Provenance, tables: Mapping[str, TableRef]) -> Provenance:
    """Prepare, train and, where the run was judged on its own data, evaluate."""
    run = session.run
    candidate = _candidate(run, before)
    prepared = _session.prepare_data(session, tables)
    trained = _session.train(session, before.candidate, candidate, prepared, tables)
    reopen_run(run.tracking, run.storage, run_id=trained.run_id).log_tags({"reproduction_of": recorded.run_id})
    found = _provenance(read_run(run.tracking, run.storage, run_id=trained.run_id))
    return _with_numbers(found, _evaluated(session, recorded, trained, prepared)) if _is_judged(recorded, before) else found


def _candidate(run: Experiment, before: Provenance) -> Candidate:
    """The candidate whose settings are the recorded ones, else the one of that name: defaults may have changed since."""
    mine = Candidate(model=run.model, trainer=run.trainer)
    named = run.all_candidates()
    wanted = [before.layers["config"][part] for part in ("model", "trainer")]
    for one in (mine, *named.values()):
        if [digest_json(to_settings(part)) for part in (one.model, one.trainer)] == wanted:
            return one
    return named.get(before.candidate, mine)


def _is_judged(recorded: RecordedRun, before: Provenance) -> bool:
    """Whether its evaluation is of the data it was trained on: a later evaluate job judges it on newer rows."""
    return bool(recorded.evaluation) and recorded.tags.get("evaluated_on") == before.prepared


def _evaluated(session: Session, recorded: RecordedRun, trained: TrainedBundle, prepared: Prepared) -> Mapping[str, float]:
    """By the costs that the run was judged by last: an evaluate job may have had others than the training."""
    run = session.run
    (costs,) = {evaluation.costs for evaluation in _judged(recorded)}
    judging = replace(session, run=replace(run, evaluator=replace(run.evaluator, costs=costs, metric=None)))
    return tracked_metrics([*_session.evaluate(judging, trained.candidate, trained, prepared).values()])


def _judged(recorded: RecordedRun) -> list[Evaluation]:
    return [Evaluation.from_dict(found) for found in recorded.evaluation.values()]


def _with_metrics(before: Provenance, recorded: RecordedRun) -> Provenance:
    return _with_numbers(before, tracked_metrics(_judged(recorded))) if _is_judged(recorded, before) else before


def _with_numbers(provenance: Provenance, metrics: Mapping[str, float]) -> Provenance:
    layers = provenance.layers
    return replace(provenance, layers={**layers, "metrics": {**layers["metrics"], **metrics}})


def _result(one: Compared) -> dict[str, Any]:
    found: dict[str, Any] = {"outcome": one.outcome, "entries": one.num}
    return found | ({"differs": list(one.differs)} if one.differs else {}) | ({"note": one.note} if one.note else {})


def _show(recorded: RecordedRun, layers: Sequence[Compared], first: Compared | None) -> None:
    rows = [[one.layer, one.outcome, f"{one.num - len(one.differs)} of {one.num}", _differs(one)] for one in layers]
    table(f"run {recorded.run_id} and the same again", ["layer", "", "equal", "what differs"], rows, text=["", "what differs"])
    differing = [one.layer for one in layers if one.layer in CAUSES and one.outcome == "different"]
    if "code" in differing:
        say(f"  the code is not that of the run{_code_of(recorded)}")
    if first is None:
        say("  reproduced" + (f", although {', '.join(differing)} differ" if differing else ": every layer is equal"))


def _differs(one: Compared) -> str:
    more = f" and {len(one.differs) - _SHOWN} more" if len(one.differs) > _SHOWN else ""
    names = ", ".join(name if len(name) <= 2 * _SHORT else f"{name[: 2 * _SHORT]}..." for name in one.differs[:_SHOWN])
    return "; ".join(part for part in (names + more, one.note) if part)
