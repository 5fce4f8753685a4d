"""Where runs and model versions are recorded, and the quiet way to MLflow. MLflow is imported on first use: 1-2 s."""

import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

from raypipe.core.config import config
from raypipe.core.errors import ConfigError, LineageError
from raypipe.core.storage import Storage, is_remote
from raypipe.registry._sqlite import ensure_sqlite, sqlite_path

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SCHEMES = ("sqlite:///", "http://", "https://", "postgresql://", "postgresql+", "mysql://", "mysql+", "mssql+")
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
_UPSTREAM_WARNINGS = (
    "The ``noload`` loader strategy is deprecated",
    "Operation with range is deprecated",
    ".*Any type hint is inferred as AnyType",
)
_PROBE_TIMEOUT_S = 10.0


@config
class Tracking:
    """The MLflow store. Credentials come from the environment (``MLFLOW_TRACKING_USERNAME``, ``..._PASSWORD``, ``..._TOKEN``).

    Attributes:
        uri: ``http(s)://HOST`` of a server, ``sqlite:///FILE``, or another database; null is ``mlflow.db`` under a local
            ``storage.root``.
        experiment: MLflow experiment of the runs.
        system_metrics: Record every ten seconds how busy CPU, memory, disk, network and GPUs of the driver's machine are.
    """

    uri: str | None = None
    experiment: str = "raypipe"
    system_metrics: bool = True


@dataclass(frozen=True, kw_only=True)
class Connection:
    """A client of one store, and the id of the experiment in it."""

    client: "MlflowClient"
    uri: str
    experiment_id: str


def tracking_uri(tracking: Tracking, storage: Storage) -> str:
    """The URI of the MLflow store; starts nothing, so a job can refuse a wrong one at the door.

    Raises:
        ConfigError: when a bucket root comes without `uri`, or `uri` is of no kind that MLflow keeps runs in.
    """
    if tracking.uri is None:
        if is_remote(storage.root):
            raise ConfigError(
                [
                    f"tracking.uri: storage.root={storage.root} cannot hold MLflow's SQLite file; "
                    f"set tracking.uri=http://HOST:PORT of an MLflow server (or tracking.uri=sqlite:////LOCAL/mlflow.db)"
                ]
            )
        return f"sqlite:///{storage.uri('mlflow.db')}"
    if not tracking.uri.startswith(_SCHEMES):
        raise ConfigError([f"tracking.uri: expected http(s)://HOST, sqlite:///FILE or a database URI, got {tracking.uri!r}"])
    return tracking.uri


def ui_command(tracking: Tracking, storage: Storage) -> str:
    """What shows the runs to a person: the address of the server, or the command that starts one."""
    uri = tracking_uri(tracking, storage)
    return uri if _is_server(uri) else f"mlflow ui --backend-store-uri {without_password(uri)}"


def connect(tracking: Tracking, storage: Storage) -> Connection:
    """Open the store, making it and the experiment when they are not there.

    Raises:
        ConfigError: when the URI is wrong, nothing answers there, or the experiment was deleted.
    """
    uri = tracking_uri(tracking, storage)
    if _is_server(uri):
        _probe(uri)
    client = _client(uri)
    return Connection(client=client, uri=uri, experiment_id=_experiment(client, tracking.experiment, _artifacts(uri, storage)))


def open_existing(tracking: Tracking, storage: Storage) -> "MlflowClient":
    """A client of a store that is there already; nothing is made, for those that only look.

    Raises:
        ConfigError: when the URI is wrong or nothing answers there.
        LineageError: when there is no store.
    """
    uri = tracking_uri(tracking, storage)
    if _is_server(uri):
        _probe(uri)
    elif uri.startswith("sqlite:///") and not sqlite_path(uri).exists():
        raise LineageError(
            str(sqlite_path(uri)), "nothing was ever recorded here", "set storage.root or tracking.uri of the runs"
        )
    return _client(uri)


def is_server_of(connection: Connection) -> bool:
    """True when the store is an MLflow server, which resolves ``models:/`` sources itself."""
    return _is_server(connection.uri)


@contextmanager
def upstream_warnings_ignored() -> Iterator[None]:
    """Keep to themselves what MLflow 3.17 does wrong with newer SQLAlchemy, pandas, and its own types."""
    with warnings.catch_warnings():
        for message in _UPSTREAM_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        yield


def _client(uri: str) -> "MlflowClient":
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    with upstream_warnings_ignored():
        from mlflow import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # the variable above is too late where Ray Tune imported MLflow
        if uri.startswith("sqlite:///"):
            ensure_sqlite(sqlite_path(uri))
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _experiment(client: "MlflowClient", name: str, artifacts: str | None) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifacts))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another process made it in between
    if found.lifecycle_stage != "active":
        raise ConfigError([f"tracking.experiment: {name} was deleted in MLflow; restore it there or choose another name"])
    return str(found.experiment_id)


def _artifacts(uri: str, storage: Storage) -> str | None:
    """Where artifacts lie: a server decides itself, beside a SQLite file is `mlruns`, else under the storage root."""
    if _is_server(uri):
        return None
    if uri.startswith("sqlite:///"):
        return str(sqlite_path(uri).parent / "mlruns")
    return storage.uri("mlruns")


def _is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def _probe(uri: str) -> None:
    """MLflow's own client retries for minutes before it says that nobody answers."""
    try:
        httpx.get(f"{uri.rstrip('/')}/health", timeout=_PROBE_TIMEOUT_S)
    except httpx.TransportError as error:
        shown = without_password(uri)
        raise ConfigError([f"tracking.uri: nothing answers at {shown} ({error}); start the server or correct it"]) from error


def without_password(uri: str) -> str:
    """`uri` with the password in it masked."""
    return re.sub(r"(://[^/\s:@]*):[^/\s@]+@", r"\1:***@", uri)
