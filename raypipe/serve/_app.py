"""The ASGI application of an endpoint: routes, middleware, and an answer for everything that can go wrong."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from raypipe.serve._http import (
    REASONS,
    ClientGone,
    HttpError,
    Message,
    Receive,
    Request,
    Response,
    Scope,
    Send,
    error_response,
)

Handler = Callable[[Request], Awaitable[Response]]
Middleware = Callable[[Handler], Handler]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Route:
    """`handler` for `method` on `path`; a segment in braces matches any one segment: ``/models/{name}/infer``."""

    method: str
    path: str
    handler: Handler


class App:
    """Routes requests to handlers.

    An object with ``async __call__``, as Ray Serve and uvicorn take it; it answers lifespan events. Every error is
    JSON: ``{"error": "..."}``. Middleware wraps all handlers, the first outermost.
    """

    def __init__(self, *, routes: Sequence[Route], middleware: Sequence[Middleware] = ()) -> None:
        self._fixed: dict[str, dict[str, Handler]] = {}
        self._open: list[tuple[list[str], dict[str, Handler]]] = []
        for route in routes:
            methods = self._methods_of(route.path)
            methods[route.method] = route.handler
        handler: Handler = self._dispatch
        for wrap in reversed(middleware):
            handler = wrap(handler)
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1003})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
        head = scope["method"] == "HEAD"
        request = Request("GET" if head else scope["method"], path, headers, receive)
        try:
            response = await self._handler(request)
        except HttpError as error:
            response = error_response(error)
        except ClientGone:
            return
        except Exception:
            logger.exception("a request to %s failed", path)
            response = error_response(HttpError(500, REASONS[500]))
        await _send(response, send, head=head)

    async def _dispatch(self, request: Request) -> Response:
        methods, params = self._find(request.path)
        if not methods:
            known = ", ".join(sorted(self._fixed))
            raise HttpError(404, f"{REASONS[404]}: {request.path[:200]} (known: {known})")
        handler = methods.get(request.method)
        if handler is None:
            allow = ", ".join(sorted({*methods, *(["HEAD"] if "GET" in methods else [])}))
            raise HttpError(405, f"{request.path} takes {allow}, not {request.method[:40]}", headers={"allow": allow})
        return await handler(replace(request, params=params) if params else request)

    def _methods_of(self, path: str) -> dict[str, Handler]:
        if "{" not in path:
            return self._fixed.setdefault(path, {})
        segments = path.split("/")
        for known, methods in self._open:
            if known == segments:
                return methods
        self._open.append((segments, {}))
        return self._open[-1][1]

    def _find(self, path: str) -> tuple[dict[str, Handler], dict[str, str]]:
        if path in self._fixed:
            return self._fixed[path], {}
        segments = path.split("/")
        for pattern, methods in self._open:
            params = _match(pattern, segments)
            if params is not None:
                return methods, params
        return {}, {}


def _match(pattern: list[str], segments: list[str]) -> dict[str, str] | None:
    if len(pattern) != len(segments):
        return None
    params = {}
    for want, got in zip(pattern, segments, strict=True):
        if want.startswith("{") and got:
            params[want[1:-1]] = got
        elif want != got:
            return None
    return params


async def _send(response: Response, send: Send, *, head: bool) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(response.body)).encode()),
        *((name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in response.headers.items()),
    ]
    start: Message = {"type": "http.response.start", "status": response.status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": b"" if head else response.body})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
