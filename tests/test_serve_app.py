"""The endpoint as an ASGI application over a real bundle, without Ray: answers, refusals, limits, hostile input."""

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from bundle_parts import make_bundle
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.bundle import Bundle, load_bundle, save_bundle
from raypipe.core.errors import BundleError, ConfigError, StorageError
from raypipe.serve import App, Endpoint, EndpointSpec, Limits, Request, Response, Route
from raypipe.serve._predict import INLINE_ROWS, prediction_ids

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


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("bundles")
    for kind in ("binary", "multiclass", "regression"):
        save_bundle(make_bundle(kind), base / kind)
    return {kind: base / kind for kind in ("binary", "multiclass", "regression")}


def make_spec(folder: Path, **changes: Any) -> EndpointSpec:
    facts = {"name": "late", "model": "flights", "version": 3, "digest": load_bundle(folder).digest, "bundle_uri": str(folder)}
    return EndpointSpec(**{**facts, "key": ("time_hour", "carrier", "flight"), **changes})


@pytest.fixture(scope="module")
def endpoint(folders: dict[str, Path]) -> Endpoint:
    return Endpoint(make_spec(folders["binary"]))


@pytest.fixture
def app(endpoint: Endpoint) -> App:
    endpoint.reconfigure(Limits().to_dict())
    return endpoint.app()


def test_an_answer_names_the_model_each_prediction_and_the_row(app: App, endpoint: Endpoint) -> None:
    answer = call(app, body=records(GOOD, {**GOOD, "distance": 100}))
    model = {"name": "flights", "version": 3, "digest": endpoint.loaded.live.scorer.digest}
    first, second = answer.json["predictions"]
    assert answer.status == 200
    assert answer.json["model"] == model
    assert {k: v for k, v in answer.headers.items() if k.startswith("x-model")} == {
        f"x-model-{k}": str(v) for k, v in model.items()
    }
    assert first["key"] == {"time_hour": "2013-06-01T10:00:00Z", "carrier": "UA", "flight": 1545}
    assert first["prediction_id"] != second["prediction_id"]
    assert first["label"] == "true"
    assert second["label"] == "false"
    assert first["score"] > second["score"]


@pytest.mark.parametrize(
    ("kind", "expected"), [("binary", {"score", "label"}), ("multiclass", {"scores", "label"}), ("regression", {"score"})]
)
def test_each_kind_of_target_has_its_fields(folders: dict[str, Path], kind: str, expected: set[str]) -> None:
    app = Endpoint(make_spec(folders[kind])).app()
    prediction = call(app, body=GOOD).json["predictions"][0]
    assert set(prediction) == {"prediction_id", "key"} | expected


def test_a_row_scores_the_same_alone_in_company_and_with_its_fields_permuted(app: App, endpoint: Endpoint) -> None:
    rows = endpoint.loaded.live.scorer.example_records(INLINE_ROWS) * 3
    together = [p["score"] for p in call(app, body=records(*rows)).json["predictions"]]
    alone = [call(app, body=dict(reversed(row.items()))).json["predictions"][0]["score"] for row in rows[:20]]
    assert together[:20] == alone


def test_the_three_shapes_of_a_body_are_one(app: App) -> None:
    scores = {call(app, body=b).json["predictions"][0]["score"] for b in (records(GOOD), [GOOD], GOOD)}
    assert len(scores) == 1


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json", ""])
def test_json_is_taken_under_its_names_and_without_one(app: App, kind: str) -> None:
    assert call(app, body=GOOD, content_type=kind).status == 200
    assert call(app, body=GOOD).status == 200


def test_a_body_in_chunks_is_one_body(app: App) -> None:
    text = json.dumps(GOOD).encode()
    assert call(app, body=(text[:10], b"", text[10:])).status == 200


