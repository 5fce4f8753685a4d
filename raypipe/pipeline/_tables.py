"""Jobs that look after tables: history, diff, tags, restore, vacuum."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from raypipe.core.cluster import Cluster
from raypipe.core.config import Name, VersionName, config
from raypipe.core.console import say, table
from raypipe.core.durations import Duration
from raypipe.core.job import JobRecord
from raypipe.core.storage import Storage
from raypipe.overview import masked_columns
from raypipe.registry import Tracking
from raypipe.registry._used import tables_of_models
from raypipe.score import PREDICTIONS
from raypipe.tables import ColumnFacts, Commit, TableDiff, Tables, diff

_SHORT, _WIDE = 12, 60
_HIDDEN = "***"


@config
class _OneTable:
    """Exactly one of `table` and `predictions`.

    Attributes:
        table: The table's name.
        predictions: In its place, name of a model: the table of its predictions.
        storage: Where it is.
    """

    table: Name | None = None
    predictions: Name | None = None
    storage: Storage = Storage()

    @model_validator(mode="after")
    def _one_is_named(self) -> "_OneTable":
        if self.table is None and self.predictions is None:
            raise ValueError("no value for table: give table=NAME or predictions=NAME")
        if self.table is not None and self.predictions is not None:
            raise ValueError("give either table=NAME or predictions=NAME")
        return self

    @property
    def tables(self) -> Tables:
        """The tables of which it is one."""
        return Tables(self.storage) if self.table is not None else Tables(self.storage, PREDICTIONS)

    @property
    def name(self) -> str:
        """Its name among `tables`."""
        return self.table or self.predictions or ""

    @property
    def named(self) -> dict[str, Any]:
        """How it was named, for the job's line."""
        return {"table" if self.table is not None else "predictions": self.name}


@config
class TablesHistory(_OneTable):
    """Which table's versions are shown.

    Attributes:
        limit: How many versions at most, the latest first.
    """

    limit: Annotated[int, Field(ge=1)] = 20


@config
class TablesDiff:
    """Which two versions of a table are compared.

    Attributes:
        table: Its name.
        from_: The earlier version (``from`` in settings): a number, a tag, a day or an instant.
        to: The later one.
        key: Columns that name a row; null takes the key that the table was written with, and where it has none rows are
            compared whole.
        storage: Where it is.
        ray: The cluster.
    """

    table: Name
    from_: Annotated[VersionName, Field(alias="from")]
    to: VersionName = "latest"
    key: tuple[str, ...] | None = None
    storage: Storage = Storage()
    ray: Cluster = Cluster()


@config
class TablesTag(_OneTable):
    """Which version of a table gets a name.

    Attributes:
        tag: The name: a letter, then letters, digits, "_", "-" and ".".
        version: A number, another tag, a day or an instant.
        note: Why, for people.
    """

    tag: str
    version: VersionName = "latest"
    note: str = ""


@config
class TablesUntag(_OneTable):
    """Which tag of a table goes.

    Attributes:
        tag: The tag.
    """

    tag: str


@config
class TablesRestore(_OneTable):
    """Which version of a table becomes the latest again.

    Attributes:
        version: A number, a tag, a day or an instant.
    """

    version: VersionName


@config
class TablesVacuum:
    """Which files of a table go. Versions that have a tag, or that a registered model uses, stay readable.

    Attributes:
        table: Its name.
        retention: Files that left the table, or were written without a commit, within this time stay. No job that reads an
            older version, or that writes, may take longer.
        keep_versions: More versions that stay.
        dry_run: Only say what would go.
        storage: Where it is.
        tracking: The MLflow store of the models.
    """

    table: Name
    retention: Duration = timedelta(days=7)
    keep_versions: tuple[int, ...] = ()
    dry_run: bool = True
    storage: Storage = Storage()
    tracking: Tracking = Tracking()


def run_tables_history(run: TablesHistory, record: JobRecord) -> None:
    """Show the versions of a table: when, by whom, what was done, rows, and facts in short."""
    commits = run.tables.history(run.name)
    shown = commits[: run.limit]
    columns = ["version", "when (UTC)", "by", "operation", "rows", "files", "tags", "facts"]
    table(f"history of {run.name}", columns, [_commit_row(commit) for commit in shown], text=columns[1:4] + columns[6:])
    record.finish(**run.named, num_versions=len(commits), versions=[commit.to_dict() for commit in shown])


def run_tables_diff(run: TablesDiff, record: JobRecord) -> None:
    """Show which rows, columns and statistics differ between two versions; personal data is masked."""
    tables = Tables(run.storage)
    before, after = tables.select(run.table, run.from_), tables.select(run.table, run.to)
    key = tuple(after.facts.get("key", ())) if run.key is None else run.key
    run.ray.start()
    hidden = masked_columns((), [tables.open(run.table), before, after])  # the latest contract may know of more
    found = _masked(diff(before, after, run.storage, key=key), hidden)
    _show_diff(found)
    record.finish(table=run.table, **_plain(found.to_dict()))


def run_tables_tag(run: TablesTag, record: JobRecord) -> None:
    """Give a version of a table a name."""
    ref = run.tables.tag(run.name, run.tag, run.version, note=run.note)
    say(f"{ref.label} is {run.name}@{run.tag}")
    record.finish(**run.named, tag=run.tag, version=ref.version)


