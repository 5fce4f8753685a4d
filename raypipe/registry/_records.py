"""What is recorded about tables, prepared data, runs and model versions, read once and kept for a walk over it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Literal

import pyarrow.compute as pc
import pyarrow.dataset as ds

from raypipe.core.errors import LineageError, StorageError, TableNotFound
from raypipe.core.storage import Storage, arrow_filesystem, exists, filesystem, join, path_of, read_json
from raypipe.registry._registry import is_complete, typed
from raypipe.registry._runs import RecordedRun, described, find_run, recorded
from raypipe.registry._tracking import Tracking, open_existing

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from raypipe.registry._registry import ModelVersion
    from raypipe.tables import Commit, TableRef

REPRODUCTIONS = "-reproductions"
"""How the MLflow experiment of reproductions ends: they prove runs and make nothing that is used."""
PREDICTIONS, TABLES = "predictions", "tables"
_FOLDER = 24
_PAGE = 200


@dataclass(frozen=True)
class RecordedVersion:
    """A model version with all that is recorded of it."""

    version: "ModelVersion"
    tags: Mapping[str, str]
    aliases: tuple[str, ...]

    @property
    def label(self) -> str:
        """``name@number``."""
        return f"{self.version.name}@{self.version.version}"


@dataclass(frozen=True)
class FoundRow:
    """A row of a table of predictions, and the file that it is in."""

    table: "TableRef"
    path: str
    row: Mapping[str, Any]


class Records:
    """Reads of one storage root and one MLflow store. What is not there is empty; nothing is made."""

    def __init__(self, tracking: Tracking, storage: Storage) -> None:
        from raypipe.tables import Tables  # brings Ray, which runs and versions do without

        self._tracking, self.storage = tracking, storage
        self.tables, self.predictions = Tables(storage), Tables(storage, PREDICTIONS)
        self.history = cache(self._history)
        self.run, self.whole_run, self.runs_with = cache(self._run), cache(self._whole_run), cache(self._runs_with)
        self.ref = cache(self._ref)
        self.prepared = cache(self._prepared)

    @cached_property
    def client(self) -> "MlflowClient":
        """The MLflow store.

        Raises:
            LineageError: when there is none.
            ConfigError: when it cannot be used.
        """
        return open_existing(self._tracking, self.storage)

    @cached_property
    def _client_if_there(self) -> "MlflowClient | None":
        try:
            return self.client
        except LineageError:
            return None

    @cached_property
    def versions(self) -> tuple[RecordedVersion, ...]:
        """All complete versions of all registered models."""
        client = self._client_if_there
        if client is None:
            return ()
        found = []
        for model in _pages(client.search_registered_models):
            for version in _pages(client.search_model_versions, f"name = '{model.name}'"):
                if is_complete(version):
                    names = tuple(sorted(name for name, number in model.aliases.items() if str(number) == str(version.version)))
                    found.append(RecordedVersion(typed(version), dict(version.tags), names))
        return tuple(sorted(found, key=lambda one: (one.version.name, one.version.version)))

    def names(self, folder: str) -> tuple[str, ...]:
        """Tables under a folder of the root."""
        uri = self.storage.uri(folder)
        return tuple(name for name in _folders(uri) if exists(join(uri, name, "_delta_log")))

    def prepared_digests(self) -> tuple[str, ...]:
        """Names of the folders of complete prepared data."""
        from raypipe.prepare import MANIFEST

        uri = self.storage.uri("prepared")
        return tuple(name for name in _folders(uri) if exists(join(uri, name, MANIFEST)))

    def find_prediction(self, prediction_id: str) -> list[FoundRow]:
        """The rows with this id in all tables of predictions: one for each scoring of the row by the same bundle.

        Raises:
            LineageError: when files of a table are gone.
        """
        refs = [self.predictions.open(name) for name in self.names(PREDICTIONS)]
        return [found for ref in refs for found in _rows_with(ref, prediction_id)]

    def _history(self, folder: str, name: str) -> "tuple[Commit, ...]":
        return (self.tables if folder == TABLES else self.predictions).history(name)

    def _runs_with(self, tag: str, value: str, *, operator: Literal["=", "LIKE"] = "=") -> tuple[RecordedRun, ...]:
        """Runs that are not deleted with a tag of this value, but for reproductions; the oldest first."""
        client = self._client_if_there
        if client is None:
            return ()
        experiments = [e.experiment_id for e in _pages(client.search_experiments) if not e.name.endswith(REPRODUCTIONS)]
        query = f"tags.`{tag}` {operator} '{value}'"
        runs = _pages(lambda query, **page: client.search_runs(experiments, query, **page), query)
        return tuple(described(run) for run in sorted(runs, key=lambda run: run.info.start_time))

    def _run(self, run_id: str) -> RecordedRun | None:
        client = self._client_if_there
        run = find_run(client, run_id) if client is not None and run_id else None
        return None if run is None else described(run)

    def _whole_run(self, run_id: str) -> RecordedRun | None:
        """With its documents."""
        client = self._client_if_there
        run = find_run(client, run_id) if client is not None and run_id else None
        return None if client is None or run is None else recorded(client, run)

    def _ref(self, name: str, version: int) -> "TableRef | None":
        """A version of a table; None when it is not below this root, or its log does not reach back to it."""
        try:
            return self.tables.open(name, version)
        except (StorageError, TableNotFound):
            return None

    def _prepared(self, folder: str) -> Mapping[str, Any]:
        """The manifest of the joined rows of prepared data, or nothing when they were collected."""
        from raypipe.prepare import JOINED_MANIFEST, MANIFEST

        manifest = self.storage.uri("prepared", folder, MANIFEST)
        if not exists(manifest):
            return {}
        joined = self.storage.uri("joined", read_json(manifest)["joined"][:_FOLDER], JOINED_MANIFEST)
        return dict(read_json(joined)) if exists(joined) else {}


def folder_of(digest: str) -> str:
    """The name of the folder of prepared data with `digest`."""
    return digest[:_FOLDER]


def _rows_with(ref: "TableRef", prediction_id: str) -> Iterator[FoundRow]:
    paths = [path_of(ref.part_uri(part)) for part in ref.parts]
    if not paths:
        return
    try:
        rows = ds.dataset(paths, schema=ref.schema, filesystem=arrow_filesystem(ref.uri), format="parquet").to_table(
            columns=[*ref.schema.names, "__filename"], filter=pc.field("prediction_id") == prediction_id
        )
    except FileNotFoundError as error:
        raise LineageError(f"predictions of {ref.name}", f"files of version {ref.version} are gone ({error})") from error
    for row in rows.to_pylist():
        path = row.pop("__filename").rsplit("/", 1)[-1]
        yield FoundRow(ref, path, row)


def _folders(uri: str) -> list[str]:
    fs, path = filesystem(uri), path_of(uri)
    if not fs.exists(path):
        return []
    folders = (str(entry["name"]) for entry in fs.ls(path, detail=True) if entry["type"] == "directory")
    names = (folder.rstrip("/").rsplit("/", 1)[-1] for folder in folders)
    return sorted(name for name in names if not name.startswith("."))


def _pages(search: Any, *query: str) -> Iterator[Any]:
    """All entries of one of MLflow's searches, page by page."""
    token: str | None = None
    while True:
        page = search(*query, max_results=_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