HOSTILE = [
    ("empty body", b"", 400, "malformed JSON"),
    ("half an object", b'{"records": [', 400, "malformed JSON"),
    ("NaN", b'{"distance": NaN}', 400, "malformed JSON"),
    ("Infinity", b'{"distance": -Infinity}', 400, "malformed JSON"),
    ("a number beyond float64", b'{"distance": 1e999}', 400, "malformed JSON"),
    ("a lone surrogate", b'{"carrier": "\\ud800"}', 400, "malformed JSON"),
    ("bytes that are not UTF-8", b'{"carrier": "\xff"}', 400, "malformed JSON"),
    ("a byte order mark", b"\xef\xbb\xbf{}", 400, "malformed JSON"),
    ("depth", b"[" * 100_000 + b"]" * 100_000, 400, "malformed JSON"),
    ("deep objects", b'{"a":' * 50_000 + b"1" + b"}" * 50_000, 400, "malformed JSON"),
    ("depth inside a column", json.dumps({**GOOD, "carrier": json.loads("[" * 500 + "]" * 500)}).encode(), 422, "carrier"),
    ("a string", b'"hello"', 422, "expected"),
    ("null", b"null", 422, "expected"),
    ("no records", b'{"records": []}', 422, "no records"),
    ("an empty list", b"[]", 422, "no records"),
    ("an empty record", b"{}", 422, "carrier: is null or missing"),
    ("a list of numbers", b"[1, 2]", 422, "2 of 2 record(s)"),
    ("a number among records", json.dumps(records(GOOD, 7)).encode(), 422, "record 1: a record is an object"),
    ("a field beside records", json.dumps({**records(GOOD), "threshold": 1}).encode(), 422, "threshold"),
    ("text for a number", json.dumps({**GOOD, "distance": "1400"}).encode(), 422, "column distance: '1400'"),
    ("true for a number", json.dumps({**GOOD, "minute": True}).encode(), 422, "column minute"),
    ("a fraction for a whole number", json.dumps({**GOOD, "minute": 1.5}).encode(), 422, "column minute"),
    ("a whole number beyond 64 bits", json.dumps({**GOOD, "minute": 2**63}).encode(), 422, "column minute"),
    ("a much larger one", json.dumps({**GOOD, "minute": 10**30}).encode(), 422, "column minute"),
    ("below the minimum", json.dumps({**GOOD, "distance": -1}).encode(), 422, "less than 0"),
    ("not among the choices", json.dumps({**GOOD, "carrier": "XX"}).encode(), 422, "not one of"),
    ("a time without zone", json.dumps({**GOOD, "time_hour": "2013-06-01T10:00:00"}).encode(), 422, "no time zone"),
    ("an object for a cell", json.dumps({**GOOD, "carrier": {"$ne": None}}).encode(), 422, "column carrier"),
    ("null where it may not be", json.dumps({**GOOD, "carrier": None}).encode(), 422, "is null or missing"),
]


@pytest.mark.parametrize(("body", "status", "said"), [h[1:] for h in HOSTILE], ids=[h[0] for h in HOSTILE])
def test_hostile_bodies_are_refused_with_one_json_line(app: App, body: bytes, status: int, said: str) -> None:
    answer = call(app, body=body)
    assert answer.status == status, answer.body
    assert said in answer.json["error"]
    assert "\n" not in answer.json["error"]
    assert "Traceback" not in answer.body.decode()
    assert answer.headers["content-type"] == "application/json"
    assert call(app, body=GOOD).status == 200


REQUESTS = [
    ("GET", "/nothing", {}, 404, {}),
    ("POST", "/predict/", {}, 404, {}),
    ("GET", "/../etc/passwd", {}, 404, {}),
    ("GET", "/predict", {}, 405, {"allow": "POST"}),
    ("POST", "/health", {}, 405, {"allow": "GET, HEAD"}),
    ("DELETE", "/", {}, 405, {"allow": "GET, HEAD"}),
    ("OPTIONS", "/predict", {}, 405, {"allow": "POST"}),
    ("POST", "/predict", {"content-type": "text/csv"}, 415, {}),
    ("POST", "/predict", {"content-type": "application/x-www-form-urlencoded"}, 415, {}),
    ("POST", "/predict", {"content-type": "application/json; charset=utf-16"}, 415, {}),
    ("POST", "/predict", {"content-encoding": "gzip"}, 415, {}),
    ("POST", "/predict", {"content-length": "1048577"}, 413, {}),
    ("POST", "/predict", {"content-length": "9" * 5000}, 413, {}),
    ("POST", "/predict", {"content-length": "-1"}, 400, {}),
    ("POST", "/predict", {"content-length": "²"}, 400, {}),
]