def run_tables_untag(run: TablesUntag, record: JobRecord) -> None:
    """Remove a tag of a table; its version stays."""
    version = run.tables.untag(run.name, run.tag)
    say(f"{run.name}@{version} is no longer {run.name}@{run.tag}")
    record.finish(**run.named, tag=run.tag, version=version)


def run_tables_restore(run: TablesRestore, record: JobRecord) -> None:
    """Make the rows of an earlier version the latest ones."""
    tables = run.tables
    before, wanted = tables.open(run.name), tables.select(run.name, run.version)
    ref = tables.restore(run.name, wanted.version)
    did = "are the latest already" if ref == before else f"are {ref.label} now; {before.label} stays in the history"
    say(f"the {ref.num_rows:,} rows of {wanted.label} {did}")
    record.finish(**run.named, restored=wanted.version, version=ref.version, rows=ref.num_rows)


def run_tables_vacuum(run: TablesVacuum, record: JobRecord) -> None:
    """Remove files that nobody needs, or with ``dry_run=true``, the default, say what would go."""
    used = tables_of_models(run.tracking, run.storage).get(run.table, {})
    mode: Literal["look", "remove"] = "look" if run.dry_run else "remove"
    tables = Tables(run.storage)
    found = tables.vacuum(run.table, keep_versions={*used, *run.keep_versions}, retention=run.retention, mode=mode)
    tagged = {version: f"tag {tag}" for tag, version in tables.tags(run.table).items()}
    why = {version: tagged.get(version, ", ".join(used.get(version, ()))) or "asked for" for version in found.kept}
    say(f"  kept whatever their age: {', '.join(f'{version} ({reason})' for version, reason in list(why.items())[:-1]) or '-'}")
    word = "would go; run it with dry_run=false" if run.dry_run else "gone"
    say(f"  {len(found.files):,} files, {found.num_bytes:,} bytes {word}")
    record.finish(table=run.table, dry_run=run.dry_run, **found.to_dict())


def _commit_row(commit: Commit) -> list[str]:
    facts = commit.to_dict()["facts"]
    short = ", ".join(
        f"{name} {str(value)[:_SHORT]}" for name, value in facts.items() if name not in ("transaction", "schema_arrow")
    )
    what = f"{commit.operation} ({job})" if (job := commit.transaction.partition("-")[0]) else commit.operation
    files = f"+{commit.parts_added} -{commit.parts_removed}"
    rows = "-" if commit.num_rows is None else f"{commit.num_rows:,}"
    when = f"{commit.at:%Y-%m-%d %H:%M:%S}"
    return [str(commit.version), when, commit.by, what, rows, files, ", ".join(commit.tags), short[:_WIDE]]


def _show_diff(found: TableDiff) -> None:
    rows, (before, after) = found.rows, found.num_rows
    by = f"by {', '.join(found.key)}" if found.key else "as whole rows"
    say(f"{found.before} -> {found.after}: {before:,} -> {after:,} rows, compared {by}")
    say(f"  {rows.added:,} added, {rows.removed:,} removed, {rows.changed:,} changed")
    say(f"  files: {found.parts[0]} gone, {found.parts[1]} new, {found.parts[2]} the same and not read")
    for name, num in rows.columns.items():
        say(f"  {name}: {num:,} changed")
    for kind, examples in rows.examples.items():
        shown = [
            [kind, _pairs(e.key), ", ".join(f"{n}: {old} -> {new}" for n, (old, new) in e.columns.items())] for e in examples
        ]
        table(f"{kind}, for example", ["", "row", "columns"], shown, text=["row", "columns"])
    columns = [*_columns(found)]
    if columns:
        table("columns", ["column", "before", "after"], columns, text=["before", "after"])


def _masked(found: TableDiff, hidden: frozenset[str]) -> TableDiff:
    """Without values of the columns in `hidden`; which of them changed is still said."""

    def hide(values: Mapping[str, Any], mask: Any) -> dict[str, Any]:
        return {name: mask if name in hidden else value for name, value in values.items()}

    examples = {
        kind: tuple(replace(e, key=hide(e.key, _HIDDEN), columns=hide(e.columns, (_HIDDEN, _HIDDEN))) for e in shown)
        for kind, shown in found.rows.examples.items()
    }

    def bare(facts: ColumnFacts | None) -> ColumnFacts | None:
        return facts and replace(facts, low=None, high=None)

    statistics = {
        name: (bare(old), bare(new)) if name in hidden else (old, new) for name, (old, new) in found.statistics.items()
    }
    return replace(found, rows=replace(found.rows, examples=examples), statistics=statistics)


def _columns(found: TableDiff) -> list[list[str]]:
    schema = found.schema
    out = [[name, "-", kind] for name, kind in schema.added.items()]
    out += [[name, kind, "-"] for name, kind in schema.removed.items()]
    out += [[name, old, new] for name, (old, new) in schema.retyped.items()]
    return out + [[name, _facts(old), _facts(new)] for name, (old, new) in found.statistics.items() if old and new]


def _facts(facts: ColumnFacts) -> str:
    shown = {"nulls": facts.nulls, "from": facts.low, "to": facts.high}
    return ", ".join(f"{name} {str(value)[:_WIDE]}" for name, value in shown.items() if value is not None)


def _pairs(values: Any) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _plain(value: Any) -> Any:
    """As JSON has it: times are ISO 8601, what else it lacks is text."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    return value if isinstance(value, (bool, int, float, str)) or value is None else str(value)
