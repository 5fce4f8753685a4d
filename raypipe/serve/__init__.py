"""Online serving: one deployment per endpoint, an ASGI application over a bundle, deployed behind HAProxy on Ray Serve."""

from raypipe.serve._app import App, Handler, Middleware, Route
from raypipe.serve._config import EndpointSpec, Limits, Serving
from raypipe.serve._deploy import Deployed, deploy, shutdown, start, undeploy
from raypipe.serve._endpoint import Endpoint, build
from raypipe.serve._haproxy import prepare_environment
from raypipe.serve._http import HttpError, Request, Response
from raypipe.serve._model import Scorer
from raypipe.serve._store import NullOnlineStore, OnlineStore
from raypipe.serve.client import Answer, Requests, check, send

__all__ = [
    "Answer",
    "App",
    "Deployed",
    "Endpoint",
    "EndpointSpec",
    "Handler",
    "HttpError",
    "Limits",
    "Middleware",
    "NullOnlineStore",
    "OnlineStore",
    "Request",
    "Requests",
    "Response",
    "Route",
    "Scorer",
    "Serving",
    "build",
    "check",
    "deploy",
    "prepare_environment",
    "send",
    "shutdown",
    "start",
    "undeploy",
]
