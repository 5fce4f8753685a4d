"""Delta tables: workers write Parquet parts, the driver commits them all in one transaction.

A part's name is a function of what it holds, so a job that is killed and run again writes the same names and nothing is
doubled; parts become rows of the table only by the commit. The commit carries the writer's facts (row counts, source
digest), so state cannot part from data.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from raypipe.core.errors import StorageError, TableNotFound
from raypipe.core.storage import Storage, delta_options, join, list_files
from raypipe.tables import _tags
from raypipe.tables._commit import NO_VERSION, Change, apply, latest_version, open_delta, restore
from raypipe.tables._history import Commit, facts_of, history
from raypipe.tables._log import content_facts, damaged, entries
from raypipe.tables._part import Part
from raypipe.tables._selector import Selector, parse_selector
from raypipe.tables._vacuum import Vacuumed, vacuum

WEEK = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class TableRef:
    """One version of a table: `uri`, its schema, its Parquet files by name, and the facts of the commit of its rows."""

    name: str
    uri: str
    version: int
    schema: pa.Schema
    parts: tuple[Part, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_rows(self) -> int:
        """Rows of this version."""
        return sum(part.num_rows for part in self.parts)

    @property
    def label(self) -> str:
        """``name@version``, as recorded by every run."""
        return f"{self.name}@{self.version}"

    def part_uri(self, part: Part) -> str:
        """URI of one of its files."""
        return join(self.uri, part.path)


class Tables:
    """All tables below ``<root>/<folder>``."""

    def __init__(self, storage: Storage, folder: str = "tables") -> None:
        self._storage, self._folder = storage, folder

    def uri(self, name: str) -> str:
        """Where table `name` lives."""
        return self._storage.uri(self._folder, name)

    def find(self, name: str, version: int | None = None) -> TableRef | None:
        """Table `name` at `version` (default the latest), or None when it was never written.

        Raises:
            TableNotFound: when the table is there and the version is not.
            StorageError: when its log is damaged.
        """
        uri = self.uri(name)
        try:
            table = DeltaTable(uri, version=version, storage_options=delta_options(uri))
        except TableNotFoundError:
            return None
        except (DeltaError, OverflowError) as error:
            if version is not None and not 0 <= version <= latest_version(uri):
                raise TableNotFound(name, version, self._known(name)) from error
            raise damaged(uri, error) from error
        return _ref(name, uri, table)

    def open(self, name: str, version: int | None = None) -> TableRef:
        """Table `name` at `version` (default the latest).

        Raises:
            TableNotFound: when the table or the version was never written.
            StorageError: when its log is damaged.
        """
        ref = self.find(name, version)
        if ref is None:
            raise TableNotFound(name, version, self._known(name))
        return ref

    def at(self, name: str, when: datetime) -> TableRef:
        """Table `name` as it was at `when`, in UTC unless it has a zone.

        Raises:
            TableNotFound: when it was not there yet.
        """
        instant = when if when.tzinfo else when.replace(tzinfo=UTC)
        times = {entry.version: entry.at for entry in entries(self.uri(name))}
        found = [version for version, committed in times.items() if committed <= instant]
        if not found:
            first = min(times.values(), default=None)
            known = f"its first version is of {first.isoformat()}" if first else self._known(name)
            raise TableNotFound(name, instant.isoformat(), known)
        return self.open(name, max(found))

    def select(self, name: str, which: Selector = None) -> TableRef:
        """One version of a table as people name it: ``flights``, ``flights@3``, ``flights@gold``, ``flights@2013-10-01``.

        Args:
            name: The table, with or without what to take after an ``@``.
            which: The same apart: a version number (also ``v3``), a tag, a day or an instant (UTC unless it has a zone);
                None or ``latest`` is the latest version.

        Raises:
            TableNotFound: naming the versions and tags that there are.
        """
        table, _, inside = name.partition("@")
        wanted = parse_selector(which if which is not None else inside or None)
        if isinstance(wanted, datetime):
            return self.at(table, wanted)
        if isinstance(wanted, str):
            tags = self.tags(table)
            if wanted not in tags:
                raise TableNotFound(table, wanted, self._known(table))
            return self.open(table, tags[wanted])
        return self.open(table, wanted)

    def committed(self, name: str, transaction: str) -> bool:
        """True when a commit with application transaction `transaction` is in the table."""
        table = open_delta(self.uri(name))
        return table is not None and table.transaction_version(transaction) is not None

    def commit(  # noqa: PLR0913  # a commit is these
        self,
        name: str,
        parts: Sequence[Part],
        schema: pa.Schema,
        *,
        mode: Literal["append", "overwrite"],
        transaction: str,
        facts: Mapping[str, Any],
        remove: Sequence[str] = (),
        after: int | None = None,
    ) -> TableRef:
        """Make `parts` a new version of table `name`, in one Delta commit that carries `facts`.

        A `transaction` that is in the table already commits nothing, also when two writers commit it at the same time.
        An append may bring new columns: they are null in the older rows. Where other writers commit meanwhile, an append
        follows them, one that removes parts follows those that only added some, and an overwrite follows none.

        Args:
            name: The table; made when new.
            parts: Files that join it.
            schema: Columns of `parts`.
            mode: ``append`` leaves the other parts, ``overwrite`` takes them all out.
            transaction: Name of this change, the same when the job is run again.
            facts: JSON that goes with the rows.
            remove: With ``append``, paths of parts that leave in the same commit.
            after: The version that this change was computed from, -1 for no table yet: it follows no change of rows since.

        Raises:
            SchemaMismatch: when an append gives another type to a column.
            StorageError: when another writer was faster with other rows, or a part to remove is not there.
        """
        if remove and mode == "overwrite":
            raise ValueError("an overwrite removes all parts by itself")
        what: dict[str, Any] = {"parts": parts, "schema": schema, "mode": mode, "remove": remove, "after": after}
        apply(self.uri(name), Change(**what, transaction=transaction, facts=facts))
        return self.open(name)

    def facts_of(self, name: str, transaction: str) -> Mapping[str, Any] | None:
        """The facts of the commit with `transaction`, while Delta's log has it; else None."""
        return facts_of(self.uri(name), transaction)

    def history(self, name: str) -> tuple[Commit, ...]:
        """Every version of table `name` that is in the log, the latest first.

        Raises:
            TableNotFound: when it was never written.
            StorageError: when its log is damaged.
        """
        uri = self.uri(name)
        if open_delta(uri) is None:
            raise TableNotFound(name, None, self._known(name))
        return history(uri, self.tags(name))

    def tags(self, name: str) -> dict[str, int]:
        """Tags of table `name` by name, each with its version."""
        return _tags.read_tags(self.uri(name))

    def tag(self, name: str, tag: str, which: Selector = None, *, note: str = "") -> TableRef:
        """Give one version a name of its own; vacuum keeps it as long as it has one.

        The same tag again is nothing new; a tag does not move: remove it first.

        Raises:
            TableNotFound: when there is no such version.
            StorageError: when the tag names another version, the name cannot be a tag, or files of the version are gone.
        """
        ref = self.select(name, which)
        _tags.write_tag(ref.uri, tag, ref.version, note=note)
        try:
            _check_whole(ref)  # with the tag in place: no vacuum that begins from here on takes a file of it
        except StorageError:
            _tags.remove_tag(ref.uri, tag)
            raise
        return ref

    def untag(self, name: str, tag: str) -> int:
        """Remove a tag; gives the version that it named.

        Raises:
            TableNotFound: when there is no such tag.
        """
        version = self.tags(name).get(tag)
        if version is None:
            raise TableNotFound(name, tag, self._known(name))
        _tags.remove_tag(self.uri(name), tag)
        return version

    def restore(self, name: str, which: Selector) -> TableRef:
        """Make the rows of an earlier version the latest ones, in a commit with the facts of those rows.

        Nothing is lost: the versions between stay in the history. Already the latest rows: nothing.

        Raises:
            TableNotFound: when there is no such version.
            StorageError: when files of the version are gone, or another writer was faster.
        """
        wanted, now = self.select(name, which), self.open(name)
        _check_whole(wanted)
        if (wanted.parts, wanted.schema) == (now.parts, now.schema):
            return now
        restore(wanted.uri, wanted.version, after=now.version, facts=wanted.facts)
        return self.open(name)

    def vacuum(
        self,
        name: str,
        *,
        keep_versions: Collection[int] = (),
        retention: timedelta = WEEK,
        mode: Literal["look", "remove"] = "look",
        now: datetime | None = None,
    ) -> Vacuumed:
        """Remove files that no version within `retention` needs, nor the latest, a tagged, or one of `keep_versions`.

        Args:
            name: The table.
            keep_versions: Versions that stay readable whatever their age, such as those of registered models.
            retention: Files that left the table, or were written without a commit, within this time stay: jobs that read
                an older version, or write, must not take longer.
            mode: ``look`` only says what would go.
            now: The present, by default the clock's.

        Raises:
            TableNotFound: when the table was never written.
            StorageError: when a version to keep cannot be read; nothing is removed then.
        """
        ref = self.open(name)
        kept = {*keep_versions, *self.tags(name).values(), ref.version}
        return vacuum(ref.uri, sorted(kept), retention=retention, mode=mode, now=now or datetime.now(UTC))

    def _known(self, name: str) -> str:
        uri = self.uri(name)
        latest = latest_version(uri)
        if latest == NO_VERSION:
            return f"nothing at {uri}"
        tags = ", ".join(sorted(self.tags(name)))
        return f"versions 0 to {latest}" + (f"; tags {tags}" if tags else "")


def _check_whole(ref: TableRef) -> None:
    there = {file.removeprefix(f"{ref.uri}/") for file in list_files(ref.uri)}
    gone = [part.path for part in ref.parts if part.path not in there]
    if gone:
        problem = f"{len(gone)} of {len(ref.parts)} files of version {ref.version} are gone, for example {gone[0]}"
        raise StorageError(ref.uri, problem, "choose a version that vacuum has kept")


def _ref(name: str, uri: str, table: DeltaTable) -> TableRef:
    actions = pa.table(table.get_add_actions(flatten=True)).select(["path", "size_bytes", "num_records"]).to_pylist()
    parts = [
        Part(path=a["path"], num_rows=a["num_records"], num_bytes=a["size_bytes"])
        for a in sorted(actions, key=lambda a: a["path"])
    ]
    return TableRef(
        name=name,
        uri=uri,
        version=table.version(),
        schema=pa.schema(table.schema().to_arrow()),
        parts=tuple(parts),
        facts=content_facts(uri, table.version()),
    )