@pytest.mark.parametrize(("method", "path", "headers", "status", "expected"), REQUESTS)
def test_every_refusal_is_json_with_its_status(
    app: App, method: str, path: str, headers: dict[str, str], status: int, expected: dict[str, str]
) -> None:
    answer = asyncio.run(ask(app, method, path, json.dumps(GOOD).encode(), headers))
    assert answer.status == status
    assert answer.json["error"]
    assert expected.items() <= answer.headers.items()


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*GOOD, "records", "x"]), inner, max_size=5)
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_no_body_makes_an_internal_error(endpoint: Endpoint, body: bytes) -> None:
    answer = call(endpoint.app(), body=body)
    assert answer.status in (200, 400, 422)
    assert "predictions" in answer.json or answer.json["error"]


def test_each_bad_record_is_named_with_column_and_problem(app: App) -> None:
    rows = [GOOD, {**GOOD, "distance": "far"}, GOOD, {**GOOD, "minute": None}]
    answer = call(app, body=records(*rows)).json
    assert [(p["index"], p["column"]) for p in answer["problems"]] == [(1, "distance"), (3, "minute")]
    assert answer["num_problems"] == 2
    assert answer["error"].startswith("2 of 4 record(s) break the input contract; record 1, column distance: 'far'")


def test_many_problems_are_counted_and_the_first_hundred_shown(app: App) -> None:
    answer = call(app, body=records(*[{**GOOD, "minute": "x"}] * 250)).json
    assert len(answer["problems"]) == 100
    assert answer["num_problems"] == 250


def test_a_bad_view_column_says_that_no_store_is_configured(app: App) -> None:
    answer = call(app, body={**GOOD, "weather_temp": "warm"}).json
    assert "view weather: no online store is configured" in answer["error"]
    assert "columns of views come in the request" in answer["note"]
    assert "note" not in call(app, body={**GOOD, "minute": "x"}).json


@dataclass
class DictStore:
    """An online store of one view."""

    values: Mapping[str, object]
    asked: list[tuple[str, int]] = field(default_factory=list)
    note: str = "columns of views come from the store"

    async def get(self, view: str, keys: Sequence[Mapping[str, object]], at: datetime) -> Sequence[Mapping[str, object]]:
        assert at.tzinfo is not None
        self.asked.append((view, len(keys)))
        return [self.values if view == "weather" else {} for _ in keys]


def test_a_store_fills_the_columns_of_its_views_whatever_the_request_says(folders: dict[str, Path]) -> None:
    store = DictStore({"weather_temp": 88.0})
    app = Endpoint(make_spec(folders["binary"]), store=store).app()
    assert call(app, body=records({**GOOD, "weather_temp": "nonsense"}, GOOD)).status == 200
    assert store.asked == [("planes", 2), ("weather", 2)]


def test_more_rows_than_allowed_are_refused(app: App, endpoint: Endpoint) -> None:
    endpoint.reconfigure({"max_rows": 3})
    assert call(app, body=records(*[GOOD] * 3)).status == 200
    answer = call(app, body=records(*[GOOD] * 4))
    assert answer.status == 413
    assert "more than the 3" in answer.json["error"]


def test_a_body_that_grows_beyond_the_limit_is_refused_before_it_is_whole(app: App, endpoint: Endpoint) -> None:
    endpoint.reconfigure({"max_body_bytes": 100})
    taken = []

    async def receive() -> dict[str, Any]:
        taken.append(1)
        return {"type": "http.request", "body": b" " * 60, "more_body": True}

    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app({"type": "http", "method": "POST", "path": "/predict", "headers": []}, receive, send))
    assert sent[0]["status"] == 413
    assert len(taken) == 2


def test_a_client_that_hangs_up_gets_no_answer_and_holds_no_place(app: App, endpoint: Endpoint) -> None:
    endpoint.reconfigure({"max_in_flight": 1})
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app({"type": "http", "method": "POST", "path": "/predict", "headers": []}, receive, send))
    assert sent == []
    assert call(app, body=GOOD).status == 200


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

    def predict(self, table: Any) -> Any:
        if len(table) > INLINE_ROWS:
            assert self.go.wait(10)
        return self.bundle.predict(table)

    def example_records(self, num: int = 1) -> list[dict[str, Any]]:
        return self.bundle.example_records(num)


