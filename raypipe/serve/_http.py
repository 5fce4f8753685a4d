"""HTTP as the endpoint speaks it over ASGI: a request, a JSON response, and errors that are always JSON."""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import orjson

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

REASONS = {404: "nothing is here", 500: "internal error; the replica's log has the cause"}


class HttpError(Exception):
    """An answer other than 2xx: its status, what is wrong, and what else the JSON body or the headers say."""

    def __init__(
        self, status: int, message: str, *, headers: Mapping[str, str] | None = None, facts: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(status, message)
        self.status, self.message = status, message
        self.headers, self.facts = dict(headers or {}), dict(facts or {})

    def __str__(self) -> str:
        return f"{self.status}: {self.message}"


class ClientGone(Exception):  # nothing is wrong here, and nobody is left to be told
    """The client hung up before its request was read."""


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks: header names in lower case, path relative to the endpoint, `params` from the route."""

    method: str
    path: str
    headers: Mapping[str, str]
    receive: Receive
    params: Mapping[str, str] = field(default_factory=dict)

    async def body(self, *, max_bytes: int) -> bytes:
        """The body.

        Raises:
            HttpError: 400 for a length that is no number, 413 for more than `max_bytes`.
            ClientGone: when the client hangs up before the end.
        """
        length = self.headers.get("content-length")
        if length is not None and not (length.isascii() and length.isdigit()):
            raise HttpError(400, "content-length is not a number")
        if length is not None and (len(length) > 18 or int(length) > max_bytes):
            raise _too_large(max_bytes)
        chunks, num_bytes, more = [], 0, True
        while more:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            chunk = message.get("body", b"")
            num_bytes += len(chunk)
            if num_bytes > max_bytes:
                raise _too_large(max_bytes)
            chunks.append(chunk)
            more = message.get("more_body", False)
        return b"".join(chunks)


def json_response(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`value` as JSON; NumPy scalars and arrays are understood, NaN becomes null."""
    return Response(status, orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), headers or {})


def error_response(error: HttpError) -> Response:
    """``{"error": "..."}`` with what else the error knows."""
    return json_response({"error": error.message, **error.facts}, status=error.status, headers=error.headers)


def check_json(headers: Mapping[str, str]) -> None:
    """Accept JSON, and a missing content type as JSON.

    Raises:
        HttpError: 415 for another media type, charset or encoding.
    """
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise HttpError(415, f"content-encoding {encoding[:40]} is not supported; send the body as it is")
    kind, _, rest = headers.get("content-type", "").lower().partition(";")
    kind = kind.strip()
    if kind and kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise HttpError(415, f"content-type {kind[:80]} is not supported; send JSON with content-type: application/json")
    if "charset=" in rest and not any(name in rest for name in ("utf-8", "utf8", "us-ascii")):
        raise HttpError(415, "JSON is sent as UTF-8")


def _too_large(max_bytes: int) -> HttpError:
    return HttpError(413, f"the body is larger than {max_bytes} bytes; send fewer records per request")
