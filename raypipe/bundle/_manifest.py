"""The manifest: every file of a bundle by size and sha256, and a digest that names the whole.

The digest is the sha256 of the manifest's content without the digest itself: it depends on the parts only, not on the
time or the folder.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from raypipe.bundle._code import Code, Requirement
from raypipe.core.digest import digest_file, digest_json
from raypipe.core.errors import BundleError

MANIFEST = "manifest.json"
FORMAT = 2


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One file of a bundle; `path` is relative to the bundle, with forward slashes."""

    path: str
    num_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a bundle consists of and what it needs to run."""

    files: tuple[FileEntry, ...]
    requires: tuple[Requirement, ...]
    code: tuple[Code, ...]

    def content(self) -> dict[str, Any]:
        """The content that the digest covers, as plain JSON values."""
        return {"format": FORMAT, **{name: [asdict(entry) for entry in entries] for name, entries in self._parts()}}

    @property
    def digest(self) -> str:
        """Sha256 of the content."""
        return digest_json(self.content())

    def _parts(self) -> list[tuple[str, tuple[Any, ...]]]:
        return [("files", self.files), ("requires", self.requires), ("code", self.code)]


def write_manifest(folder: Path, requires: tuple[Requirement, ...], code: tuple[Code, ...]) -> str:
    """Describe all files now in `folder` and write the manifest, the last file of a bundle; returns the digest."""
    files = tuple(
        FileEntry(path=name, num_bytes=(folder / name).stat().st_size, sha256=digest_file(folder / name))
        for name in _names(folder)
    )
    manifest = Manifest(files=files, requires=requires, code=code)
    text = json.dumps({**manifest.content(), "digest": manifest.digest}, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return manifest.digest


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the bundle at `folder`; its own digest is checked, the files are not.

    Raises:
        BundleError: when there is none, it is damaged, or its format is newer or older than this code reads.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(str(folder), f"{MANIFEST} is missing: not a bundle, or one that was not written to its end")
    try:
        data = json.loads(path.read_bytes())
        number = int(data["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(str(folder), f"{MANIFEST} is damaged ({error})") from error
    if number > FORMAT:
        problem = f"format {number} is newer than {FORMAT}, the newest that this version of raypipe reads; upgrade raypipe"
        raise BundleError(str(folder), problem)
    if number < FORMAT:
        problem = f"format {number} is older than {FORMAT}, the only one that this version of raypipe reads; train it again"
        raise BundleError(str(folder), problem)
    try:
        manifest = Manifest(
            files=tuple(FileEntry(**entry) for entry in data["files"]),
            requires=tuple(Requirement(**entry) for entry in data["requires"]),
            code=tuple(Code(**entry) for entry in data["code"]),
        )
        written = data["digest"]
    except (KeyError, TypeError) as error:
        raise BundleError(str(folder), f"{MANIFEST} is damaged ({error})") from error
    if manifest.digest != written:
        raise BundleError(str(folder), f"{MANIFEST} is damaged: its digest is {manifest.digest[:12]}, not {written[:12]}")
    return manifest


def check_files(folder: Path, manifest: Manifest) -> None:
    """Refuse a bundle whose files are not exactly those of its manifest.

    Raises:
        BundleError: naming the file that is missing, extra or changed.
    """
    listed, found = {entry.path for entry in manifest.files}, set(_names(folder))
    for name in sorted(listed - found):
        raise BundleError(str(folder), f"{name} is missing")
    for name in sorted(found - listed):
        raise BundleError(str(folder), f"{name} does not belong to it")
    for entry in manifest.files:
        path = folder / entry.path
        if path.stat().st_size != entry.num_bytes:
            raise BundleError(str(folder), f"{entry.path} has {path.stat().st_size} bytes, not {entry.num_bytes}")
        if digest_file(path) != entry.sha256:
            raise BundleError(str(folder), f"{entry.path} is damaged: its sha256 is not the one it was written with")


def _names(folder: Path) -> list[str]:
    paths = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir() or p.is_symlink())
    return sorted(name for name in paths if name != MANIFEST)
