"""The registry that tests share: one local store for a module, and saved bundles to register."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bundle_parts import TARGETS, trained

from raypipe.bundle import save_bundle
from raypipe.core.storage import Storage
from raypipe.registry import Registry, Tracking
from raypipe.registry._tracking import connect

if TYPE_CHECKING:
    from mlflow import MlflowClient


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """One root, so one SQLite store, for all tests of a module; each test has models of its own."""
    return Storage(root=str(tmp_path_factory.mktemp("registry") / "root"))


@pytest.fixture(scope="module")
def tracking() -> Tracking:
    return Tracking(experiment="tests")


@pytest.fixture(scope="module")
def client(tracking: Tracking, storage: Storage) -> "MlflowClient":
    return connect(tracking, storage).client


@pytest.fixture(scope="module")
def registry(tracking: Tracking, storage: Storage) -> Registry:
    return Registry(tracking=tracking, storage=storage)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Saved bundles by name: one for each kind of target, and a second binary one."""
    folder = tmp_path_factory.mktemp("bundles")
    made = {kind: trained(kind) for kind in TARGETS}
    made["second"] = replace(made["binary"], threshold=0.25)
    for name, bundle in made.items():
        save_bundle(bundle, folder / name)
    return {name: folder / name for name in made}
