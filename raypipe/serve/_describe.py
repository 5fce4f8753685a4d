"""``GET /`` and ``GET /health``: what an endpoint is, and whether it answers."""

from collections.abc import Callable
from typing import Any

from raypipe.serve._config import Limits
from raypipe.serve._http import Request, Response, json_response
from raypipe.serve._model import Loaded, Served
from raypipe.serve._store import OnlineStore


class Health:
    """200 with the live version, 503 while nothing is loaded."""

    def __init__(self, *, loaded: Callable[[], Loaded], problem: Callable[[], str]) -> None:
        self._loaded, self._problem = loaded, problem

    async def __call__(self, _: Request) -> Response:
        """The live version, and why a later setting was refused, if one was."""
        loaded = self._loaded()
        live, problem = loaded.live, self._problem()
        models = [served.facts for served in loaded.models.values()]
        facts: dict[str, Any] = {"status": "ok", "model": live.facts, "loaded": models}
        return json_response({**facts, "problem": problem} if problem else facts, headers=live.headers)


class Describe:
    """A short description of the endpoint for people."""

    def __init__(self, *, loaded: Callable[[], Loaded], limits: Callable[[], Limits], store: OnlineStore) -> None:
        self._loaded, self._limits, self._store = loaded, limits, store

    async def __call__(self, _: Request) -> Response:
        """Model, input columns with source and type, limits, and a request to copy."""
        served = self._loaded().live
        target = served.scorer.target
        return json_response(
            {
                "model": served.facts,
                "predicts": {"name": target.name, "kind": target.kind, "classes": list(target.classes)},
                "inputs": _inputs(served),
                "views": self._store.note if served.views else None,
                "limits": self._limits().to_dict(),
                "example": {"method": "POST", "path": "/predict", "body": {"records": served.scorer.example_records()}},
            },
            headers=served.headers,
        )


def _inputs(served: Served) -> list[dict[str, Any]]:
    inputs = served.scorer.inputs
    return [
        {"column": name, "source": served.scorer.sources[name], "type": column.type, "nullable": inputs.nullable(name)}
        for name, column in inputs.columns.items()
    ]
