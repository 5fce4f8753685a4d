"""The endpoint as an ASGI application over a real bundle, without Ray: answers, description, health, settings."""

import asyncio
import json
import threading
import time
import timeit
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import serve_parts
from serve_parts import GOOD, SlowScorer, call, make_spec, records

from raypipe.bundle import Bundle, load_bundle
from raypipe.core.errors import BundleError, ConfigError, StorageError
from raypipe.serve import App, Endpoint, Request, Response, Route, build
from raypipe.serve._predict import INLINE_ROWS, prediction_ids

folders = serve_parts.folders
endpoint = serve_parts.endpoint
app = serve_parts.app


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


def test_an_answer_has_the_score_that_the_bundle_gives_the_same_rows_as_a_table(app: App, endpoint: Endpoint) -> None:
    bundle = endpoint.loaded.live.scorer
    rows = bundle.example_records(40)
    scores = bundle.predict(bundle.inputs.check_records(rows).good).scores.tolist()
    assert [p["score"] for p in call(app, body=records(*rows)).json["predictions"]] == scores
    assert [call(app, body=row).json["predictions"][0]["score"] for row in rows] == scores


def test_one_record_is_answered_without_a_table(endpoint: Endpoint) -> None:
    """By what it costs: reading, features and model of one record against the same through Arrow."""
    bundle = endpoint.loaded.live.scorer
    row = bundle.example_records(1)

    def by_row() -> None:
        bundle.features.transform_rows(bundle.inputs.read_records(row).rows)

    def by_table() -> None:
        bundle.features.transform(bundle.inputs.check_records(row).good)

    fast, slow = (min(timeit.repeat(way, number=100, repeat=7)) for way in (by_row, by_table))
    assert fast < slow / 3


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
    with pytest.raises(BundleError, match=r"has digest .*, expected 00000000"):
        Endpoint(make_spec(folders["binary"], digest="00000000"))
    with pytest.raises(StorageError, match="does not exist"):
        Endpoint(make_spec(folders["binary"], bundle_uri=str(tmp_path / "none")))
    with pytest.raises(BundleError, match="its own example records get no answer"):
        Endpoint(make_spec(folders["binary"]), load=lambda folder, digest: _Mute(load_bundle(folder, digest=digest)))


class _Mute(SlowScorer):
    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle, threading.Event(), bundle.digest, bundle.inputs, bundle.sources, bundle.target)

    def predict_rows(self, rows: Any) -> Any:
        raise ValueError(f"no answer for {len(rows)} rows")


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
