"""The story of a table, read from its log: what each commit did, when, and whose it was."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from raypipe.tables._log import actions_of, entries, facts_in, info_of, log_versions


@dataclass(frozen=True, kw_only=True)
class Commit:
    """One version of a table and the commit that made it.

    Attributes:
        version: Its number.
        at: When it was committed, in UTC.
        by: The user who ran the job, or "".
        operation: What Delta calls it, such as ``WRITE Append``.
        transaction: The name of the change, which begins with the job's, or "".
        num_rows: Rows of the version; None where the log does not reach back far enough to say.
        parts_added: Files that joined the table.
        parts_removed: Files that left it.
        facts: What our commit says of its rows; empty for other writers' and for changes of other things than rows.
        tags: Names of the version.
    """

    version: int
    at: datetime
    by: str
    operation: str
    transaction: str
    num_rows: int | None
    parts_added: int
    parts_removed: int
    facts: Mapping[str, Any]
    tags: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For a job's line: facts in short, those that are one number or text."""
        short = {key: value for key, value in self.facts.items() if isinstance(value, (bool, int, float, str))}
        found = {**vars(self), "at": self.at.isoformat(), "tags": list(self.tags), "facts": short}
        return found | {"rows": found.pop("num_rows")}


def history(uri: str, tags: Mapping[str, int]) -> tuple[Commit, ...]:
    """Every version of table `uri` in its log, the latest first; `tags` are versions by tag."""
    rows, found = _Rows(), []
    for entry in entries(uri):
        version, actions = entry.version, entry.actions
        info = info_of(actions)
        rows.follow(version, actions)
        facts = facts_in(info)
        mode = (info.get("operationParameters") or {}).get("mode", "")
        found.append(
            Commit(
                version=version,
                at=entry.at,
                by=str(info.get("userName", "")),
                operation=f"{info.get('operation', 'unknown')} {mode}".strip(),
                transaction=str(facts.get("transaction", "")),
                num_rows=rows.num,
                parts_added=sum("add" in action for action in actions),
                parts_removed=sum("remove" in action for action in actions),
                facts=facts,
                tags=tuple(sorted(tag for tag, named in tags.items() if named == version)),
            )
        )
    return tuple(reversed(found))


def facts_of(uri: str, transaction: str) -> Mapping[str, Any] | None:
    """The facts of the latest commit with `transaction` in the log of table `uri`, else None."""
    for version in reversed(log_versions(uri)):
        facts = facts_in(info_of(actions_of(uri, version)))
        if facts.get("transaction") == transaction:
            return facts
    return None


class _Rows:
    """Rows of the table, commit after commit."""

    def __init__(self) -> None:
        self._parts: dict[str, int] | None = None

    def follow(self, version: int, actions: Sequence[Mapping[str, Any]]) -> None:
        if version == 0:
            self._parts = {}
        if self._parts is None:
            return
        for action in actions:
            if "remove" in action:
                self._parts.pop(action["remove"]["path"], None)
        for action in actions:
            if "add" in action:
                self._parts[action["add"]["path"]] = _num_records(action["add"])

    @property
    def num(self) -> int | None:
        return None if self._parts is None else sum(self._parts.values())


def _num_records(add: Mapping[str, Any]) -> int:
    return int(json.loads(add.get("stats") or "{}").get("numRecords", 0))
