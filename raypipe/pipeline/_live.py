"""From a registered version to a live endpoint that answered real requests, and to a table of predictions."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raypipe.bundle import Bundle
from raypipe.core.console import say
from raypipe.core.errors import EndpointError
from raypipe.pipeline._events import score_told
from raypipe.pipeline._session import DATA, Session
from raypipe.prepare import Prepared
from raypipe.registry import ModelVersion
from raypipe.score import ModelId, Scored, loaded, score_tables
from raypipe.serve import Deployed, EndpointSpec, Requests, check, deploy
from raypipe.tables import TableRef

NUM_REQUESTS = 5
_TOLERANCE = 1e-5


def go_live(session: Session, version: ModelVersion) -> Deployed:
    """Deploy `version` as the experiment's endpoint; nothing is restarted where it is live already."""
    spec = EndpointSpec(
        name=session.run.name,
        model=version.name,
        version=version.version,
        digest=version.digest,
        bundle_uri=version.bundle_uri,
        key=session.plan.key,
    )

    def work() -> tuple[Mapping[str, Any], str, bool]:
        found = deploy(session.run.serving, spec)
        return {"deployed": found}, f"{version.name}@{version.version} answers at {found.url}", False

    step = session.steps.checked("deploy", work, engine="Ray Serve")
    deployed: Deployed = step.result["deployed"]
    session.registry.deployed(version, endpoint=deployed.name, url=deployed.url)
    say(f"  {deployed.url} answers as {version.name}@{version.version}, by {deployed.engine}")
    return deployed


def ask_endpoint(session: Session, deployed: Deployed, version: ModelVersion, prepared: Prepared) -> Requests:
    """Send real test rows over HTTP, one a request, and compare each answer with the bundle's own.

    Raises:
        EndpointError: when a request fails, or an answer differs from the bundle's.
    """
    bundle = loaded(version.bundle_uri, version.digest)
    rows = prepared.joined.head("test", NUM_REQUESTS)
    keys = rows.select(list(session.plan.key)).to_pylist()
    inputs = dataclasses.replace(bundle, examples=rows).example_records(NUM_REQUESTS)
    records = [{**{k: _json(v) for k, v in key.items()}, **record} for key, record in zip(keys, inputs, strict=True)]

    def work() -> tuple[Mapping[str, Any], str, bool]:
        requests = check(deployed.url, records)
        _compare(requests, bundle, bundle.predict(rows).scores, name=deployed.name)
        return {"requests": requests}, f"{requests.ok} of {requests.sent} answered as the bundle does", False

    requests: Requests = session.steps.checked("requests", work, engine="HTTP").result["requests"]
    for record, answer in zip(records, requests.answers, strict=True):
        found = answer.body["predictions"][0]
        asked = ", ".join(str(record[name]) for name in session.plan.key)
        said = f"{session.plan.task.name}: {_said(found)}"
        say(f"  {asked} -> {said}, {answer.seconds * 1000:.1f} ms, prediction {found['prediction_id']}")
    return requests


def _compare(requests: Requests, bundle: Bundle, scores: Any, *, name: str) -> None:
    for answer, expected in zip(requests.answers, scores, strict=True):
        if not answer.ok:
            raise EndpointError(name, f"a request failed with status {answer.status}: {answer.body.get('error', answer.body)}")
        found = _scores(answer.body["predictions"][0])
        if not np.allclose(found, expected, atol=_TOLERANCE):
            raise EndpointError(name, f"the endpoint answers {found}, bundle {bundle.digest[:12]} answers {expected}")


def _scores(prediction: Mapping[str, Any]) -> list[float]:
    return list(prediction["scores"].values()) if "scores" in prediction else [prediction["score"]]


def _said(prediction: Mapping[str, Any]) -> str:
    shown = ", ".join(f"{score:.3f}" for score in _scores(prediction))
    return f"{prediction['label']} (score {shown})" if "label" in prediction else shown


def _json(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool)) or value is None else value.isoformat()


def score(session: Session, tables: Mapping[str, TableRef], version: ModelVersion) -> Scored:
    """Batch-score what `scoring` names with `version`, unless that was done before."""
    return score_all(session, tables, [version])[0]


def score_all(session: Session, tables: Mapping[str, TableRef], versions: Sequence[ModelVersion]) -> tuple[Scored, ...]:
    """Batch-score what `scoring` names with all of `versions` in one pass, but for those that have done so before."""
    run = session.run
    models = [ModelId(name=v.name, version=v.version, digest=v.digest, bundle_uri=v.bundle_uri) for v in versions]

    def score_them() -> tuple[Scored, ...]:
        return score_tables(session.plan, tables, run.scoring, models, storage=run.storage, joins=run.joins)

    def work() -> tuple[Mapping[str, Any], str, bool]:
        done = score_told(run, session.events, tables, versions, score_them)
        new = [(v, one.rows.rows_out) for v, one in zip(versions, done, strict=True) if not one.reused]
        said = ", ".join(f"{num:,} predictions by {_label(version)}" for version, num in new)
        return {"scored": done}, said or "scored before", not new

    found: tuple[Scored, ...] = session.steps.checked("score", work, engine=DATA).result["scored"]
    for version, one in zip(versions, found, strict=True):
        aside = ", ".join(f"{num:,} {reason}" for reason, num in one.rows.set_aside.items()) or "none"
        said = f"{one.rows.rows_out:,} predictions by {_label(version)} in {one.ref.uri}@{one.ref.version}"
        say(f"  {said}; set aside: {aside}")
    return found


def _label(version: ModelVersion) -> str:
    return f"{version.name}@{version.version}"


def stay(deployed: Deployed) -> None:
    """Keep the endpoint up until the job is interrupted."""
    say(f"{deployed.url} stays up; Ctrl-C ends it")
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        say("stopping")
