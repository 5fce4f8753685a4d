"""Model versions in MLflow's registry, each naming one bundle by digest.

MLflow has no transactions, so a version counts only once it is tagged ``status=complete``, the last thing that is
written; one without the tag is what a killed registration left, and the next one removes it. The bundle itself lies
under ``storage.root/models/NAME/DIGEST``, where replicas read it without MLflow.
"""

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raypipe.bundle import MANIFEST, Bundle, check_parity, load_bundle, read_manifest
from raypipe.core.errors import BundleError, ConfigError, ModelNotFound
from raypipe.core.storage import Storage, download_folder, upload_folder
from raypipe.registry._pyfunc_model import save_pyfunc
from raypipe.registry._runs import find_run
from raypipe.registry._tracking import Connection, Tracking, connect, is_server_of, upstream_warnings_ignored

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion

CHAMPION, LATEST = "champion", "latest"
ENDPOINT = "endpoint."
"""How a tag begins that says where a version was deployed."""
_OF_RUN = ("experiment", "prepared", "config", "code", "git.revision", "git.dirty")
_COMPLETE = "complete"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """One registered version of a model.

    Attributes:
        name: Registered model.
        version: Number, from 1.
        digest: Digest of its bundle.
        run_id: The MLflow run that made it, or "".
        bundle_uri: Folder of the bundle, readable with `core.storage` alone.
    """

    name: str
    version: int
    digest: str
    run_id: str
    bundle_uri: str


