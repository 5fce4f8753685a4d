"""One piece of a transform on a worker: read, run, check, write."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.contract import Checked, Contract
from raypipe.core.storage import Storage
from raypipe.tables import Found, Part, Quarantine, Scattered, Stamp, payload_text, read_part, rule_text, write_part
from raypipe.transforms._transform import Transform

BATCH_ROWS = 131_072
_EXAMPLE_LENGTH = 200


@dataclass(frozen=True, kw_only=True)
class Piece:
    """What a task works on: a file of the first input, one partition of all inputs, or no rows at all, for the schema."""

    kind: Literal["file", "partition", "nothing"]
    index: int = 0
    uri: str = ""


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a task made of a piece; small.

    Attributes:
        schemas: Of its rows: one, or none where there were no rows to work on; more is wrong.
        parts: Files with the new rows.
        records: A file of quarantine records, when rows were set aside.
        rows_in: Rows of the first input.
        rows_made: Rows that the transform gave.
        aside: Rows set aside, by rule.
        broken: Rows by rule that they break, also those that another rule refused first.
        warned: Rows kept though they break a rule.
        cleaned: Cells that the contract's cleaning changed, by step.
        latest: Largest value of the columns whose freshness counts.
        example: A row that was set aside, in words.
    """

    schemas: tuple[pa.Schema, ...]
    parts: tuple[Part, ...]
    records: Part | None
    rows_in: int
    rows_made: int
    aside: Mapping[str, int]
    broken: Mapping[str, int]
    warned: Mapping[str, int]
    cleaned: Mapping[str, int]
    latest: Mapping[str, Any]
    example: str


@dataclass(frozen=True, kw_only=True)
class Work:
    """Runs a transform on pieces.

    Attributes:
        transform: What to run.
        uri: The new table.
        stem: How names of its files begin: what they hold, and on which version they follow.
        schemas: Of the inputs by name, the first one first.
        whole: References to inputs that each task has whole, by name.
        scattered: Inputs by partition, by name; empty without `by`.
        stamp: Of quarantine records.
        storage: Where the quarantine is.
    """

    transform: Transform
    uri: str
    stem: str
    schemas: Mapping[str, pa.Schema]
    whole: Mapping[str, Any]
    scattered: Mapping[str, Scattered]
    stamp: Stamp
    storage: Storage

    @property
    def first(self) -> str:
        """Name of the input that drives what comes out."""
        return next(iter(self.schemas))

    def __call__(self, piece: Piece) -> Done:
        """The piece's rows, in files of the new table."""
        making = _Making(self, piece)
        for tables in self._batches(piece):
            making.add(tables[self.first].num_rows, self.transform.run(tables, name=self.stamp.table))
        return making.done()

    def _batches(self, piece: Piece) -> Iterator[Mapping[str, pa.Table]]:
        if piece.kind == "nothing":
            yield {name: schema.empty_table() for name, schema in self.schemas.items()}
        elif piece.kind == "partition":
            found = {name: scattered.partition(piece.index) for name, scattered in self.scattered.items()}
            if any(table.num_rows for table in found.values()):  # many functions fail on nothing
                yield found
        else:
            import ray

            whole = dict(zip(self.whole, ray.get(list(self.whole.values())), strict=True))
            for rows in read_part(piece.uri, self.schemas[self.first], batch_rows=BATCH_ROWS):
                yield {self.first: rows, **whole}


class _Making:
    """Writes what comes, checked, and counts."""

    def __init__(self, work: Work, piece: Piece) -> None:
        self._work, self._piece = work, piece
        self._contract = work.transform.recipe.contract
        self._parts: list[Part] = []
        self._records: list[pa.Table] = []
        self._schemas: list[pa.Schema] = []
        self._counts: Counter[str] = Counter()
        self._aside: Counter[str] = Counter()
        self._broken: Counter[str] = Counter()
        self._warned: Counter[str] = Counter()
        self._cleaned: Counter[str] = Counter()
        self._latest: dict[str, Any] = {}
        self._example = ""

    def add(self, num_in: int, rows: pa.Table) -> None:
        """What the transform gave for `num_in` rows of the first input."""
        self._counts.update(rows_in=num_in, rows_made=rows.num_rows)
        good = rows if self._contract is None else self._checked(self._contract, rows)
        self._schemas += [] if good.schema in self._schemas else [good.schema]
        for start in range(0, good.num_rows, BATCH_ROWS):
            path = f"part-{self._work.stem}-{self._piece.index:06d}-{len(self._parts):04d}.parquet"
            self._parts.append(write_part(self._work.uri, path, good.slice(start, BATCH_ROWS)))

    def _checked(self, contract: Contract, rows: pa.Table) -> pa.Table:
        checked = contract.check(rows)
        self._broken.update(checked.broken)
        self._warned.update(checked.warned)
        self._cleaned.update({step: cleaned.cells for step, cleaned in checked.cleaned.items()})
        if checked.bad.num_rows:
            self._set_aside(contract, rows, checked)
        for name in contract.latest_of:
            found = pc.max(checked.good.column(name)).as_py()
            self._latest[name] = max(filter(None, (found, self._latest.get(name))), default=None)
        return checked.good

    def _set_aside(self, contract: Contract, rows: pa.Table, checked: Checked) -> None:
        table, places = self._work.stamp.table, checked.bad.column("row").to_pylist()
        start = self._counts["rows_made"] - rows.num_rows
        personal = any(column.pii for column in contract.columns.values())
        found = []
        for bad, row in zip(checked.bad.to_pylist(), rows.take(places).to_pylist(), strict=True):
            shown = contract.masked(row) if personal else row
            uri, where = f"{table}/{self._work.stem}/{self._piece.index}", start + bad["row"]
            location = {"uri": uri, "row": where, "table": table, "key": _key(contract, shown)}
            kind = {name: bad[name] for name in ("rule", "column", "reason")}
            found.append(Found(**kind, location=location, payload=payload_text(shown), masked=personal))
            self._example = self._example or f"{payload_text(shown)}: {bad['reason']}"[:_EXAMPLE_LENGTH]
        self._aside.update(rule_text(one.rule, one.column) for one in found)
        self._records.append(self._work.stamp.records(found))

    def done(self) -> Done:
        """All of the piece."""
        records = None
        if self._records:
            quarantine = Quarantine(self._work.storage, self._work.stamp.table)
            name = f"transform-{self._work.stem}-{self._piece.index:06d}"
            records = quarantine.write(name, pa.concat_tables(self._records))
        return Done(
            schemas=tuple(self._schemas),
            parts=tuple(self._parts),
            records=records,
            aside=dict(self._aside),
            broken=dict(self._broken),
            warned=dict(self._warned),
            cleaned=dict(self._cleaned),
            latest=self._latest,
            example=self._example,
            rows_in=self._counts["rows_in"],
            rows_made=self._counts["rows_made"],
        )


def _key(contract: Contract, row: Mapping[str, Any]) -> str | None:
    return payload_text({name: row.get(name) for name in contract.key}) if contract.key else None