def test_too_many_requests_at_work_are_refused_and_small_ones_pass_large_ones(folders: dict[str, Path]) -> None:
    go, large = threading.Event(), json.dumps(records(*[GOOD] * (INLINE_ROWS + 1))).encode()
    endpoint = Endpoint(make_spec(folders["binary"]), load=lambda folder: SlowScorer.over(load_bundle(folder), go))
    endpoint.reconfigure({"max_in_flight": 2})
    app = endpoint.app()

    async def crowd() -> tuple[Answered, Answered, list[Answered]]:
        first = asyncio.create_task(ask(app, "POST", "/predict", large))
        await asyncio.sleep(0.05)
        small = await ask(app, "POST", "/predict", json.dumps(GOOD).encode())
        second = asyncio.create_task(ask(app, "POST", "/predict", large))
        await asyncio.sleep(0.05)
        refused = await ask(app, "POST", "/predict", json.dumps(GOOD).encode())
        go.set()
        return small, refused, [await first, await second]

    small, refused, large_ones = asyncio.run(crowd())
    assert small.status == 200
    assert [a.status for a in large_ones] == [200, 200]
    assert refused.status == 429
    assert refused.headers["retry-after"] == "1"
    assert call(app, body=GOOD).status == 200


def test_a_request_that_takes_too_long_is_answered_and_its_thread_keeps_its_place(folders: dict[str, Path]) -> None:
    go, large = threading.Event(), json.dumps(records(*[GOOD] * (INLINE_ROWS + 1))).encode()
    endpoint = Endpoint(make_spec(folders["binary"]), load=lambda folder: SlowScorer.over(load_bundle(folder), go))
    endpoint.reconfigure({"max_in_flight": 1, "timeout_s": 0.1})
    app = endpoint.app()

    async def story() -> list[int]:
        late = await ask(app, "POST", "/predict", large)
        busy = await ask(app, "POST", "/predict", json.dumps(GOOD).encode())
        go.set()
        for _ in range(100):
            await asyncio.sleep(0.02)
            after = await ask(app, "POST", "/predict", json.dumps(GOOD).encode())
            if after.status == 200:
                break
        return [late.status, busy.status, after.status]

    assert asyncio.run(story()) == [504, 429, 200]


def test_an_error_in_the_model_is_500_without_its_text(folders: dict[str, Path], caplog: pytest.LogCaptureFixture) -> None:
    bundle = load_bundle(folders["binary"])

    class Broken(SlowScorer):
        def predict(self, table: Any) -> Any:
            if len(table) == 1:
                raise RuntimeError("secret /path")
            return bundle.predict(table)

    app = Endpoint(make_spec(folders["binary"]), load=lambda _: Broken.over(bundle, threading.Event())).app()
    answer = call(app, body=GOOD)
    assert answer.status == 500
    assert answer.json == {"error": "internal error; the replica's log has the cause"}
    assert "secret /path" in caplog.text


def test_nothing_loaded_is_503(app: App, endpoint: Endpoint) -> None:
    loaded, endpoint.loaded = endpoint.loaded, replace(endpoint.loaded, default=None)
    try:
        statuses = {
            path: call(app, method, path, GOOD).status
            for method, path in [("POST", "/predict"), ("GET", "/health"), ("GET", "/")]
        }
    finally:
        endpoint.loaded = loaded
    assert statuses == {"/predict": 503, "/health": 503, "/": 503}


def test_health_names_the_live_version_and_head_has_no_body(app: App) -> None:
    answer = call(app, "GET", "/health")
    assert (answer.status, answer.json["status"], answer.json["model"]["version"]) == (200, "ok", 3)
    head = call(app, "HEAD", "/health")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(answer.body))


def test_the_description_says_what_to_send_and_its_example_works(app: App) -> None:
    said = call(app, "GET", "/").json
    columns = {c["column"]: c for c in said["inputs"]}
    assert columns["carrier"] == {"column": "carrier", "source": "request", "type": "string", "nullable": False}
    assert columns["weather_temp"]["source"] == "view:weather"
    assert "no online store" in said["views"]
    assert said["limits"]["max_rows"] == 1000
    assert said["predicts"] == {"name": "late", "kind": "binary", "classes": ["false", "true"]}
    assert call(app, said["example"]["method"], said["example"]["path"], said["example"]["body"]).status == 200


