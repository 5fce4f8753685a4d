"""Collecting prepared data that is no longer used: by age, by size, and what killed jobs left behind.

Never collected: what was used or written within `Collection.spare`, and a running job says again and again what it uses; what a
registered model was made of, while its bundle is there; joined rows of prepared data that stays. What the latest prepare step
of an experiment of this root points to goes by age alone, not by size. A local folder is renamed first, of one in a bucket the
manifest is removed first: a collection that is killed leaves nothing that would be taken for complete.
"""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from raypipe.core.config import config
from raypipe.core.durations import Duration
from raypipe.core.storage import Storage, exists, is_remote, join, list_files, path_of, read_json, remove
from raypipe.prepare._joined import JOINED_MANIFEST
from raypipe.prepare._leftovers import PARTIAL, Leftover, left_behind, listed, written_at
from raypipe.prepare._prepared import MANIFEST, MODELS
from raypipe.prepare._use import last_used

Reason = Literal["age", "size", "incomplete", "left behind"]
_MANIFESTS: Mapping[str, str] = {"prepared": MANIFEST, "joined": JOINED_MANIFEST}


@config
class Collection:
    """When prepared data goes.

    Attributes:
        max_age: Prepared data and joined rows that nothing used for so long go.
        max_bytes: Least recently used ones go until the rest is no larger; null for no bound.
        spare: Nothing that was used or written within this time goes, whatever its size. A running job says
            every ten minutes what it uses, so shorter times are for when none runs.
        registered: What becomes of data that a registered model was made of: ``keep`` it, whatever its age and size, or
            ``collect`` it as any other; models need it for nothing but training again on the same rows.
        dry_run: Only say what would go.
    """

    max_age: Duration = timedelta(days=30)
    max_bytes: Annotated[int, Field(ge=0)] | None = None
    spare: Duration = timedelta(days=1)
    registered: Literal["keep", "collect"] = "keep"
    dry_run: bool = False


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A folder of prepared data or joined rows, complete or not.

    Attributes:
        uri: The folder.
        kind: ``prepared`` or ``joined``.
        digest: The name of the folder.
        num_bytes: Size of its files.
        used_at: The latest of its last use and its last write.
        complete: Whether its manifest is there.
        rows_of: Of prepared data, the name of the folder of its joined rows.
        wanted: Whether the latest prepare step of an experiment points to it.
        registered: Whether a registered model was made of it.
    """

    uri: str
    kind: Literal["prepared", "joined"]
    digest: str
    num_bytes: int
    used_at: datetime
    complete: bool
    rows_of: str = ""
    wanted: bool = False
    registered: bool = False


@dataclass(frozen=True, kw_only=True)
class Collected:
    """Something that goes, and why."""

    uri: str
    num_bytes: int
    reason: Reason

    def to_dict(self) -> dict[str, Any]:
        """For the job's line."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Collecting:
    """What a collection found.

    Attributes:
        collected: What goes, in the order in which it goes.
        num_bytes_kept: Size of the prepared data and joined rows that stay.
        num_bytes_registered: How much of that stays for registered models.
    """

    collected: tuple[Collected, ...]
    num_bytes_kept: int
    num_bytes_registered: int = 0

    @property
    def num_bytes(self) -> int:
        """Size of what goes."""
        return sum(one.num_bytes for one in self.collected)


def collect(storage: Storage, rules: Collection, *, now: datetime | None = None) -> Collecting:
    """Decide what goes, and remove it unless `rules` say to look only.

    Args:
        storage: The root.
        rules: When something goes.
        now: The present, by default the clock's.
    """
    now = now or datetime.now(UTC)
    folders = [*_folders(storage, "prepared"), *_folders(storage, "joined")]
    collecting = decide(_marked(storage, folders), rules, now=now)
    leftovers = _apart(left_behind(storage, before=now - rules.spare), collecting.collected)
    collecting = replace(collecting, collected=(*collecting.collected, *leftovers))
    if not rules.dry_run:
        for one in collecting.collected:
            used = last_used(one.uri)
            if used is None or used < now - rules.spare:  # else a job began to use it since
                _remove(one.uri)
    return collecting


