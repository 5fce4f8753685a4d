"""What an endpoint refuses: hostile bodies, wrong requests, too much of anything; each with its status, as JSON."""

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest
import serve_parts
from hypothesis import given, settings
from hypothesis import strategies as st
from serve_parts import GOOD, Answered, SlowScorer, ask, call, make_spec, records

from raypipe.bundle import load_bundle
from raypipe.serve import App, Endpoint
from raypipe.serve._predict import INLINE_ROWS

folders = serve_parts.folders
endpoint = serve_parts.endpoint
app = serve_parts.app


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


def test_too_many_requests_at_work_are_refused_and_small_ones_pass_large_ones(folders: dict[str, Path]) -> None:
    go, large = threading.Event(), json.dumps(records(*[GOOD] * (INLINE_ROWS + 1))).encode()
    endpoint = Endpoint(make_spec(folders["binary"]), load=lambda folder, _: SlowScorer.over(load_bundle(folder), go))
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
    endpoint = Endpoint(make_spec(folders["binary"]), load=lambda folder, _: SlowScorer.over(load_bundle(folder), go))
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
        def predict_rows(self, rows: Any) -> Any:
            if len(rows) == 1:
                raise RuntimeError("secret /path")
            return bundle.predict_rows(rows)

    app = Endpoint(make_spec(folders["binary"]), load=lambda *_: Broken.over(bundle, threading.Event())).app()
    answer = call(app, body=GOOD)
    assert answer.status == 500
    assert answer.json == {"error": "internal error; the replica's log has the cause"}
    assert "secret /path" in caplog.text
