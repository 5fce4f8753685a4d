"""What sources of files share: listing, identity, and noticing what is new, replaced, gone or changed while it is read.

A file is known by URI, size and etag (an object store's own, else the time of its last change in ns). Where only the
etag differs, the bytes are hashed: a file that was copied again, or touched, is not read again.
"""

import glob
import hashlib
import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from raypipe.core.digest import digest_json
from raypipe.core.errors import SourceError
from raypipe.core.storage import filesystem, is_remote, path_of
from raypipe.sources._source import Fragment, Scan

_PACKAGE = "package://"
_HASH_BYTES = 1 << 20
_RANGE = re.compile(r"#bytes=[0-9]+-[0-9]+$")
_ODD = re.compile("[\x00-\x1f\ud800-\udfff]")

COMPRESSED = (".gz", ".bz2", ".zst", ".zip")
"""How the names of compressed files end."""


@dataclass(frozen=True, kw_only=True)
class File:
    """A file as it was found."""

    uri: str
    size: int
    etag: str


def find_files(uri: str) -> list[File]:
    """The files at a path, a glob, or ``package://PACKAGE/path`` (found without importing the package), by name.

    Raises:
        SourceError: when it cannot be listed, or a file in it is empty.
    """
    place = located(uri)
    if "://" in place and not is_remote(place) and not place.startswith("file://"):
        raise SourceError(uri, "is neither a local path nor a URI of s3://, gs:// or abfs://", "correct the source's uri")
    prefix = uri.split("://", 1)[0] + "://" if is_remote(uri) else ""
    try:
        fs, path = filesystem(place), path_of(place)
        fs.invalidate_cache()
        listed = (fs.glob(path, detail=True) if glob.has_magic(path) else {}) or _info(fs, path)
        found = {prefix + str(name): info for name, info in listed.items() if info["type"] == "file"}
        files = [_file(name, info) for name, info in sorted(found.items()) if not _is_hidden(name, place)]
    except (OSError, ValueError, ImportError) as error:
        raise SourceError(uri, f"cannot be listed ({_said(error)})", "correct the source's uri or its credentials") from error
    for name in found:
        if _ODD.search(name):
            raise SourceError(ascii(name)[1:-1], "its name holds line ends, or bytes that are no UTF-8 text", "rename it")
    if place != uri and uri.startswith(_PACKAGE):
        root = str(package_folder(uri))
        package = uri.removeprefix(_PACKAGE).partition("/")[0]
        files = [File(uri=f"{_PACKAGE}{package}{f.uri.removeprefix(root)}", size=f.size, etag=f.etag) for f in files]
    for file in files:
        if not file.size:
            raise SourceError(file.uri, "the file is empty", "correct the source or its export")
    return files


def scan_files(uri: str, seen: Mapping[str, Any], *, range_bytes: int | None = None) -> Scan:
    """The files at `uri` that are new, or not what they were in `seen`.

    Args:
        uri: As for `find_files`.
        seen: The state of the scan before.
        range_bytes: Uncompressed files larger than twice this are cut into ranges of about this size, each a fragment.

    Raises:
        SourceError: when a file, or on the first scan all of a glob, is not there.
    """
    before: Mapping[str, Mapping[str, Any]] = seen.get("files", {})
    files = find_files(uri)
    if not files and (not before or not glob.has_magic(uri)):
        raise SourceError(uri, "no such file", "correct the source's uri")
    known: dict[str, list[str]] = {}
    for name in before:
        known.setdefault(file_of(name), []).append(name)
    state, fragments, replaced = dict(before), list[Fragment](), list[str]()
    for file in files:
        names = known.pop(file.uri, [])
        if names and _is_unchanged(file, {name: before[name] for name in names}):
            state |= {name: {**before[name], "etag": file.etag} for name in names}
            continue
        replaced += names
        state = {name: entry for name, entry in state.items() if name not in names}
        made = _fragments(file, range_bytes)
        fragments += made
        state |= {f.uri: {"size": file.size, "etag": file.etag, "identity": f.identity} for f in made}
    gone = tuple(sorted(name for names in known.values() for name in names))
    return Scan(
        takes="new",
        fragments=tuple(fragments),
        replaced=tuple(replaced),
        gone=gone,
        state={"files": dict(sorted(state.items()))},
    )


def file_of(fragment_uri: str) -> str:
    """URI of the file that a fragment is, or is a range of."""
    return _RANGE.sub("", fragment_uri)


def whole(fragment: Fragment) -> Fragment:
    """The file that `fragment` is, or is a range of, as one fragment."""
    details = {key: value for key, value in fragment.details.items() if key != "range"}
    return replace(fragment, uri=file_of(fragment.uri), details=details)


def located(uri: str) -> str:
    """`uri` with ``package://`` replaced by the folder of the installed package.

    Raises:
        SourceError: when the package is not installed.
    """
    if not uri.startswith(_PACKAGE):
        return uri
    return str(package_folder(uri) / uri.removeprefix(_PACKAGE).partition("/")[2])


def package_folder(uri: str) -> Path:
    """The folder of the installed package that ``package://PACKAGE/path`` names, found without importing it."""
    package = uri.removeprefix(_PACKAGE).partition("/")[0]
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise SourceError(uri, f"package {package} is not installed", f"pip install {package} (raypipe's extra 'demo')")
    return Path(next(iter(spec.submodule_search_locations)))


