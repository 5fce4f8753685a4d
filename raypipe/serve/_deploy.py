"""Deploying by the config path of Ray Serve: read what runs, change one application, write it back.

``serve.run`` would replace replicas even where nothing changed, and a plain config deploy deletes what it does not name.
A version that does not come up is taken back: the former one has never stopped answering.
"""

import logging
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from raypipe.core.errors import ConfigError, EndpointError, PortInUse, RaypipeError
from raypipe.serve._config import EndpointSpec, Serving
from raypipe.serve._endpoint import DEPLOYMENT
from raypipe.serve._haproxy import is_free

if TYPE_CHECKING:
    from ray.serve._private.client import ServeControllerClient

IMPORT_PATH = "raypipe.serve:build"
HAPROXY, PYTHON = "Ray Serve (HAProxy)", "Ray Serve (Python proxy)"
_POLL_S = 0.1
_SAME_ANSWERS = 3
_SHUTDOWN_S = 30.0
_OWN_ERROR = "raypipe.core.errors."


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """A live endpoint. `seconds`: from the call until the wanted version answered."""

    name: str
    url: str
    engine: str
    model: Mapping[str, Any]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As jobs report it."""
        return {"name": self.name, "url": self.url, "engine": self.engine, "model": dict(self.model)}


def start(serving: Serving) -> str:
    """Start Serve on the connected cluster, if it does not run there yet; returns the name of its ingress.

    Raises:
        PortInUse: when another process has the port.
        ConfigError: when Serve runs with another address, or without HAProxy where `serving` demands it.
    """
    return _begin(serving).ingress()


def deploy(serving: Serving, spec: EndpointSpec) -> Deployed:
    """Make `spec` the live version of its endpoint; other endpoints stay as they are.

    Nothing is restarted where `spec` runs already.

    Raises:
        PortInUse: when another process has the port.
        ConfigError: when the path belongs to another endpoint, or as `start` raises it.
        EndpointError: when the version does not come up in time; the former one answers as before.
    """
    started = time.monotonic()
    serve = _begin(serving)
    client = serve.client
    before = _applications(client)
    taken = [name for name, app in before.items() if name != spec.name and app["route_prefix"] == spec.route_prefix]
    if taken:
        raise ConfigError([f"route_prefix: {spec.route_prefix} belongs to endpoint {taken[0]}; choose another"])
    _apply(client, {**before, spec.name: _application(serving, spec)})
    url = serving.url + spec.route_prefix.rstrip("/")
    try:
        engine = serve.ingress()
        _wait(client, spec, url=url, deadline=started + serving.deploy_timeout_s)
    except RaypipeError:
        _apply(client, before)
        raise
    model = {"name": spec.model, "version": spec.version, "digest": spec.digest}
    return Deployed(name=spec.name, url=url, engine=engine, model=model, seconds=time.monotonic() - started)


def undeploy(name: str) -> bool:
    """Take an endpoint down; others stay. Returns False when there is none of that name."""
    client = _running()
    apps = _applications(client) if client else {}
    if client is None or name not in apps:
        return False
    _apply(client, {other: app for other, app in apps.items() if other != name})
    return True


def shutdown() -> None:
    """Stop all endpoints and Serve itself on the connected cluster; nothing where it does not run."""
    import ray
    from ray.serve.context import _set_global_client

    client = _running()
    if client is None:
        return
    client.shutdown_cached_handles()
    ray.get(client._controller.graceful_shutdown.remote(wait=False))
    deadline = time.monotonic() + _SHUTDOWN_S
    while _controller_lives() and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    _set_global_client(None)


@dataclass(frozen=True)
class _Starting:
    """Serve's controller, and the start of its ingress: an application can be built meanwhile."""

    serving: Serving
    client: "ServeControllerClient"
    done: "Future[None]"

    def ingress(self) -> str:
        """Wait for the ingress; returns its name."""
        self.done.result()
        engine = _engine(self.client)
        if self.serving.ingress == "haproxy" and engine != HAPROXY:
            problem = "serving.ingress: this cluster's Serve runs its Python proxy, not HAProxy"
            raise ConfigError([f"{problem}; start its nodes with RAY_SERVE_ENABLE_HA_PROXY=1, or set serving.ingress=auto"])
        return engine


def _begin(serving: Serving) -> _Starting:
    from ray import serve

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    done: Future[None] = Future()
    client = _running()
    if client is None:
        if not is_free(serving.host, serving.port):
            raise PortInUse(serving.host, serving.port)
        pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="serve-start")
        done = pool.submit(serve.start, http_options={"host": serving.host, "port": serving.port})
        pool.shutdown(wait=False)
        while client is None and not done.done():
            time.sleep(_POLL_S)
            client = _running()
    else:
        done.set_result(None)
    if client is None:
        done.result()
        raise EndpointError("serve", "Ray Serve's controller is gone")
    _check_address(serving, client)
    return _Starting(serving, client, done)


