"""One change of a table: a commit of its own, tried again only where another writer's commit leaves it right.

deltalake's own second attempts are off: an overwrite that meets another's append keeps the rows of both (1.6.6).
"""

import getpass
import json
import os
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
from deltalake import DeltaTable
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import (
    AddAction,
    CommitProperties,
    PostCommitHookProperties,
    RemoveAction,
    Transaction,
    create_table_with_add_actions,
)

from raypipe.core.errors import SchemaMismatch, StorageError
from raypipe.core.storage import delta_options
from raypipe.tables._log import FACTS, changes_between, damaged
from raypipe.tables._part import Part

NO_VERSION = -1
"""The version before a table's first one."""

_ATTEMPTS = 30
_PAUSE_S = 0.2
KEEP_LOG = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)
"""Checkpoints as usual; the log stays, else versions older than 30 days could not be read, tagged or not."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a commit does; see `Tables.commit`."""

    parts: Sequence[Part]
    schema: pa.Schema
    mode: Literal["append", "overwrite"]
    transaction: str
    facts: Mapping[str, Any]
    remove: Sequence[str] = ()
    after: int | None = None


def apply(uri: str, change: Change) -> None:
    """Commit `change` to table `uri`; nothing when its transaction is there already.

    Raises:
        SchemaMismatch, StorageError: and the table is as it was.
    """
    seen = change.after
    for attempt in range(_ATTEMPTS):
        table = open_delta(uri)
        version = NO_VERSION if table is None else int(table.version())
        if table is not None and table.transaction_version(change.transaction) is not None:
            return
        seen = version if seen is None else seen
        _check_compatible(uri, change, seen, version)
        try:
            _attempt(uri, table, change)
        except CommitFailedError as error:
            _check_that_another_won(uri, version, error)
        except DeltaError as error:
            if table is not None:
                raise StorageError(uri, f"the commit failed ({' '.join(str(error).split())})") from error
            _check_that_another_won(uri, version, error)
        else:
            return
        time.sleep(random.uniform(0, _PAUSE_S) * (attempt > 0))
    raise StorageError(uri, f"other writers were faster {_ATTEMPTS} times", "run the job again")


def open_delta(uri: str) -> DeltaTable | None:
    """The table at `uri` at its latest version, or None when there is none.

    Raises:
        StorageError: when its log is damaged.
    """
    options = delta_options(uri)
    try:
        return DeltaTable(uri, storage_options=options) if DeltaTable.is_deltatable(uri, storage_options=options) else None
    except DeltaError as error:
        raise damaged(uri, error) from error


def latest_version(uri: str) -> int:
    """The latest version of the table at `uri`, -1 when there is none."""
    table = open_delta(uri)
    return NO_VERSION if table is None else int(table.version())


def properties(transaction: str, facts: Mapping[str, Any]) -> CommitProperties:
    """A commit's facts, who made it, and its transaction; one attempt only."""
    text = json.dumps({**facts, "transaction": transaction}, sort_keys=True)
    return CommitProperties(
        custom_metadata={FACTS: text, "userName": _user()},
        app_transactions=[Transaction(transaction, 0)],
        max_commit_retries=0,
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user id has no name
        return f"uid {os.getuid()}"


def _check_compatible(uri: str, change: Change, seen: int, version: int) -> None:
    """Whether `change`, made on `seen`, is right on `version` too.

    An append only adds rows, so it is right on any version. One that names the version that it follows was computed from
    it, as an overwrite was. One that removes parts can follow others that only added some.
    """
    if version == seen:
        return
    changes = changes_between(uri, seen, version) if version > seen else "removes"
    depends = change.mode == "overwrite" or change.after is not None
    if changes == "none" or (not depends and (changes == "adds" or not change.remove)):
        return
    what = "replaced rows" if changes == "removes" else "added rows"
    problem = f"another writer {what} at the same time (version {version} is there, this commit was made on {seen})"
    raise StorageError(uri, problem, "run the job again")


def _check_that_another_won(uri: str, version: int, error: Exception) -> None:
    if latest_version(uri) == version:
        raise StorageError(uri, f"the commit failed ({' '.join(str(error).split())})") from error


def _attempt(uri: str, table: DeltaTable | None, change: Change) -> None:
    now_ms = int(time.time() * 1000)
    adds = [AddAction(p.path, p.num_bytes, {}, now_ms, True, p.stats) for p in change.parts]  # Delta's order
    commit = properties(change.transaction, change.facts)
    if table is None:
        create_table_with_add_actions(
            uri,
            _delta_schema(uri, change.schema),
            adds,
            mode="error",
            storage_options=delta_options(uri),
            commit_properties=commit,
            post_commithook_properties=KEEP_LOG,
        )
        return
    removes = _removes(uri, table, change.remove, now_ms)
    schema = _widened(table, change.schema, uri) if change.mode == "append" else change.schema
    _delta_schema(uri, schema)
    table.create_write_transaction(
        [*removes, *adds], change.mode, schema, commit_properties=commit, post_commithook_properties=KEEP_LOG
    )


def _removes(uri: str, table: DeltaTable, paths: Sequence[str], now_ms: int) -> list[RemoveAction]:
    if not paths:
        return []
    actions = pa.table(table.get_add_actions())
    sizes = dict(zip(actions["path"].to_pylist(), actions["size_bytes"].to_pylist(), strict=True))
    gone = [path for path in paths if path not in sizes]
    if gone:
        problem = f"{len(gone)} part(s) to remove are not in version {table.version()}, for example {gone[0]}"
        raise StorageError(uri, problem, "run the job again")
    return [RemoveAction(path, True, now_ms, sizes[path], {}) for path in paths]  # Delta's order: rows change


def _delta_schema(uri: str, schema: pa.Schema) -> DeltaSchema:
    try:
        return DeltaSchema.from_arrow(schema)
    except Exception as error:  # deltalake's own class, with a native traceback in its text
        problem = f"a column has a type or a name that Delta Lake has not ({str(error).splitlines()[0]})"
        raise StorageError(uri, problem, "declare it as a number, a text, a date, a timestamp or a list") from error


def _widened(table: DeltaTable, schema: pa.Schema, uri: str) -> pa.Schema:
    """The table's schema, after it was given the columns that only `schema` has."""
    wanted = _delta_schema(uri, schema).fields
    current = {field.name: field for field in table.schema().fields}
    clash = [field.name for field in wanted if field.name in current and field.type != current[field.name].type]
    if clash:
        raise SchemaMismatch(uri, clash, [f"{name} of another type" for name in clash], {})
    new = [field for field in wanted if field.name not in current]
    if new:
        once = CommitProperties(max_commit_retries=0)  # on this version or not at all: what follows was checked against it
        table.alter.add_columns(new, commit_properties=once, post_commithook_properties=KEEP_LOG)
    return pa.schema(table.schema().to_arrow())


def restore(uri: str, version: int, *, after: int, facts: Mapping[str, Any]) -> None:
    """Make the rows of `version` the latest ones, when the latest version is `after`; the commit carries `facts`.

    Raises:
        StorageError: when another writer was faster.
    """
    said = {**facts, "restored": version}
    commit = properties(f"restore-{version}-{after}", said)
    table = DeltaTable(uri, version=after, storage_options=delta_options(uri))
    try:
        table.restore(version, commit_properties=commit, post_commithook_properties=KEEP_LOG)
    except DeltaError as error:
        text = " ".join(str(error).split())
        raise StorageError(uri, f"version {version} was not restored ({text})", "run the job again") from error
