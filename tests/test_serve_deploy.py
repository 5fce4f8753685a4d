"""One real cluster with HAProxy: deploying, changing the version under load, bad versions, ports, shutting down."""

import json
import os
import shutil
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from bundle_parts import make_bundle
from processes import free_port

from raypipe.bundle import load_bundle, save_bundle
from raypipe.core import cluster
from raypipe.core.errors import ConfigError, EndpointError, PortInUse
from raypipe.serve import EndpointSpec, Limits, Serving, check, deploy, prepare_environment, send, shutdown, start, undeploy
from raypipe.serve._deploy import HAPROXY, _application, _running
from raypipe.serve._haproxy import is_free

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\."),  # Ray 2.60 uses what it and pydantic deprecate
]
GOOD = {"carrier": "UA", "distance": 1400.0, "time_hour": "2013-06-01T10:00:00Z", "minute": 15}


@pytest.fixture(scope="module")
def serving() -> Serving:
    return Serving(port=free_port(), ingress="haproxy", deploy_timeout_s=90, limits=Limits(max_body_bytes=20_000))


@pytest.fixture(scope="module", autouse=True)
def running(serving: Serving) -> Iterator[None]:
    cluster.stop()  # the shared one is without HAProxy
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("RAY_SERVE_")]:
            patch.delenv(name)
        before = dict(os.environ)
        assert prepare_environment(serving)
        cluster.Cluster(num_cpus=2, object_store_gib=0.2).start()
        yield
        shutdown()
        cluster.stop()
        for name in set(os.environ) - set(before):
            del os.environ[name]
    assert is_free(serving.host, serving.port)


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, EndpointSpec]:
    """Versions 1 and 2 of a model, and a version 3 whose bundle lost a byte."""
    base = tmp_path_factory.mktemp("bundles")
    out = {}
    for version, rounds in ((1, 3), (2, 6)):
        digest = save_bundle(make_bundle(num_rounds=rounds), base / str(version))
        out[str(version)] = EndpointSpec(
            name="late", model="flights", version=version, digest=digest, bundle_uri=str(base / str(version))
        )
    shutil.copytree(base / "2", base / "damaged")
    features = base / "damaged" / "features.json"
    features.write_bytes(features.read_bytes().replace(b"1", b"2", 1))
    out["damaged"] = replace(out["2"], version=3, bundle_uri=str(base / "damaged"))
    return out


def replicas(name: str) -> list[str]:
    client = _running()
    assert client is not None
    details = client.get_serve_details()["applications"][name]["deployments"]["endpoint"]["replicas"]
    return sorted(r["replica_id"] for r in details if r["state"] == "RUNNING")


class Load:
    """Clients that ask without pause over kept connections, and what they got."""

    def __init__(self, url: str, num: int = 3) -> None:
        self.url, self.stop, self.got = url, threading.Event(), Counter[object]()
        self.threads = [threading.Thread(target=self.ask) for _ in range(num)]

    def ask(self) -> None:
        with httpx.Client(timeout=30) as client:
            while not self.stop.is_set():
                try:
                    answer = client.post(f"{self.url}/predict", json=GOOD)
                    ok = answer.status_code == 200
                    self.got[answer.json()["model"]["version"] if ok else f"{answer.status_code} {answer.text}"] += 1
                except httpx.HTTPError as error:
                    self.got[repr(error)] += 1

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()


def test_a_port_in_use_is_refused_before_serve_starts(serving: Serving, specs: dict[str, EndpointSpec]) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((serving.host, serving.port))
        other.listen()
        with pytest.raises(PortInUse, match=f"127.0.0.1:{serving.port} is in use .* serving.port=PORT"):
            deploy(serving, specs["1"])
    assert _running() is None


@pytest.mark.long
def test_a_first_version_that_cannot_load_leaves_nothing(serving: Serving, specs: dict[str, EndpointSpec]) -> None:
    with pytest.raises(EndpointError, match=r"version 3 did not come up: model bundle .* is damaged") as caught:
        deploy(serving, specs["damaged"])
    assert "\n" not in str(caught.value)
    assert not undeploy("late")