def test_under_a_prefix_paths_are_relative_to_it(app: App) -> None:
    async def under() -> int:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b""}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/late/health", "root_path": "/late", "headers": []}
        await app(scope, receive, send)
        return int(sent[0]["status"])

    assert asyncio.run(under()) == 200


def test_lifespan_and_websockets_are_answered(app: App) -> None:
    async def talk(kind: str, *messages: str) -> list[str]:
        waiting, sent = [{"type": m} for m in messages], []

        async def receive() -> dict[str, Any]:
            return waiting.pop(0)

        async def send(message: dict[str, Any]) -> None:
            sent.append(message["type"])

        await app({"type": kind}, receive, send)
        return sent

    lifespan = asyncio.run(talk("lifespan", "lifespan.startup", "lifespan.shutdown"))
    assert lifespan == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert asyncio.run(talk("websocket")) == ["websocket.close"]


def test_routes_take_parameters_and_middleware_wraps_all_of_them() -> None:
    async def echo(request: Request) -> Response:
        return Response(200, request.params.get("name", "-").encode())

    def closed(handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def guard(request: Request) -> Response:
            return await handler(request) if request.headers.get("x-key") == "1" else Response(401, b"{}")

        return guard

    app = App(
        routes=[
            Route("GET", "/v2/models/{name}", echo),
            Route("POST", "/v2/models/{name}", echo),
            Route("GET", "/v2/models/fixed", echo),
        ],
        middleware=(closed,),
    )
    assert call(app, "GET", "/v2/models/flights", x_key="1").body == b"flights"
    assert call(app, "GET", "/v2/models/fixed", x_key="1").body == b"-"
    assert call(app, "PUT", "/v2/models/flights", x_key="1").headers["allow"] == "GET, HEAD, POST"
    assert call(app, "GET", "/v2/models/", x_key="1").status == 404
    assert call(app, "GET", "/v2/models/flights").status == 401


def test_wrong_limits_leave_a_live_replica_as_it_is_and_health_says_so(endpoint: Endpoint) -> None:
    endpoint.reconfigure({"max_rows": 7})
    endpoint.reconfigure({"max_rows": -1, "what": 3})
    app = endpoint.app()
    assert endpoint.limits.max_rows == 7
    assert "unknown setting what" in call(app, "GET", "/health").json["problem"]
    assert call(app, body=GOOD).status == 200
    endpoint.reconfigure({"max_rows": 8})
    assert "problem" not in call(app, "GET", "/health").json


def test_a_replica_refuses_another_bundle_than_the_one_named(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"its digest is .*, not 00000000 as asked for"):
        Endpoint(make_spec(folders["binary"], digest="00000000"))
    with pytest.raises(StorageError, match="does not exist"):
        Endpoint(make_spec(folders["binary"], bundle_uri=str(tmp_path / "none")))
    with pytest.raises(BundleError, match="its own example records get no answer"):
        Endpoint(make_spec(folders["binary"]), load=lambda folder: _Mute(load_bundle(folder)))


class _Mute(SlowScorer):
    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle, threading.Event(), bundle.digest, bundle.inputs, bundle.sources, bundle.target)

    def predict(self, table: Any) -> Any:
        raise ValueError(f"no answer for {len(table)} rows")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"route_prefix": "late"}, "route_prefix"),
        ({"route_prefix": "/late/"}, "route_prefix"),
        ({"version": -1}, "version"),
        ({"digest": "xyz"}, "digest"),
        ({"model": "a\r\nx-evil: 1"}, "model"),
        ({"versoin": 1}, "did you mean version"),
    ],
)
def test_a_wrong_endpoint_setting_is_named(wrong: dict[str, Any], said: str) -> None:
    from raypipe.serve import build

    args = {"name": "late", "model": "flights", "version": "3", "digest": "ab" * 32, "bundle_uri": "s3://b/x"}
    with pytest.raises(ConfigError, match=said):
        build({**args, **wrong})


def test_prediction_ids_are_unique_and_sort_by_time() -> None:
    first = prediction_ids(1000)
    time.sleep(0.002)
    later = prediction_ids(10)
    assert len({*first, *later}) == 1010
    assert max(first) < min(later)
    assert all(len(i) == 32 and i[12] == "7" and i[16] in "89ab" for i in first)
