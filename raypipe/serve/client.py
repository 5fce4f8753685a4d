"""A small client: send records to an endpoint, and check that it answers."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

Record = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back: the HTTP status, the JSON body, and how long it took. Status 0: nothing came back."""

    status: int
    body: Mapping[str, Any]
    seconds: float

    @property
    def ok(self) -> bool:
        """True for predictions."""
        return self.status == 200


@dataclass(frozen=True, kw_only=True)
class Requests:
    """Counts of requests, and their answers in order."""

    sent: int
    ok: int
    answers: tuple[Answer, ...]

    def to_dict(self) -> dict[str, int]:
        """The counts, as jobs report them."""
        return {"sent": self.sent, "ok": self.ok}


def send(url: str, records: Sequence[Record], *, timeout_s: float = 30.0) -> Answer:
    """Ask ``url/predict`` for predictions of `records`, in one request. A failed connection is an answer, not an error."""
    with httpx.Client(timeout=timeout_s) as client:
        return _send(client, url, records)


def check(url: str, records: Sequence[Record], *, timeout_s: float = 30.0) -> Requests:
    """Send each of `records` as a request of its own, over one connection."""
    with httpx.Client(timeout=timeout_s) as client:
        answers = tuple(_send(client, url, [record]) for record in records)
    return Requests(sent=len(answers), ok=sum(answer.ok for answer in answers), answers=answers)


def _send(client: httpx.Client, url: str, records: Sequence[Record]) -> Answer:
    started = time.perf_counter()
    try:
        body = orjson.dumps({"records": list(records)}, option=orjson.OPT_NAIVE_UTC | orjson.OPT_SERIALIZE_NUMPY)
        response = client.post(f"{url.rstrip('/')}/predict", content=body, headers={"content-type": "application/json"})
        answer, status = response.json(), response.status_code
    except (httpx.HTTPError, ValueError) as error:
        answer, status = {"error": f"{type(error).__name__}: {error}"}, 0
    return Answer(status=status, body=answer, seconds=time.perf_counter() - started)
