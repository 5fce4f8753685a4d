"""Driving an endpoint's ASGI application in tests, over real bundles."""

import asyncio
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from bundle_parts import trained

from raypipe.bundle import Bundle, load_bundle, save_bundle
from raypipe.serve import App, Endpoint, EndpointSpec, Limits
from raypipe.serve._predict import INLINE_ROWS

GOOD = {"carrier": "UA", "distance": 1400.0, "time_hour": "2013-06-01T10:00:00Z", "minute": 15, "flight": 1545}


@dataclass
class Answered:
    status: int
    headers: dict[str, str]
    body: bytes
    messages: list[dict[str, Any]] = field(default_factory=list)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def ask(
    app: App, method: str, path: str, body: bytes | Sequence[bytes] = b"", headers: Mapping[str, str] | None = None
) -> Answered:
    """One request, its body in one or more chunks."""
    chunks = [body] if isinstance(body, bytes) else list(body)
    waiting = [{"type": "http.request", "body": c, "more_body": i < len(chunks) - 1} for i, c in enumerate(chunks)]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    raw = [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in (headers or {}).items()]
    await app({"type": "http", "method": method, "path": path, "root_path": "", "headers": raw}, receive, send)
    found = {k.decode(): v.decode("latin-1") for k, v in sent[0]["headers"]}
    return Answered(sent[0]["status"], found, b"".join(m.get("body", b"") for m in sent[1:]), sent)


def call(app: App, method: str = "POST", path: str = "/predict", body: Any = b"", **headers: str) -> Answered:
    content = body if isinstance(body, (bytes, tuple)) else json.dumps(body).encode()
    return asyncio.run(ask(app, method, path, content, {k.replace("_", "-"): v for k, v in headers.items()}))


def records(*rows: Any) -> dict[str, Any]:
    return {"records": list(rows)}


def saved(base: Path) -> dict[str, Path]:
    """One bundle of each kind of target below `base`."""
    folders = {kind: base / kind for kind in ("binary", "multiclass", "regression")}
    for kind, folder in folders.items():
        save_bundle(trained(kind), folder)
    return folders


def make_spec(folder: Path, **changes: Any) -> EndpointSpec:
    facts = {"name": "late", "model": "flights", "version": 3, "digest": load_bundle(folder).digest, "bundle_uri": str(folder)}
    return EndpointSpec(**{**facts, "key": ("time_hour", "carrier", "flight"), **changes})


@dataclass(frozen=True)
class SlowScorer:
    """A bundle whose large predictions wait for `go`."""

    bundle: Bundle
    go: threading.Event
    digest: str
    inputs: Any
    sources: Mapping[str, str]
    target: Any

    @classmethod
    def over(cls, bundle: Bundle, go: threading.Event) -> "SlowScorer":
        return cls(bundle, go, bundle.digest, bundle.inputs, bundle.sources, bundle.target)

    def predict_rows(self, rows: Any) -> Any:
        if len(rows) > INLINE_ROWS:
            assert self.go.wait(10)
        return self.bundle.predict_rows(rows)

    def example_records(self, num: int = 1) -> list[dict[str, Any]]:
        return self.bundle.example_records(num)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A saved bundle of each kind of target."""
    return saved(tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="module")
def endpoint(folders: dict[str, Path]) -> Endpoint:
    """A replica over the binary bundle."""
    return Endpoint(make_spec(folders["binary"]))


@pytest.fixture
def app(endpoint: Endpoint) -> App:
    """Its application, with the limits as they are by default."""
    endpoint.reconfigure(Limits().to_dict())
    return endpoint.app()
