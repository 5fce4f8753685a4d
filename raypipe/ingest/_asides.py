"""Rows to set aside, on a worker: broken lines and rows that break the contract, as quarantine records with their place."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.contract import Contract
from raypipe.core.kinds import python_values
from raypipe.sources import BROKEN, ROW
from raypipe.tables import Found, Stamp, payload_text, rule_text

_EXAMPLE_LENGTH = 200
_HIDDEN = "***"


@dataclass(kw_only=True)
class Asides:
    """What one fragment gives to the quarantine.

    Attributes:
        stamp: Of its records.
        contract: What the rows must be.
        uri: The fragment.
        fragment: Start of its identity.
        cleaned: Whether the rows were cleaned before they are set aside.
        counts: Rows set aside, by rule.
        example: One of them, for a message.
    """

    stamp: Stamp
    contract: Contract
    uri: str
    fragment: str
    cleaned: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    example: str = ""
    _tables: list[pa.Table] = field(default_factory=list)

    def without_broken(self, chunk: pa.Table) -> pa.Table:
        """`chunk` without records that the reader could not split into fields; they are set aside."""
        if BROKEN not in chunk.column_names:
            return chunk
        broken = chunk.filter(pc.is_valid(chunk.column(BROKEN)))
        if broken.num_rows:
            texts = broken.column(BROKEN).to_pylist()
            shown = [text.split(":", 1)[0] if has_pii(self.contract) else text for text in texts]
            payloads = [_HIDDEN if has_pii(self.contract) else text for text in texts]
            rules = ["line"] * len(texts)
            self._keep(rules, [""] * len(texts), shown, broken.column(ROW).to_pylist(), payloads)
            chunk = chunk.filter(pc.is_null(chunk.column(BROKEN)))
        return chunk.drop_columns([BROKEN])

    def broken_rules(self, rows: pa.Table, bad: pa.Table) -> None:
        """Set aside the rows of `rows` that `bad` (of `Checked`) names."""
        if not bad.num_rows:
            return
        found = rows.take(bad.column("row"))
        payloads = payloads_of(found.drop_columns([ROW]), self.contract)
        columns, reasons = bad.column("column").to_pylist(), bad.column("reason").to_pylist()
        self._keep(bad.column("rule").to_pylist(), columns, reasons, found.column(ROW).to_pylist(), payloads)

    def records(self, line_of: Callable[[int], int | None]) -> pa.Table | None:
        """All records, with their lines, once the fragment was read to its end; None when there are none."""
        if not self._tables:
            return None
        whole = pa.concat_tables(self._tables).combine_chunks()
        location = whole.column("location").combine_chunks()
        lines = pa.array([line_of(row) for row in location.field("row").to_pylist()], pa.int64())
        fields = [lines if f.name == "line" else location.field(f.name) for f in location.type]
        made = pa.StructArray.from_arrays(fields, fields=list(location.type))
        return whole.set_column(whole.column_names.index("location"), "location", made)

    def _keep(
        self, rules: Sequence[str], columns: Sequence[str], reasons: Sequence[str], rows: Sequence[int], payloads: Sequence[str]
    ) -> None:
        named = zip(rules, columns, strict=True)
        self.counts.update(rule_text(rule, column) for rule, column in named)
        where = f"row {rows[0]} of {self.uri}" + (f", column {columns[0]}" if columns[0] else f", rule {rules[0]}")
        self.example = self.example or " ".join(f"{where}: {reasons[0]}".split())[:_EXAMPLE_LENGTH]
        found = [
            Found(
                rule=r,
                column=c,
                reason=why,
                location={"uri": self.uri, "row": row},
                payload=p,
                masked=has_pii(self.contract),
                cleaned=self.cleaned,
                fragment=self.fragment,
            )
            for r, c, why, row, p in zip(rules, columns, reasons, rows, payloads, strict=True)
        ]
        self._tables.append(self.stamp.records(found))


def has_pii(contract: Contract) -> bool:
    """Whether rows hold personal values, so that payloads are masked."""
    return any(column.pii for column in contract.columns.values())


def payloads_of(rows: pa.Table, contract: Contract) -> list[str]:
    """The rows as JSON texts, personal values masked. Times are ISO 8601, other values that JSON lacks are texts."""
    masks = has_pii(contract)
    return [payload_text(contract.masked(row) if masks else row) for row in plain_rows(rows)]


def plain_rows(rows: pa.Table) -> list[dict[str, Any]]:
    """The rows as Python values, times as text."""
    names, columns = rows.column_names, [python_values(column) for column in rows.columns]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
