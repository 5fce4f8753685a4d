"""Tags: names of versions, each a small file beside the table's log. Delta has none; readers pass over the folder."""

import errno
import json
import os
import uuid
from datetime import UTC, datetime
from pathlib import Path

from raypipe.core.errors import StorageError
from raypipe.core.storage import filesystem, is_remote, join, list_files, path_of, read_json, remove
from raypipe.tables._selector import can_be_tag

_FOLDER = "_tags"


def read_tags(uri: str) -> dict[str, int]:
    """All tags of table `uri` with their versions, by name."""
    files = [file for file in list_files(join(uri, _FOLDER)) if file.endswith(".json")]
    return {file.rsplit("/", 1)[-1].removesuffix(".json"): int(read_json(file)["version"]) for file in files}


def write_tag(uri: str, tag: str, version: int, *, note: str) -> None:
    """Write a tag that is not there yet; one that names the same version is left as it is.

    Raises:
        StorageError: when it names another version, or cannot be a tag.
    """
    if not can_be_tag(tag):
        problem = f"{tag!r} cannot be a tag: a version number, a time and 'latest' mean themselves"
        raise StorageError(uri, problem, "take a letter first, then letters, digits, '_', '-' and '.'")
    found = {"version": version, "at": datetime.now(UTC).isoformat(timespec="seconds"), "note": note}
    where = join(uri, _FOLDER, f"{tag}.json")
    if not put_if_absent(where, json.dumps(found, ensure_ascii=False).encode()):
        there = int(read_json(where)["version"])
        if there != version:
            raise StorageError(uri, f"tag {tag} names version {there} already", "untag it first, or choose another name")


def remove_tag(uri: str, tag: str) -> None:
    """Remove a tag, if it is there."""
    remove(join(uri, _FOLDER, f"{tag}.json"))


def put_if_absent(uri: str, data: bytes) -> bool:
    """Write `data` at `uri` whole, unless something is there; False then. Of writers at the same time one wins."""
    if is_remote(uri):
        try:
            filesystem(uri).pipe_file(path_of(uri), data, mode="create")
        except FileExistsError:
            return False
        except OSError as error:  # what SeaweedFS makes of the same refusal
            if error.errno != errno.EINVAL or not filesystem(uri).exists(path_of(uri)):
                raise
            return False
        return True
    path = Path(path_of(uri))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        partial.write_bytes(data)
        os.link(partial, path)
    except FileExistsError:
        return False
    finally:
        partial.unlink(missing_ok=True)
    return True
