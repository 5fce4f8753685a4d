"""The deployment of an endpoint: a replica loads its bundle, warms it, and serves it over the ASGI application.

A new version is a new replica: it must load before an old one stops. A setting that changes in place (``reconfigure``)
never raises once a model is live, since Serve would stop the healthy replica; the old setting stays and ``/health``
says why.
"""

import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raypipe.core import storage
from raypipe.core.config import build as build_config
from raypipe.core.errors import BundleError, ConfigError
from raypipe.serve._app import App, Middleware, Route
from raypipe.serve._config import EndpointSpec, Limits
from raypipe.serve._describe import Describe, Health
from raypipe.serve._model import Loaded, Scorer, Served
from raypipe.serve._predict import Predict
from raypipe.serve._store import NullOnlineStore, OnlineStore

if TYPE_CHECKING:
    from ray.serve import Application

DEPLOYMENT = "endpoint"
WARM_UP_ROWS, WARM_UP_REQUESTS = 8, 3
Load = Callable[[Path, str], Scorer]
logger = logging.getLogger(__name__)


class Endpoint:
    """One replica of an endpoint."""

    def __init__(
        self,
        spec: EndpointSpec,
        *,
        load: Load | None = None,
        store: OnlineStore | None = None,
        middleware: tuple[Middleware, ...] = (),
    ) -> None:
        """Load the model of `spec`.

        Raises:
            BundleError: when it cannot be loaded, has another digest, or does not answer its own example records.
            StorageError: when nothing is at its URI.
        """
        self.loaded, self.limits, self.problem = Loaded(), Limits(), ""
        self._store, self._middleware = store or NullOnlineStore(), middleware
        self._predict = Predict(loaded=lambda: self.loaded, limits=lambda: self.limits, store=self._store)
        served = load_served(spec, load or _load_bundle)
        self._warm_up(served, spec.bundle_uri)
        self.loaded = self.loaded.with_default(served)

    def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Take new limits; what is wrong with them is logged and shown by ``/health``, and the old ones stay."""
        try:
            self.limits, self.problem = build_config(user_config, Limits), ""
        except ConfigError as error:
            self.problem = f"new limits were refused: {error}"
            logger.warning("%s", self.problem)

    def __serve_build_asgi_app__(self) -> App:  # the name that Ray Serve looks for
        """The application; Ray Serve asks for it once the replica is made."""
        return self.app()

    def app(self) -> App:
        """The ASGI application over this replica."""
        describe = Describe(loaded=lambda: self.loaded, limits=lambda: self.limits, store=self._store)
        routes = [
            Route("GET", "/", describe),
            Route("GET", "/health", Health(loaded=lambda: self.loaded, problem=lambda: self.problem)),
            Route("POST", "/predict", self._predict),
        ]
        return App(routes=routes, middleware=self._middleware)

    def _warm_up(self, served: Served, uri: str) -> None:
        examples = served.scorer.example_records(WARM_UP_ROWS)
        try:
            for _ in range(WARM_UP_REQUESTS):
                self._predict.answer(served, examples)
        except Exception as error:
            raise BundleError(uri, f"its own example records get no answer ({error})") from error


def load_served(spec: EndpointSpec, load: Load) -> Served:
    """The model of `spec`, from a local copy of its bundle that is removed again.

    Raises:
        BundleError: when the bundle is damaged, or is not the one that `spec` names.
        StorageError: when nothing is at its URI.
    """
    folder = storage.download_folder(spec.bundle_uri)
    try:
        scorer = load(folder, spec.digest)
    finally:
        if storage.is_remote(spec.bundle_uri):
            shutil.rmtree(folder, ignore_errors=True)
    return Served(name=spec.model, version=spec.version, scorer=scorer, key=spec.key or scorer.inputs.key)


def build(args: Mapping[str, Any]) -> "Application":
    """The Serve application of one endpoint, from the settings of `EndpointSpec`.

    ``deploy`` uses it by import path; ``serve run serve_apps.predict:app bundle_uri=... name=...`` does as well.

    Raises:
        ConfigError: naming the setting that is unknown, missing or wrong.
    """
    spec = build_config(dict(args), EndpointSpec)
    from ray import serve

    replica = serve.deployment(serve.ingress()(Endpoint))
    options = {
        "name": DEPLOYMENT,
        "max_surge_percent": 100,
        "max_constructor_retry_count": 1,
        "user_config": Limits().to_dict(),
    }
    return replica.options(**options).bind(spec)


def _load_bundle(folder: Path, digest: str) -> Scorer:
    from raypipe.bundle import load_bundle

    return load_bundle(folder, digest=digest)
