"""Storage: the same behaviour on a local folder and in a bucket; whole or absent; refusals with the way out."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import s3fs

from raypipe.core import storage
from raypipe.core.config import build
from raypipe.core.errors import ConfigError, StorageError
from raypipe.core.storage import Storage, join


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "local":
        return Storage(root=str(tmp_path / "root"))
    return Storage(root=f"{request.getfixturevalue('s3')}/{tmp_path.name}")


def test_what_is_written_is_read(root: Storage) -> None:
    uri = root.uri("a", "b ü.json")
    assert not storage.exists(uri)
    storage.write_json(uri, {"ü": [1, None]})
    assert storage.exists(uri)
    assert storage.read_json(uri) == {"ü": [1, None]}
    storage.write_bytes(uri, b"")
    assert storage.read_bytes(uri) == b""


def test_what_is_missing_is_named(root: Storage) -> None:
    uri = root.uri("nowhere", "a.json")
    for read in (storage.read_json, storage.read_bytes, storage.download_folder):
        with pytest.raises(StorageError, match="does not exist") as caught:
            read(uri)
        assert caught.value.subject == uri
        assert "\n" not in str(caught.value)


def test_files_are_listed_by_name_and_removed_with_their_folder(root: Storage) -> None:
    for name in ("t/b", "t/a", "t/c/d", "tt/x"):
        storage.write_bytes(root.uri(name), name.encode())
    assert storage.list_files(root.uri("t")) == [root.uri("t", name) for name in ("a", "b", "c/d")]
    assert storage.list_files(root.uri("nowhere")) == []
    storage.remove(root.uri("t"))
    storage.remove(root.uri("t"))
    assert storage.list_files(root.uri("t")) == []
    assert storage.read_bytes(root.uri("tt", "x")) == b"tt/x"


def test_a_folder_is_uploaded_with_the_file_that_completes_it_last(root: Storage, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    for name in ("z", "deep/a", "manifest.json"):
        (source / name).write_text(name)
    storage.upload_folder(source, root.uri("up"), last="manifest.json")
    found = storage.download_folder(root.uri("up"))
    assert {p.relative_to(found).as_posix(): p.read_text() for p in found.rglob("*") if p.is_file()} == {
        name: name for name in ("z", "deep/a", "manifest.json")
    }


def test_an_upload_that_fails_leaves_no_complete_folder(root: Storage, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("a", "b", "c"):
        (source / name).write_text(name)
    with pytest.raises(FileNotFoundError, match="manifest"):
        storage.upload_folder(source, root.uri("up"), last="manifest.json")
    assert [uri.rpartition("/")[2] for uri in storage.list_files(root.uri("up"))] == ["a", "b", "c"]
    assert not storage.exists(root.uri("up", "manifest.json"))


def test_a_root_that_can_be_written_is_left_as_it_was(root: Storage) -> None:
    root.check_usable(several_machines=False)
    root.check_usable(several_machines=False)
    assert storage.list_files(root.uri()) == []


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = str(tmp_path / "a.bin")
    storage.write_bytes(uri, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        storage.write_bytes(uri, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]
    assert storage.read_bytes(uri) == b"old"


def test_a_writer_killed_in_the_middle_leaves_nothing_that_is_listed(tmp_path: Path) -> None:
    code = """
    import os, signal, sys
    from raypipe.core import storage
    os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
    storage.write_bytes(sys.argv[1], b"new")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "a.bin")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "a.bin").exists()
    assert storage.list_files(str(tmp_path)) == []
    storage.write_bytes(str(tmp_path / "a.bin"), b"new")
    assert storage.list_files(str(tmp_path)) == [str(tmp_path / "a.bin")]


@pytest.mark.parametrize("below", ["file/root", "/proc/raypipe"])
def test_a_root_that_cannot_be_written_is_refused_in_one_line(below: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    root = str(tmp_path / below)
    with pytest.raises(StorageError, match=r"cannot be written.*set storage.root") as caught:
        Storage(root=root).check_usable(several_machines=False)
    assert str(caught.value).startswith(root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("root", "shared", "allowed"),
    [
        (".raypipe", False, False),
        (".raypipe", True, False),
        ("{tmp}/root", False, False),
        ("{tmp}/root", True, True),
    ],
)
def test_a_submitted_job_needs_a_root_that_every_node_sees(root: str, shared: bool, allowed: bool, tmp_path: Path) -> None:  # noqa: FBT001
    made = Storage(root=root.format(tmp=tmp_path), shared=shared)
    if allowed:
        made.check_usable(several_machines=True)
        return
    with pytest.raises(StorageError, match=r"every node shares.*s3://BUCKET.*storage.shared=true") as caught:
        made.check_usable(several_machines=True)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("root", ["", "file:///data", "http://host/x"])
def test_a_root_of_another_kind_is_refused(root: str) -> None:
    with pytest.raises(ConfigError, match="root"):
        build({"root": root}, Storage)


def test_uris_have_one_slash_between_their_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert join("s3://b/x/", "/a/", "b") == "s3://b/x/a/b"
    assert Storage(root="s3://b/x/").uri("t") == "s3://b/x/t"
    assert Storage().uri("t") == f"{tmp_path}/.raypipe/t"


@pytest.fixture
def other_credentials(s3: str) -> Iterator[str]:
    """fsspec keeps clients by their settings; credentials are not among them."""
    s3fs.S3FileSystem.clear_instance_cache()
    yield s3
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.s3
@pytest.mark.parametrize(
    ("name", "value"),
    [("AWS_SECRET_ACCESS_KEY", "wrong-secret"), ("AWS_ACCESS_KEY_ID", "nobody")],
)
def test_a_bucket_that_cannot_be_written_is_refused_in_one_line(
    other_credentials: str, name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(StorageError, match="cannot be written") as caught:
        Storage(root=f"{other_credentials}/x").check_usable(several_machines=True)
    assert str(caught.value).startswith("s3://")
    assert "\n" not in str(caught.value)
    assert "wrong-secret" not in str(caught.value)