class Registry:
    """The model registry of one store; connects on first use."""

    def __init__(self, *, tracking: Tracking, storage: Storage) -> None:
        self._tracking, self._storage = tracking, storage

    def register(
        self, name: str, bundle_folder: Path, *, run_id: str = "", tags: Mapping[str, str] | None = None
    ) -> ModelVersion:
        """Register the bundle in the local `bundle_folder`; the version that already has its digest, if there is one.

        Args:
            name: Registered model; made when new.
            bundle_folder: A saved bundle; loaded first, so a damaged one is refused, and its train/serve parity is proved
                again where it is registered. The result is the version's tag ``parity`` and its description.
            run_id: The run that made it; what it says of config, code and prepared data becomes tags of the version, which
                outlive the run.
            tags: More facts for the version.

        Raises:
            ConfigError: when MLflow or a folder could not take `name`.
            BundleError: when the bundle does not load, or its features differ between training and serving.
        """
        if not _NAME.fullmatch(name):
            raise ConfigError([f"model name {name!r}: expected letters, digits, '_', '-' and '.', at most 200"])
        bundle = load_bundle(bundle_folder)
        parity = check_parity(bundle.features, inputs=bundle.inputs, rows=bundle.examples, uri=str(bundle_folder))
        known = self.find_by_digest(name, bundle.digest)
        if known is not None:
            return known
        self._remove_incomplete(name, bundle.digest)
        bundle_uri = self._storage.uri("models", name, bundle.digest)
        upload_folder(bundle_folder, bundle_uri, last=MANIFEST)
        facts = {
            **self._facts_of_run(run_id),
            **(tags or {}),
            "digest": bundle.digest,
            "run_id": run_id,
            "bundle_uri": bundle_uri,
        }
        facts["parity"] = json.dumps(parity.to_dict())
        logged = self._log_model(bundle, bundle_folder, run_id)
        number = self._create_version(name, logged, run_id, tags=facts, description=f"Train/serve parity: {parity}")
        self._client.set_model_version_tag(name, str(number), "status", _COMPLETE)
        return ModelVersion(name=name, version=number, digest=bundle.digest, run_id=run_id, bundle_uri=bundle_uri)

    def resolve(self, name: str, version: str | int) -> ModelVersion:
        """The version of a number ("3"), an alias ("champion"), or "latest".

        Raises:
            ModelNotFound: naming the versions and aliases that exist.
        """
        wanted = str(version)
        versions = self.versions(name)
        number = str(max(versions, default="")) if wanted == LATEST else self._aliases(name).get(wanted, wanted)
        found = versions.get(int(number)) if number.isdecimal() else None
        if found is None:
            raise ModelNotFound(name, wanted, self._known(name, versions))
        return found

    def promote(self, name: str, version: str | int, *, alias: str = CHAMPION) -> ModelVersion:
        """Point `alias` to `version`; returns the version.

        Raises:
            ModelNotFound: when there is no such complete version.
        """
        found = self.resolve(name, version)
        self._client.set_registered_model_alias(name, alias, str(found.version))
        return found

    def deployed(self, version: ModelVersion, *, endpoint: str, url: str) -> None:
        """Record that `endpoint` answers with `version` from now on, and that the version it had answers there no more."""
        tag, now = f"{ENDPOINT}{endpoint}", datetime.now(UTC).isoformat(timespec="seconds")
        for other in self._search(version.name):
            said = json.loads(other.tags.get(tag, "{}"))
            mine = int(other.version) == version.version
            if mine and ("until" in said or said.get("url") != url):
                said = {"url": url, "since": now}
            elif not mine and said and "until" not in said:
                said["until"] = now
            else:
                continue
            self._client.set_model_version_tag(version.name, str(other.version), tag, json.dumps(said))

    def champion(self, name: str) -> ModelVersion | None:
        """The version that the alias ``champion`` names, or None when there is none yet."""
        number = self._aliases(name).get(CHAMPION)
        return None if number is None else self.resolve(name, number)

    def find_by_digest(self, name: str, digest: str) -> ModelVersion | None:
        """The oldest complete version of a bundle, or None."""
        found = [typed(v) for v in self._search(name, digest) if is_complete(v)]
        return min(found, key=lambda v: v.version, default=None)

    def versions(self, name: str) -> dict[int, ModelVersion]:
        """All complete versions of a model by number, oldest first; empty when the model is not known."""
        found = [typed(v) for v in self._search(name) if is_complete(v)]
        return {v.version: v for v in sorted(found, key=lambda v: v.version)}

    def fetch(self, version: ModelVersion) -> Path:
        """A local folder with the bundle of `version`: the stored one itself when local, else a copy the caller removes.

        Raises:
            StorageError: when nothing is there.
            BundleError: when another bundle is there.
        """
        folder = download_folder(version.bundle_uri)
        digest = read_manifest(folder).digest
        if digest != version.digest:
            raise BundleError(version.bundle_uri, f"its digest is {digest[:12]}, not {version.digest[:12]}")
        return folder

    @cached_property
    def _connection(self) -> Connection:
        return connect(self._tracking, self._storage)

    @property
    def _client(self) -> Any:
        return self._connection.client

    def _facts_of_run(self, run_id: str) -> dict[str, str]:
        run = find_run(self._client, run_id) if run_id else None
        return {} if run is None else {name: run.data.tags[name] for name in _OF_RUN if name in run.data.tags}

    def _log_model(self, bundle: Bundle, bundle_folder: Path, run_id: str) -> "LoggedModel":
        """Store the bundle as an MLflow model of the run.

        MLflow's `log_model` does the same through process-wide settings and an active run; the client needs neither.
        """
        from mlflow.entities import LoggedModelOutput

        logged = self._client.create_logged_model(
            self._connection.experiment_id, name="bundle", source_run_id=run_id or None, tags={"digest": bundle.digest}
        )
        ids = {"model_id": logged.model_id, **({"run_id": run_id} if run_id else {})}
        with tempfile.TemporaryDirectory(prefix="raypipe-") as scratch, upstream_warnings_ignored():
            folder = Path(scratch) / "model"
            requires = read_manifest(bundle_folder).requires
            save_pyfunc(folder, bundle=bundle, bundle_folder=bundle_folder, requires=requires, ids=ids)
            self._client.log_model_artifacts(logged.model_id, str(folder))
        self._client.finalize_logged_model(logged.model_id, "READY")
        if run_id:
            self._client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        return logged

    def _create_version(self, name: str, logged: "LoggedModel", run_id: str, *, tags: dict[str, str], description: str) -> int:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        # a database store looks up models:/ID through MLflow's process-wide tracking URI, which need not be this one
        if is_server_of(self._connection):
            where = {"source": f"models:/{logged.model_id}", "model_id": logged.model_id}
        else:
            where = {"source": logged.artifact_location}
        made = self._client.create_model_version(name, run_id=run_id or None, tags=tags, description=description, **where)
        return int(made.version)

    def _remove_incomplete(self, name: str, digest: str) -> None:
        for left in self._search(name, digest):
            if not is_complete(left):
                self._client.delete_model_version(name, left.version)

    def _search(self, name: str, digest: str = "") -> "list[MlflowVersion]":
        """All versions of a model, of one digest if given, page by page."""
        query = f"name = '{name}'" + (f" and tags.digest = '{digest}'" if digest else "")
        found: list[MlflowVersion] = []
        token: str | None = None
        while True:
            page = self._client.search_model_versions(query, max_results=200, page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def _aliases(self, name: str) -> dict[str, str]:
        from mlflow.exceptions import MlflowException

        try:
            return {alias: str(number) for alias, number in self._client.get_registered_model(name).aliases.items()}
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return {}

    def _known(self, name: str, versions: Mapping[int, ModelVersion]) -> str:
        aliases = [f"{alias} -> {number}" for alias, number in sorted(self._aliases(name).items())]
        if versions:
            return f"versions {', '.join(map(str, versions))}" + (f"; aliases {', '.join(aliases)}" if aliases else "")
        others = sorted(model.name for model in self._client.search_registered_models(max_results=20) if model.name != name)
        return "no versions" + (f"; other models: {', '.join(others)}" if others else "")


def is_complete(version: "MlflowVersion") -> bool:
    """Whether its registration came to its end."""
    return bool({"status": _COMPLETE}.items() <= version.tags.items() and {"digest", "bundle_uri"} <= version.tags.keys())


def typed(version: "MlflowVersion") -> ModelVersion:
    """A complete version of MLflow as raypipe's own."""
    tags = version.tags
    return ModelVersion(
        name=version.name,
        version=int(version.version),
        digest=tags["digest"],
        run_id=tags.get("run_id", ""),
        bundle_uri=tags["bundle_uri"],
    )
