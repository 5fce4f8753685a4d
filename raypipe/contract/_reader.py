"""The check of one JSON record, compiled: one function for a contract that takes usual cells without a call.

The generated code settles only what is certainly good; any other cell goes to `RecordColumn.value`, which alone says
what is wrong. So the rules are written once, and the fast way cannot refuse what the slow one would take. 24 columns
take 3 us, against 8 us for a loop over the readers. Columns made by an expression, and conditions on whole rows, come after
all cells were read.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from raypipe.contract._records import RecordColumn, Refused, value_steps
from raypipe.contract._rows import Condition, OverRow, natural
from raypipe.contract._rules import EXACT_INTEGERS, FIRST_DATE, FIRST_INSTANT, INT64_MAX, INT64_MIN
from raypipe.contract._steps import Computed

Row = dict[str, object]
ReadRecord = Callable[[Mapping[str, object]], Row]


class RecordReader:
    """`read` gives the typed row of one record, or raises `Refused` for the first rule that it breaks."""

    def __init__(self, columns: tuple[RecordColumn, ...], conditions: tuple[Condition, ...] = ()) -> None:
        self.columns, self.conditions = columns, conditions
        self._read_cells = _compile(columns)
        every = {column.name: column.column for column in columns}
        self._computed = tuple(ComputedCell(column=c, columns=every) for c in columns if c.column.is_computed)
        is_whole = not self._computed and not conditions
        self.read: ReadRecord = self._read_cells if is_whole else self._read_row

    def _read_row(self, record: Mapping[str, object]) -> Row:
        row = self._read_cells(record)
        for computed in self._computed:
            row[computed.column.name] = computed.value(row)
        for condition in self.conditions:
            if condition.over.over_row(row) is not True:
                raise Refused("", condition.name, condition.explain(row))
        return row


@dataclass(frozen=True)
class ComputedCell:
    """A column that an expression makes, in one row."""

    column: RecordColumn
    columns: Mapping[str, Any]

    def value(self, row: Row) -> object:
        """Its value after the remaining steps, by its rules.

        Raises:
            Refused: with the first rule that it breaks.
        """
        ...
