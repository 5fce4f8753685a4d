"""What every source can do, and how its URIs are found."""

import hashlib
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import pyarrow as pa

from raypipe.core.errors import SourceError
from raypipe.core.storage import filesystem, is_remote, path_of

BROKEN = "__broken_line"
"""Column that a reader adds for lines it could not split into fields: what is wrong and their text, else null."""
ROW = "__row"
"""Column that a reader adds with the row's number in its fragment, from 0, broken lines counted."""


@dataclass(frozen=True, kw_only=True)
class Fragment:
    """One independently readable piece of a source: a file, with the sha256 of its bytes."""

    uri: str
    num_bytes: int
    sha256: str


@runtime_checkable
class Source(Protocol):
    """Where rows come from. `fragments` runs in the driver, `read` on a worker."""

    def fragments(self) -> list[Fragment]:
        """All fragments, in a stable order.

        Raises:
            SourceError: when there is nothing to read.
        """

    def read(self, fragment: Fragment, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The rows of `fragment` as tables of `columns`, as text or typed.

        Raises:
            SourceError: when the fragment is not what the source says.
            SchemaMismatch: when it lacks columns.
        """


def resolve_uris(uri: str) -> list[str]:
    """Concrete URIs of a path, a glob, or ``package://PACKAGE/path`` (found without importing the package).

    Raises:
        SourceError: when nothing is found.
    """
    if uri.startswith("package://"):
        uri = str(_package_file(uri))
    fs, path = filesystem(uri), path_of(uri)
    prefix = uri.split("://", 1)[0] + "://" if is_remote(uri) else ""
    try:
        found = sorted(name for name, info in fs.glob(path, detail=True).items() if info["type"] == "file")
    except OSError as error:
        raise SourceError(uri, f"cannot be read ({error})") from error
    if not found:
        raise SourceError(uri, "no such file", "correct the source's uri")
    return [prefix + str(name) for name in found]


def fingerprint(uri: str) -> Fragment:
    """The fragment that is the whole file at `uri`; its bytes are hashed as a stream.

    Raises:
        SourceError: when the file is empty or cannot be read.
    """
    sha, num_bytes = hashlib.sha256(), 0
    try:
        with filesystem(uri).open(path_of(uri), "rb") as file:
            while block := file.read(1 << 20):
                sha.update(block)
                num_bytes += len(block)
    except OSError as error:
        raise SourceError(uri, f"cannot be read ({error})") from error
    if not num_bytes:
        raise SourceError(uri, "the file is empty", "correct the source or its export")
    return Fragment(uri=uri if is_remote(uri) else path_of(uri), num_bytes=num_bytes, sha256=sha.hexdigest())


def _package_file(uri: str) -> Path:
    package, _, path = uri.removeprefix("package://").partition("/")
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise SourceError(uri, f"package {package} is not installed", f"pip install {package} (raypipe's extra 'demo')")
    return Path(next(iter(spec.submodule_search_locations))) / path
