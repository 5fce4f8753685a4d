"""Delta's log as it lies in storage: one JSON file of actions for each version.

deltalake reads it for what is in a table; here it is read for what our commits say about themselves.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from raypipe.core.errors import StorageError
from raypipe.core.storage import exists, join, list_files, read_bytes

FACTS = "raypipe"
"""Key of the commit's own information under which ours are, as JSON text."""

Action = Mapping[str, Any]
Changes = Literal["none", "adds", "removes"]


def log_versions(uri: str) -> list[int]:
    """Versions of table `uri` whose actions are in the log, in their order."""
    names = (file.rsplit("/", 1)[-1] for file in list_files(join(uri, "_delta_log")))
    return sorted(int(stem) for stem, _, end in (name.partition(".") for name in names) if end == "json" and stem.isdecimal())


def actions_of(uri: str, version: int) -> list[Action]:
    """The actions of one version; none when the log does not reach back to it.

    Raises:
        StorageError: when its file is damaged.
    """
    log = join(uri, "_delta_log", f"{version:020d}.json")
    if not exists(log):
        return []
    try:
        found = [json.loads(line) for line in read_bytes(log).splitlines() if line.strip()]
    except ValueError as error:
        raise damaged(log, error) from error
    if not found:  # deltalake takes it for a version that changes nothing
        raise damaged(log, ValueError("the file is empty"))
    return found


def damaged(uri: str, error: Exception) -> StorageError:
    """What is raised when the log, or a file of it, is not what Delta writes."""
    text = " ".join(str(error).split())
    return StorageError(uri, f"the table's log is damaged ({text})", "bring the file back from a backup")


def info_of(actions: Sequence[Action]) -> Mapping[str, Any]:
    """What a commit says about itself; empty for a writer that says nothing."""
    return next((action["commitInfo"] for action in actions if "commitInfo" in action), {})


def facts_in(info: Mapping[str, Any]) -> Mapping[str, Any]:
    """The facts that one of our own commits carries; empty for others."""
    return dict(json.loads(info.get(FACTS) or "{}"))


def data_actions(actions: Sequence[Action], kind: Literal["add", "remove"]) -> Iterator[Mapping[str, Any]]:
    """Files that join or leave the table as rows; a mere rewriting of the same rows is not among them."""
    return (action[kind] for action in actions if kind in action and action[kind].get("dataChange", True))


def content_facts(uri: str, version: int) -> Mapping[str, Any]:
    """Facts of the commit that gave `version` its rows: later commits that changed no row, and restores, are looked through.

    Empty when another writer's commit gave it its rows, or the log does not reach back to ours.
    """
    while version >= 0:
        actions = actions_of(uri, version)
        info = info_of(actions)
        if FACTS in info or not actions:
            return facts_in(info)
        if info.get("operation") == "RESTORE":
            version = int(info["operationParameters"]["version"])
            continue
        if any(True for kind in ("add", "remove") for _ in data_actions(actions, kind)):
            return {}
        version -= 1
    return {}


def undone_by_restores(uri: str) -> frozenset[str]:
    """Transactions of commits of table `uri` whose rows a later restore took back, and none has brought again."""
    out: set[str] = set()
    reaches = None
    for version in reversed(log_versions(uri)):
        info = info_of(actions_of(uri, version))
        if reaches is not None and version > reaches:
            out.add(str(facts_in(info).get("transaction", "")))
        elif info.get("operation") == "RESTORE":
            reaches = int(info["operationParameters"]["version"])
    return frozenset(out)


def changes_between(uri: str, before: int, after: int) -> Changes:
    """What commits did to the rows since version `before`, up to and with version `after`.

    A version that the log no longer has counts as the most that it can have done.
    """
    found: Changes = "none"
    for version in range(before + 1, after + 1):
        actions = actions_of(uri, version)
        if not actions or any(data_actions(actions, "remove")):
            return "removes"
        if any(data_actions(actions, "add")):
            found = "adds"
    return found


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One version in the log: when it was committed, never before the one that it follows, and its actions."""

    version: int
    at: datetime
    actions: Sequence[Action]


def entries(uri: str) -> Iterator[Entry]:
    """All versions of table `uri` that are in its log, in their order, whatever the clocks of their writers said.

    Raises:
        StorageError: when a file of the log is damaged.
    """
    latest_ms = 0
    for version in log_versions(uri):
        actions = actions_of(uri, version)
        latest_ms = max(latest_ms, int(info_of(actions).get("timestamp", 0)))
        yield Entry(version=version, at=datetime.fromtimestamp(latest_ms / 1000, UTC), actions=actions)