def test_an_endpoint_answers_through_haproxy(serving: Serving, specs: dict[str, EndpointSpec]) -> None:
    deployed = deploy(serving, specs["1"])
    bundle = load_bundle(Path(specs["1"].bundle_uri))
    asked = check(deployed.url, bundle.example_records(5))
    scores = [answer.body["predictions"][0]["score"] for answer in asked.answers]
    assert (deployed.engine, deployed.url) == (HAPROXY, f"http://127.0.0.1:{serving.port}")
    assert asked.to_dict() == {"sent": 5, "ok": 5}
    assert scores == pytest.approx(bundle.predict(bundle.examples.slice(0, 5)).scores.tolist(), abs=1e-6)
    assert asked.answers[0].body["model"] == deployed.model
    assert httpx.get(f"{deployed.url}/health").headers["x-model-digest"] == specs["1"].digest


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("GET", "/nothing", b"", 404),
        ("GET", "/predict", b"", 405),
        ("POST", "/predict", b"{", 400),
        ("POST", "/predict", b"{}", 422),
        ("POST", "/predict", b" " * 20_001, 413),
        ("POST", "/predict", b"[" * 15_000, 400),
    ],
)
def test_refusals_are_json_through_the_ingress(
    serving: Serving, specs: dict[str, EndpointSpec], method: str, path: str, content: bytes, status: int
) -> None:
    url = deploy(serving, specs["1"]).url
    answer = httpx.request(method, url + path, content=content)
    assert answer.status_code == status
    assert answer.json()["error"]


def test_the_same_version_again_restarts_nothing(serving: Serving, specs: dict[str, EndpointSpec]) -> None:
    deploy(serving, specs["1"])
    before = replicas("late")
    again = deploy(serving, specs["1"])
    assert replicas("late") == before
    assert again.seconds < 5


def test_limits_change_in_place(serving: Serving, specs: dict[str, EndpointSpec]) -> None:
    url = deploy(serving, specs["1"]).url
    before = replicas("late")
    deploy(replace(serving, limits=replace(serving.limits, max_rows=2)), specs["1"])
    deadline = time.monotonic() + 20
    while (answer := send(url, [GOOD] * 3)).ok and time.monotonic() < deadline:
        time.sleep(0.2)
    assert answer.status == 413
    assert replicas("late") == before
    deploy(serving, specs["1"])


@pytest.mark.long
def test_a_version_changes_without_a_failed_request(serving: Serving, specs: dict[str, EndpointSpec]) -> None:
    url = deploy(serving, specs["1"]).url
    with Load(url) as load:
        time.sleep(0.5)
        changed = deploy(serving, specs["2"])
        assert {send(url, [GOOD]).body["model"]["version"] for _ in range(20)} == {2}
        time.sleep(serving.drain_s + 1)
    assert changed.url == url
    assert set(load.got) == {1, 2}, load.got


@pytest.mark.long
def test_a_version_that_cannot_load_leaves_the_former_one_answering(serving: Serving, specs: dict[str, EndpointSpec]) -> None:
    url = deploy(serving, specs["2"]).url
    with Load(url) as load, pytest.raises(EndpointError, match=r"version 3 did not come up: .* is damaged"):
        deploy(serving, specs["damaged"])
    assert set(load.got) == {2}, load.got
    assert deploy(serving, specs["2"]).seconds < 10
    assert send(url, [GOOD]).body["model"]["version"] == 2


@pytest.mark.long
def test_endpoints_stand_side_by_side_and_go_one_by_one(serving: Serving, specs: dict[str, EndpointSpec]) -> None:
    first = deploy(serving, replace(specs["2"], name="first", route_prefix="/first"))
    late = deploy(serving, specs["2"])
    with pytest.raises(ConfigError, match="/first belongs to endpoint first"):
        deploy(serving, replace(specs["1"], name="other", route_prefix="/first"))
    assert first.url.endswith("/first")
    assert send(first.url, [GOOD]).ok
    assert send(late.url, [GOOD]).ok
    assert httpx.get(f"{first.url}/nothing").json()["error"].startswith("nothing is here: /nothing")
    assert undeploy("first")
    assert not undeploy("first")
    deadline = time.monotonic() + 30
    while send(first.url, [GOOD]).ok and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not send(first.url, [GOOD]).ok
    assert send(late.url, [GOOD]).ok


def test_another_address_is_refused_while_serve_runs(serving: Serving) -> None:
    start(serving)
    with pytest.raises(ConfigError, match=f"Serve already listens on 127.0.0.1:{serving.port}"):
        start(replace(serving, port=serving.port + 1))


def test_haproxy_listens_on_this_machine_only(serving: Serving) -> None:
    start(serving)
    (written,) = Path(os.environ["RAY_SERVE_HAPROXY_CONFIG_FILE_LOC"]).parent.glob("*/haproxy.cfg")
    binds = [line.split()[1] for line in written.read_text().splitlines() if line.strip().startswith("bind ")]
    assert len(binds) == 3
    assert all(bind.startswith("127.0.0.1:") for bind in binds), binds


def test_every_setting_of_a_deployment_is_one_that_serve_knows(serving: Serving, specs: dict[str, EndpointSpec]) -> None:
    from ray.serve.schema import DeploymentSchema, ServeApplicationSchema

    app = _application(serving, specs["1"])
    assert set(app) <= set(ServeApplicationSchema.model_fields)
    assert set(app["deployments"][0]) <= set(DeploymentSchema.model_fields)
    assert json.dumps(app)
