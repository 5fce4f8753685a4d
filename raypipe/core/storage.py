"""Storage: one root URI, local or ``s3://``, and the few operations every package needs on it.

Outputs appear whole or not at all: a local file is written beside its place and renamed, an object store's put is
atomic by itself. Credentials and the endpoint come from the environment (``AWS_ACCESS_KEY_ID``,
``AWS_SECRET_ACCESS_KEY``, ``AWS_REGION``, ``AWS_ENDPOINT_URL``), never from the configuration.
"""

import json
import os
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import Annotated, Any

import fsspec
import pyarrow.fs as pafs
from pydantic import Field, model_validator

from raypipe.core.config import config
from raypipe.core.errors import StorageError

_REMOTE = ("s3://", "gs://", "abfs://")
_PARTIAL = ".partial"


@config
class Storage:
    """Where all state of raypipe lives.

    Attributes:
        root: A local folder or a bucket URI such as ``s3://bucket/raypipe``.
        shared: Say true when a local `root` is a mount that every node sees at the same path.
    """

    root: Annotated[str, Field(min_length=1)] = ".raypipe"
    shared: bool = False

    @model_validator(mode="after")
    def _scheme_is_known(self) -> "Storage":
        if "://" in self.root and not is_remote(self.root):
            raise ValueError(f"root {self.root} is neither a local path nor a URI of {', '.join(_REMOTE)}")
        return self

    def uri(self, *parts: str) -> str:
        """URI of something under the root; an absolute path when the root is local."""
        return join(self.root if is_remote(self.root) else str(Path(self.root).absolute()), *parts)

    def check_usable(self, *, several_machines: bool) -> None:
        """Refuse a root that cannot be written, or one that several machines (of a submitted job, say) would not share.

        Raises:
            StorageError: with the way out.
        """
        if several_machines and not is_remote(self.root) and not (self.shared and Path(self.root).is_absolute()):
            raise StorageError(
                self.root,
                "a submitted job, or a cluster of several nodes, needs a storage root that every node shares",
                "set storage.root=s3://BUCKET/PATH, or an absolute mounted path with storage.shared=true",
            )
        probe = self.uri(f".probe-{uuid.uuid4().hex}")
        try:
            write_bytes(probe, b"raypipe")
            remove(probe)
        except Exception as error:
            problem = " ".join(f"the storage root cannot be written ({error or type(error).__name__})".split())
            raise StorageError(self.root, problem, "set storage.root=URI") from error


def is_remote(uri: str) -> bool:
    """True for a URI of an object store."""
    return uri.startswith(_REMOTE)


def join(root: str, *parts: str) -> str:
    """`parts` below `root`, with one slash between."""
    return "/".join([root.rstrip("/"), *(p.strip("/") for p in parts)])


def filesystem(uri: str) -> fsspec.AbstractFileSystem:
    """The fsspec file system of `uri`."""
    if uri.startswith("s3://"):
        return fsspec.filesystem("s3", **_s3_options())
    return fsspec.core.url_to_fs(uri)[0]


def path_of(uri: str) -> str:
    """`uri` as the path that its file system takes."""
    return str(filesystem(uri)._strip_protocol(uri))


def arrow_filesystem(uri: str) -> pafs.FileSystem:
    """The file system of `uri` for PyArrow and Ray Data."""
    if is_remote(uri):
        return pafs.PyFileSystem(pafs.FSSpecHandler(filesystem(uri)))
    return pafs.LocalFileSystem()


def delta_options(uri: str) -> dict[str, str]:
    """Storage options of deltalake for `uri`; conditional puts make S3 commits safe without a lock table."""
    if not uri.startswith("s3://"):
        return {}
    names = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION")
    options = {name: os.environ[name] for name in names if name in os.environ}
    if options.get("AWS_ENDPOINT_URL", "").startswith("http://"):
        options["AWS_ALLOW_HTTP"] = "true"
    return {"AWS_REGION": "us-east-1", **options, "aws_conditional_put": "etag"}


def exists(uri: str) -> bool:
    """True when a file or folder is at `uri`."""
    return bool(filesystem(uri).exists(path_of(uri)))


def read_bytes(uri: str) -> bytes:
    """The bytes at `uri`.

    Raises:
        StorageError: when nothing is there.
    """
    try:
        return bytes(filesystem(uri).cat_file(path_of(uri)))
    except FileNotFoundError as error:
        raise StorageError(uri, "does not exist") from error


def write_bytes(uri: str, data: bytes) -> None:
    """Write `data` at `uri`, whole or not at all."""
    if is_remote(uri):
        filesystem(uri).pipe_file(path_of(uri), data)
        return
    path = Path(path_of(uri))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}{_PARTIAL}")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_json(uri: str) -> Any:
    """The JSON document at `uri`."""
    return json.loads(read_bytes(uri))


def write_json(uri: str, value: Any) -> None:
    """Write `value` as readable JSON at `uri`, whole or not at all."""
    write_bytes(uri, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n")


def list_files(uri: str) -> list[str]:
    """URIs of all files below `uri`, sorted; empty when there is none. What a killed writer began is not among them."""
    fs, path = filesystem(uri), path_of(uri)
    fs.invalidate_cache()
    prefix = uri.split("://", 1)[0] + "://" if is_remote(uri) else ""
    found = fs.find(path, detail=True) if fs.exists(path) else {}
    files = (str(name) for name, info in found.items() if info["type"] == "file")
    return sorted(prefix + name for name in files if not name.endswith(_PARTIAL))


def remove(uri: str) -> None:
    """Remove what is at `uri`, if anything."""
    fs, path = filesystem(uri), path_of(uri)
    if fs.exists(path):
        fs.rm(path, recursive=True)


def upload_folder(folder: Path, uri: str, *, last: str) -> None:
    """Copy `folder` to `uri`, the file `last` at the end: a reader that finds it finds everything."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.relative_to(folder).as_posix() != last)
    for path in [*files, folder / last]:
        write_bytes(join(uri, path.relative_to(folder).as_posix()), path.read_bytes())


def download_folder(uri: str) -> Path:
    """A local copy of the folder at `uri`; the folder itself when it is local already. The caller removes a copy.

    Raises:
        StorageError: when nothing is there.
    """
    files = list_files(uri)
    if not files:
        raise StorageError(uri, "does not exist")
    if not is_remote(uri):
        return Path(path_of(uri))
    folder = Path(tempfile.mkdtemp(prefix="raypipe-"))
    for file in files:
        target = folder / file.removeprefix(uri.rstrip("/") + "/")
        target.parent.mkdir(parents=True, exist_ok=True)
        with filesystem(file).open(path_of(file), "rb") as source, target.open("wb") as out:
            shutil.copyfileobj(source, out)
    return folder


def _s3_options() -> dict[str, Any]:
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    client = {"region_name": os.environ.get("AWS_REGION", "us-east-1")}
    return {"client_kwargs": {**client, "endpoint_url": endpoint} if endpoint else client, "use_listings_cache": False}
