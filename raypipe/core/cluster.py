"""Starting Ray: a private cluster on one machine, or the cluster that a submitted job runs in."""

import logging
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from raypipe.core.config import config
from raypipe.core.errors import ClusterError

_SHOWN_LINES = 3

_ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Ray ends workers that idle for a second as soon as others run actors, and the next ones import for seconds again.
    "RAY_idle_worker_killing_time_threshold_ms": "60000",
}


@config
class Cluster:
    """How a job reaches Ray.

    Attributes:
        num_cpus: Logical CPUs of a private cluster; null takes all. Not used on an existing cluster.
        object_store_gib: Size of a private cluster's object store in GiB.
        temp_dir: Folder for a private cluster's session files; null takes Ray's own.
    """

    num_cpus: Annotated[int, Field(ge=1)] | None = None
    object_store_gib: Annotated[float, Field(ge=0.1)] = 1.0
    temp_dir: str | None = None

    def start(self) -> None:
        """Connect to the cluster in ``RAY_ADDRESS``, else start a private one; nothing when already connected.

        A private cluster takes only clients with the token of this user, as Ray does by default, unless
        ``RAY_AUTH_MODE`` says otherwise: Ray listens on all interfaces.

        Raises:
            ClusterError: when Ray does not start in its time, or no cluster answers at ``RAY_ADDRESS``.
        """
        import ray

        if ray.is_initialized():
            return
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        quiet: dict[str, Any] = {"logging_level": logging.WARNING, "log_to_driver": False}
        if os.environ.get("RAY_ADDRESS"):
            with _told(f"at {os.environ['RAY_ADDRESS']}", "is the cluster up, and RAY_ADDRESS right?"):
                ray.init(**quiet)
        else:
            with _told("on this machine", "where the machine is only busy, run the command again: finished steps are kept"):
                _make_token()
                ray.init(
                    address="local",
                    num_cpus=self.num_cpus,
                    object_store_memory=int(self.object_store_gib * 2**30),
                    include_dashboard=False,
                    _temp_dir=self.temp_dir,
                    **quiet,
                )
        self._quiet_data()

    @staticmethod
    def _quiet_data() -> None:
        import ray.data

        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # it logs what it raises, twice; the job shows it once
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.execution_options.preserve_order = True
        context.raise_original_map_exception = True


@contextmanager
def _told(where: str, way_out: str) -> Iterator[None]:
    """Ray says that it did not start by exceptions of many types, the bare one among them, with pages of text."""
    try:
        yield
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        wrong = isinstance(error, (ValueError, OSError))
        way_out = "look at ray.temp_dir, ray.object_store_gib and the rights of this user" if wrong else way_out
        raise ClusterError(where, f"did not start: {' '.join(lines[:_SHOWN_LINES])}", way_out) from error


def _make_token() -> None:
    """Make this user's token before Ray does: Ray 2.60 writes a file that every user can read."""
    if {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ):
        return
    path = Path.home() / ".ray" / "auth_token"
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(32))


def is_submitted() -> bool:
    """True in the driver of ``ray job submit``."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ and bool(os.environ.get("RAY_ADDRESS"))


def is_connected() -> bool:
    """True when this process is connected to Ray; does not import Ray for the answer."""
    return "ray" in sys.modules and bool(sys.modules["ray"].is_initialized())


def num_nodes() -> int:
    """Machines of the connected cluster that are alive."""
    return sum(bool(node["Alive"]) for node in sys.modules["ray"].nodes())


def stop() -> None:
    """Disconnect from Ray, ending a private cluster; nothing when there is no connection."""
    if is_connected():
        sys.modules["ray"].shutdown()