def decide(folders: Iterable[Kept], rules: Collection, *, now: datetime) -> Collecting:
    """What of `folders` goes: a pure function.

    Prepared data comes before the joined rows that it needs, and takes them along into what stays.
    """
    found = _as_used_as_what_needs_them(list(folders))
    free = [folder for folder in found if _is_free(folder, rules, now)]
    going: dict[str, Reason] = {}
    for folder in free:
        if not folder.complete or folder.used_at < now - rules.max_age:
            going[folder.uri] = "age" if folder.complete else "incomplete"
    size = sum(folder.num_bytes for folder in found if folder.uri not in going)
    for folder in sorted(free, key=lambda folder: (folder.used_at, folder.kind == "joined", folder.uri)):
        if rules.max_bytes is None or size <= rules.max_bytes:
            break
        if folder.uri not in going and not folder.wanted and not _needed(folder, found, going):
            going[folder.uri] = "size"
            size -= folder.num_bytes
    collected = [
        Collected(uri=f.uri, num_bytes=f.num_bytes, reason=going[f.uri])
        for f in sorted(found, key=lambda f: (f.kind == "joined", f.used_at, f.uri))
        if f.uri in going
    ]
    registered = sum(folder.num_bytes for folder in found if folder.registered and rules.registered == "keep")
    return Collecting(collected=tuple(collected), num_bytes_kept=size, num_bytes_registered=registered)


def _apart(leftovers: Iterable[Leftover], collected: Iterable[Collected]) -> list[Collected]:
    """Leftovers that do not go with a folder that they are in."""
    going = tuple(join(one.uri, "") for one in collected)
    found = [one for one in leftovers if not one.uri.startswith(going)]
    return [Collected(uri=one.uri, num_bytes=one.num_bytes, reason="left behind") for one in found]


def _is_free(folder: Kept, rules: Collection, now: datetime) -> bool:
    """Whether nothing that runs, and no registered model, uses it."""
    return folder.used_at < now - rules.spare and not (folder.registered and rules.registered == "keep")


def _as_used_as_what_needs_them(folders: list[Kept]) -> list[Kept]:
    """Joined rows were used when prepared data of theirs was, and are wanted and a model's where that is."""
    out = []
    for folder in folders:
        users = [other for other in folders if other.complete and other.rows_of == folder.digest and folder.kind == "joined"]
        used_at = max([folder.used_at, *(user.used_at for user in users)])
        wanted = folder.wanted or any(user.wanted for user in users)
        registered = folder.registered or any(user.registered for user in users)
        out.append(replace(folder, used_at=used_at, wanted=wanted, registered=registered))
    return out


def _needed(folder: Kept, folders: list[Kept], going: Mapping[str, Reason]) -> bool:
    """Whether prepared data that stays needs these joined rows."""
    if folder.kind != "joined":
        return False
    return any(other.complete and other.rows_of == folder.digest and other.uri not in going for other in folders)


def _folders(storage: Storage, kind: Literal["prepared", "joined"]) -> list[Kept]:
    root, by_name = storage.uri(kind), defaultdict(list)
    for uri, info in listed(root):
        by_name[uri.removeprefix(f"{root}/").partition("/")[0]].append((uri, info))
    return [_folder(storage, kind, name, files) for name, files in sorted(by_name.items()) if not name.endswith(PARTIAL)]


def _folder(
    storage: Storage, kind: Literal["prepared", "joined"], name: str, files: list[tuple[str, Mapping[str, Any]]]
) -> Kept:
    uri, manifest = storage.uri(kind, name), storage.uri(kind, name, _MANIFESTS[kind])
    complete, used = exists(manifest), last_used(uri)
    models = [file for file, _ in files if file.startswith(join(uri, MODELS, ""))]
    written = max(written_at(info) for _, info in files)
    return Kept(
        uri=uri,
        kind=kind,
        digest=name,
        num_bytes=sum(int(info["size"]) for _, info in files),
        used_at=used if complete and used is not None else written,
        complete=complete,
        rows_of=read_json(manifest).get("joined", "")[: len(name)] if complete else "",  # older ones hold their rows
        registered=complete and any(exists(storage.uri(read_json(model)["manifest"])) for model in models),
    )


def _marked(storage: Storage, folders: list[Kept]) -> list[Kept]:
    """The folders, those marked that the latest prepare step of an experiment points to."""
    steps = [uri for uri in list_files(storage.uri("steps")) if uri.endswith("/prepare.json")]
    wanted = {read_json(uri)["result"]["uri"].rstrip("/").rsplit("/", 1)[-1] for uri in steps}
    return [replace(folder, wanted=folder.kind == "prepared" and folder.digest in wanted) for folder in folders]


def _remove(uri: str) -> None:
    """Remove a folder or file so that it is whole or not there: a local one gets a name of what is left behind first.

    A job that makes the same at this moment then writes into a folder of its own. In a bucket, where nothing has another name,
    manifests go first.
    """
    if is_remote(uri):
        for manifest in _MANIFESTS.values():
            remove(join(uri, manifest))
        remove(uri)
        return
    path = Path(path_of(uri))
    going = path if path.name.endswith(PARTIAL) else path.with_name(f".{path.name}.{uuid.uuid4().hex}{PARTIAL}")
    with suppress(FileNotFoundError):  # its writer, or another collection, was faster
        path.rename(going)
        remove(str(going))
