"""OpenLineage events: as the client's own models have them, in a file or over HTTP, and never at the cost of the job."""

import importlib
import json
import pkgutil
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from lineage_parts import commit, file_entry
from openlineage.client import event_v2, generated
from openlineage.client.serde import Serde

from raypipe.core.compose import compose, to_plain
from raypipe.core.config import build
from raypipe.core.errors import ConfigError, SourceError
from raypipe.core.storage import Storage
from raypipe.pipeline import Experiment
from raypipe.pipeline._events import _sources, transforms_told
from raypipe.registry import Dataset, LineageEvents
from raypipe.transforms import Transformed

TABLE = Dataset(
    uri="/data/tables/flights", version="4", schema=pa.schema([("id", pa.int64()), ("at", pa.timestamp("us"))]), num_rows=9
)
FILE = Dataset(uri="s3://bucket/a/b.csv", version="ff", kind="FILE")


class Receiver(BaseHTTPRequestHandler):
    """Answers with the server's status, after its delay, and keeps what it got."""

    def do_POST(self) -> None:
        time.sleep(self.server.delay_s)
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.got.append((self.path, dict(self.headers), body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def receiver(status: int = 201, delay_s: float = 0.0) -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        server.got, server.status, server.delay_s = [], status, delay_s
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def url_of(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def one_run(settings: LineageEvents, *, tags: Mapping[str, str] | None = None) -> str:
    with settings.open().run("late.train.xgboost", inputs=[FILE]) as told:
        told.complete(outputs=[TABLE], tags=tags)
    return told.run_id


def facet_classes() -> dict[str, type[Any]]:
    """The client's facets by the name that events carry."""
    modules = [importlib.import_module(f"{generated.__name__}.{m.name}") for m in pkgutil.iter_modules(generated.__path__)]
    return {name: found for module in modules for name, found in vars(module).items() if isinstance(found, type)}


def check(event: Mapping[str, Any]) -> None:
    """Refuse what the client's own models would not take, or would write otherwise."""
    classes = facet_classes()

    def rebuilt(facet: Mapping[str, Any]) -> Any:
        return classes[facet["_schemaURL"].rpartition("/")[2]](**{k: v for k, v in facet.items() if not k.startswith("_")})

    def facets(holder: Mapping[str, Any], name: str = "facets") -> dict[str, Any]:
        return {key: rebuilt(facet) for key, facet in holder.get(name, {}).items()}

    made = event_v2.RunEvent(
        eventTime=event["eventTime"],
        producer=event["producer"],
        eventType=event_v2.RunState[event["eventType"]],
        run=event_v2.Run(event["run"]["runId"], facets(event["run"])),
        job=event_v2.Job(event["job"]["namespace"], event["job"]["name"], facets(event["job"])),
        inputs=[
            event_v2.InputDataset(d["namespace"], d["name"], facets=facets(d), inputFacets=facets(d, "inputFacets"))
            for d in event["inputs"]
        ],
        outputs=[
            event_v2.OutputDataset(d["namespace"], d["name"], facets=facets(d), outputFacets=facets(d, "outputFacets"))
            for d in event["outputs"]
        ],
    )
    assert Serde.to_dict(made) == event


def events_in(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_file_gets_valid_events_one_a_line_and_the_next_job_adds_to_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "events.jsonl"
    settings = LineageEvents(events=f"file://{path}", namespace="team")
    runs = [one_run(settings, tags={"mlflow.run_id": "r1"}), one_run(settings)]
    found = events_in(path)
    for event in found:
        check(event)
    assert [event["eventType"] for event in found] == ["START", "COMPLETE"] * 2
    assert [event["run"]["runId"] for event in found] == [runs[0]] * 2 + [runs[1]] * 2
    assert {(event["job"]["namespace"], event["job"]["name"]) for event in found} == {("team", "late.train.xgboost")}
    start, complete = found[:2]
    assert start["outputs"] == []
    assert start["eventTime"] < complete["eventTime"]
    (given,), (made,) = complete["inputs"], complete["outputs"]
    assert (given["namespace"], given["name"]) == ("s3://bucket", "a/b.csv")
    assert (made["namespace"], made["name"]) == ("file", "/data/tables/flights")
    assert made["facets"]["version"]["datasetVersion"] == "4"
    assert [(f["name"], f["type"]) for f in made["facets"]["schema"]["fields"]] == [("id", "int64"), ("at", "timestamp[us]")]
    assert made["outputFacets"]["outputStatistics"]["rowCount"] == 9
    assert ("mlflow.run_id", "r1") in {(tag["key"], tag["value"]) for tag in complete["run"]["facets"]["tags"]["tags"]}


def test_a_receiver_gets_the_same_events_with_the_key_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "k3y")
    with receiver() as server:
        one_run(LineageEvents(events=url_of(server)))
        (path, headers, start), (_, _, complete) = server.got
    assert path == "/api/v1/lineage"
    assert headers["Authorization"] == "Bearer k3y"
    assert (start["eventType"], complete["eventType"]) == ("START", "COMPLETE")
    check(start)
    check(complete)


@pytest.mark.parametrize(
    ("error", "state", "message"),
    [
        (SourceError("/x.csv", "is empty"), "FAIL", "SourceError: /x.csv: is empty"),
        (KeyboardInterrupt(), "ABORT", "KeyboardInterrupt: "),
    ],
)
def test_a_run_that_raises_tells_its_error_and_raises_it(error, state, message, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    events = LineageEvents(events=f"file://{path}").open()
    with pytest.raises(type(error)), events.run("late.ingest.flights", outputs=[TABLE]):
        raise error
    start, ended = events_in(path)
    check(ended)
    assert (start["eventType"], ended["eventType"]) == ("START", state)
    facet = ended["run"]["facets"]["errorMessage"]
    assert facet["message"] == message
    assert "Traceback" in facet["stackTrace"]
    assert ended["outputs"][0]["name"] == "/data/tables/flights"


def test_without_a_setting_nothing_is_started_or_written() -> None:
    before = threading.active_count()
    assert one_run(LineageEvents())
    assert threading.active_count() == before


@pytest.mark.parametrize("trouble", ["refused", "status 500", "silent", "no folder"])
def test_a_receiver_in_trouble_costs_one_line_and_no_more_than_its_time(trouble: str, tmp_path: Path, capsys) -> None:
    with receiver(500 if trouble == "status 500" else 201, delay_s=5 if trouble == "silent" else 0) as server:
        (tmp_path / "file").write_text("")
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            places = {
                "refused": f"http://u:secret@127.0.0.1:{closed.getsockname()[1]}",
                "no folder": f"file://{tmp_path}/file/x",
            }
            settings = LineageEvents(events=places.get(trouble, url_of(server)), timeout_s=0.3)
            events, started = settings.open(), time.monotonic()
            for _ in range(4):
                with events.run("late.score.late"):
                    pass
            seconds = time.monotonic() - started
    lines = [line for line in capsys.readouterr().err.splitlines() if "lineage.events" in line]
    assert len(lines) == 1
    assert "takes no events" in lines[0]
    assert "the job goes on without" in lines[0]
    assert "secret" not in lines[0]
    assert seconds < (1.5 if trouble == "silent" else 4)  # the client's import is in it, once a process


@pytest.mark.parametrize(
    ("uri", "namespace", "name"),
    [
        ("/data/x", "file", "/data/x"),
        ("s3://bucket/a/b", "s3://bucket", "a/b"),
        ("postgresql://reader:secret@db:5432/shop/public.orders?id=[0,9)", "postgres://db:5432", "shop.public.orders"),
        ("https://api.example.com/v1/orders?page=3", "https://api.example.com", "v1/orders"),
        ("iceberg://catalog/db.table", "iceberg://catalog", "db.table"),
    ],
)
def test_datasets_are_named_as_openlineage_names_them(uri: str, namespace: str, name: str) -> None:
    found = Dataset(uri=uri)
    assert (found.namespace, found.name) == (namespace, name)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"events": "marquez:5000"}, "file:///PATH or http"),
        ({"events": "file:///x", "timeout_s": 0}, "timeout_s"),
        ({"namespace": ""}, "namespace"),
        ({"evnts": "file:///x"}, "did you mean events"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build(settings, LineageEvents)


def test_files_are_told_one_by_one_and_of_many_their_folders() -> None:
    def told(num: int) -> list[Dataset]:
        return _sources({"source": {"files": {f"s3://b/day-{i % 2}/{i}.csv": file_entry("a") for i in range(num)}}})

    assert [one.uri for one in told(2)] == ["s3://b/day-0/0.csv", "s3://b/day-1/1.csv"]
    assert {one.version for one in told(2)} == {"a" * 64}
    assert [(one.uri, one.num_files) for one in told(50)] == [("s3://b/day-0", 25), ("s3://b/day-1", 25)]
    assert _sources({}) == []


def test_a_transform_is_told_from_the_versions_it_read_to_the_one_it_made(storage: Storage, tmp_path: Path) -> None:
    made_of = "{_target_: raypipe.transforms.Sql, inputs: {p: penguins}, sql: 'select * from p'}"
    settings = ["experiment=penguins", f"data.transforms.heavy={made_of}", f"storage.root={storage.root}"]
    run = build(to_plain(compose("train", settings)), Experiment)
    ref = commit(storage, "heavy", {"id": [1, 2]}, {"digest": "d", "inputs": {"p": {"table": "penguins", "version": 3}}})
    events = LineageEvents(events=f"file://{tmp_path}/events").open()
    done = {"heavy": Transformed(ref=ref, rows={}, reused=False, reason="first run")}
    assert transforms_told(run, events, lambda: done) == done
    _, complete = events_in(tmp_path / "events")
    check(complete)
    assert complete["job"]["name"] == "penguins.transform.heavy"
    assert complete["inputs"][0]["name"] == f"{storage.root}/tables/penguins"
    assert complete["inputs"][0]["facets"]["version"]["datasetVersion"] == "3"
    assert complete["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 2