def local_path(fragment: Fragment) -> Path:
    """Where the file of a fragment that is not on an object store is."""
    return Path(path_of(located(file_of(fragment.uri))))


@contextmanager
def open_file(fragment: Fragment) -> Iterator[Any]:
    """The raw bytes of the file that `fragment` is in.

    Raises:
        SourceError: when it is not there any more.
    """
    place = located(file_of(fragment.uri))
    try:
        raw = filesystem(place).open(path_of(place), "rb")
    except OSError as error:
        raise SourceError(fragment.uri, f"cannot be read ({_said(error)})", "run the job again") from error
    with raw:
        yield raw


def check_unchanged(fragment: Fragment) -> None:
    """Refuse a file that is not the one that was listed: what was read of it may be of two contents.

    Raises:
        SourceError: with its URI.
    """
    name = file_of(fragment.uri)
    place = located(name)
    try:
        now = _file(place, filesystem(place).info(path_of(place)))
    except OSError as error:
        raise SourceError(name, f"was removed while it was read ({_said(error)})", "run the job again") from error
    if (now.size, now.etag) != (fragment.details["size"], fragment.details["etag"]):
        raise SourceError(name, "changed while it was read", "run the job again")


class HashingFile:
    """A file that is read from front to back, or a range of its lines, and hashed as it is read.

    A range takes the lines that begin in it, so neighbours share no line and lose none.
    """

    def __init__(self, raw: Any, fragment: Fragment) -> None:
        self._raw, self._sha = raw, hashlib.sha256()
        self._start, self._end = fragment.details.get("range", (0, None))
        self.closed = False
        if self._start:
            raw.seek(self._start - 1)
            raw.readline()
        self.start = raw.tell() if self._end is not None else 0

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        data = self._raw.read(size) if self._end is None else self._read_range(size)
        self._sha.update(data)
        return bytes(data)

    def readable(self) -> bool:
        """True."""
        return True

    def close(self) -> None:
        """Nothing: whoever opened the file closes it."""

    @property
    def sha256(self) -> str:
        """Digest of what was read so far."""
        return self._sha.hexdigest()

    def _read_range(self, size: int) -> bytes:
        at, end = self._raw.tell(), int(self._end)
        if at >= end:
            return b""
        data = self._raw.read(end - at if size < 0 else min(size, end - at))
        if self._raw.tell() == end and not data.endswith(b"\n"):
            data += self._raw.readline()
        return bytes(data)


def _info(fs: Any, path: str) -> dict[str, Any]:
    """What is at a path, if anything; fsspec's own glob says "nothing" also where the credentials are wrong."""
    try:
        return {path: fs.info(path)}
    except FileNotFoundError:
        return {}


def _is_hidden(name: str, place: str) -> bool:
    """True below ``**`` for what begins with "_" or ".": logs, checkpoints and files half written, as in Spark and Arrow."""
    top, deep, _ = place.partition("**")
    return bool(deep) and any(part.startswith(("_", ".")) for part in name.removeprefix(top.rstrip("/")).split("/"))


def _file(uri: str, info: Mapping[str, Any]) -> File:
    if not is_remote(uri):
        found = Path(uri).stat()
        return File(uri=uri, size=found.st_size, etag=str(found.st_mtime_ns))
    etag = next((info[key] for key in ("ETag", "etag", "md5Hash", "LastModified", "last_modified") if info.get(key)), "")
    return File(uri=uri, size=int(info["size"]), etag=str(etag).strip('"'))


def _fragments(file: File, range_bytes: int | None) -> list[Fragment]:
    details = {"size": file.size, "etag": file.etag}
    whole = [file.uri, file.size, file.etag]
    if range_bytes is None or file.size <= 2 * range_bytes or file.uri.endswith(COMPRESSED):
        return [Fragment(uri=file.uri, identity=digest_json(whole), num_bytes=file.size, details=details)]
    bounds = [*range(0, file.size - range_bytes // 2, range_bytes), file.size]
    return [
        Fragment(
            uri=f"{file.uri}#bytes={start}-{end}",
            identity=digest_json([*whole, start, end]),
            num_bytes=end - start,
            details={**details, "range": [start, end]},
        )
        for start, end in pairwise(bounds)
    ]


def _is_unchanged(file: File, entries: Mapping[str, Mapping[str, Any]]) -> bool:
    if any(entry["size"] != file.size for entry in entries.values()):
        return False
    if all(entry["etag"] == file.etag for entry in entries.values()):
        return True
    return all(entry.get("sha256") and entry["sha256"] == _digest(name) for name, entry in entries.items())


def _digest(fragment_uri: str) -> str:
    start, _, end = fragment_uri.removeprefix(file_of(fragment_uri)).removeprefix("#bytes=").partition("-")
    fragment = Fragment(uri=fragment_uri, identity="", details={"range": [int(start), int(end)]} if end else {})
    with open_file(fragment) as raw:
        file = HashingFile(raw, fragment)
        while file.read(_HASH_BYTES):
            pass
        return file.sha256


def _said(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def repeated(names: Sequence[str]) -> list[str]:
    """Names that stand in `names` before, in order."""
    return [name for i, name in enumerate(names) if name in names[:i]]