def _check_address(serving: Serving, client: "ServeControllerClient") -> None:
    options = client.http_config
    if (options.host, options.port) != (serving.host, serving.port):
        found = f"serving.host={options.host} serving.port={options.port}"
        raise ConfigError([f"Serve already listens on {options.host}:{options.port} on this cluster; set {found}"])


def _application(serving: Serving, spec: EndpointSpec) -> dict[str, Any]:
    limits = serving.limits
    deployment = {
        "name": DEPLOYMENT,
        "num_replicas": serving.num_replicas,
        "max_ongoing_requests": 2 * limits.max_in_flight,
        "max_queued_requests": 2 * limits.max_in_flight,
        "max_surge_percent": 100,
        "ray_actor_options": {"num_cpus": serving.cpus_per_replica},
        "user_config": limits.to_dict(),
    }
    return {
        "name": spec.name,
        "route_prefix": spec.route_prefix,
        "import_path": IMPORT_PATH,
        "runtime_env": _runtime_env(),
        "args": spec.to_dict(),
        "deployments": [deployment],
    }


def _runtime_env() -> dict[str, Any]:
    """What replicas need to import what this driver imports, where that came with a submitted job."""
    import ray

    own = dict(ray.get_runtime_context().runtime_env)
    return {name: own[name] for name in ("working_dir", "py_modules", "pip", "uv", "env_vars") if own.get(name)}


def _wait(client: "ServeControllerClient", spec: EndpointSpec, *, url: str, deadline: float) -> None:
    wanted = {"name": spec.model, "version": spec.version, "digest": spec.digest}
    same, last = 0, "no answer yet"
    while time.monotonic() < deadline:
        failure, running = _status(client, spec.name)
        if failure:
            raise EndpointError(spec.name, f"version {spec.version} did not come up: {failure}")
        if running:
            live = _live_model(url)
            same = same + 1 if live == wanted else 0
            last = f"the endpoint answers as {live}"
            if same == _SAME_ANSWERS:
                return
        if not same:
            time.sleep(_POLL_S)
    raise EndpointError(spec.name, f"version {spec.version} is not live in time: {last}")


def _live_model(url: str) -> object:
    """The model that a new connection to the endpoint meets."""
    try:
        return httpx.get(f"{url}/health", timeout=5.0).json()["model"]
    except (httpx.HTTPError, ValueError, KeyError) as error:
        return f"{type(error).__name__}"


def _status(client: "ServeControllerClient", name: str) -> tuple[str, bool]:
    """Why deploying failed, or "", and whether the application runs."""
    status = client.get_serve_status(name)
    state = str(status.app_status.status.value)
    if state != "DEPLOY_FAILED":
        return "", state == "RUNNING"
    messages = [d.message for d in status.deployment_statuses if d.message] or [status.app_status.message]
    return cause(messages[0]), False


def cause(message: str) -> str:
    """What went wrong, out of Serve's message: one line for an error of raypipe, else the innermost traceback too."""
    message = message.strip() or "no reason given"
    last = message.splitlines()[-1]
    if last.startswith(_OWN_ERROR):
        return last.partition(": ")[2]
    _, mark, trace = message.rpartition("Traceback (most recent call last):")
    return f"{last}\n{mark}{trace}" if mark else message


def _applications(client: "ServeControllerClient") -> dict[str, dict[str, Any]]:
    """Declared applications by name, as written."""
    import ray

    found = ray.get(client._controller.get_app_configs.remote())
    return {name: app.model_dump(exclude_unset=True) for name, app in found.items()}


def _apply(client: "ServeControllerClient", apps: Mapping[str, Mapping[str, Any]]) -> None:
    from ray.serve.schema import ServeDeploySchema

    client.deploy_apps(ServeDeploySchema.model_validate({"applications": list(apps.values())}))


def _engine(client: "ServeControllerClient") -> str:
    import ray

    proxies = ray.get(client._controller.get_proxies.remote())
    names = {str(proxy._ray_actor_creation_function_descriptor.class_name) for proxy in proxies.values()}
    return HAPROXY if any("HAProxy" in name for name in names) else PYTHON


def _running() -> "ServeControllerClient | None":
    from ray.serve.context import _get_global_client

    return _get_global_client(raise_if_no_controller_running=False)


def _controller_lives() -> bool:
    import ray
    from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE

    try:
        ray.get_actor(SERVE_CONTROLLER_NAME, namespace=SERVE_NAMESPACE)
    except ValueError:
        return False
    return True
