"""Which checks an audit runs, and how tables become the chunks that they look at."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from raypipe.audit._check import Check, Checks, Chunk
from raypipe.audit._duplicates import Duplicates
from raypipe.audit._entities import EntityOverlap
from raypipe.audit._keys import code
from raypipe.audit._label import Label, is_known
from raypipe.audit._look_ahead import LaterInstants
from raypipe.audit._nulls import KnownLater
from raypipe.audit._policy import Audit
from raypipe.audit._proxies import Proxies
from raypipe.audit._report import CHECKS, CheckName, Measure
from raypipe.audit._statistics import Statistics
from raypipe.audit._times import TimeOverlap


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What is audited, column by column; picklable.

    Attributes:
        audit: The settings.
        label: What is predicted.
        label_column: Column with the label.
        features: Columns that a model would see.
        by_time: Whether test rows are meant to be later than all others.
        entity: Columns that name an entity.
        at: Column with the time of the prediction, a timestamp; None without.
        declared_later: Features on columns that are declared as known later.
        joined_at: Columns that say from when the joined values of a row are.
        instants: Whether features with instants are compared with `at`.
    """

    audit: Audit
    label: Label
    label_column: str
    features: tuple[str, ...]
    by_time: bool
    entity: tuple[str, ...] = ()
    at: str | None = None
    declared_later: tuple[str, ...] = ()
    joined_at: tuple[str, ...] = ()
    instants: bool = True

    @property
    def checks(self) -> Checks:
        """Those that are wanted and have something to look at."""
        wanted = self.audit.wanted(by_time=self.by_time)
        num_values = 2 if self.label.kind == "binary" else 3 if self.label.kind == "regression" else 1 + len(self.label.classes)
        kind = self.label.kind
        every: Sequence[Check[Any]] = [
            *([EntityOverlap(entity=self.entity)] if self.entity else []),
            Duplicates(),
            *([TimeOverlap(gap=self.audit.gap)] if self.by_time and self.at else []),
            KnownLater(kind=kind, num_values=num_values, declared=self.declared_later),
            Proxies(kind=kind),
            Statistics(),
            *([LaterInstants(joined=self.joined_at)] if self.at and self.instants else []),
        ]
        return Checks(checks=tuple(check for check in every if check.name in wanted))

    @property
    def skipped(self) -> dict[CheckName, str]:
        """Checks that have nothing to look at, or are off, and why."""
        found: dict[CheckName, str] = {}
        if not self.entity:
            found["entity_overlap"] = "no column is named as the entity"
        if not self.by_time:
            found["time_overlap"] = "the split is not by time"
        elif not self.at:
            found["time_overlap"] = "no column holds the time of the prediction"
        if not self.at:
            found["look_ahead"] = "no column holds the time of the prediction"
        wanted = self.audit.wanted(by_time=self.by_time)
        off = [check for check in CHECKS if check not in wanted]
        return {**found, **dict.fromkeys(off, "it is off")}

    def skipped_after(self, measures: Sequence[Measure]) -> dict[CheckName, str]:
        """The same, with checks that found nothing that they could measure."""
        none = self.features and not any(measure.check == "proxies" for measure in measures)
        told: dict[CheckName, str] = {"proxies": "train rows have one label only, or no values"} if none else {}
        return {**told, **self.skipped}

    def chunks(self, rows: pa.Table, splits: pa.Array | pa.ChunkedArray | str | None, *, first_row: int = 0) -> Iterator[Chunk]:
        """Chunks of `rows`, one for each split; rows without a label are in no split.

        Args:
            rows: All columns that the checks read.
            splits: The split of each row, null for rows that are not looked at; or that of all rows.
            first_row: Place of the first one in the table, or in its part.
        """
        known_N = is_known(rows.column(self.label_column)).to_numpy()
        row_N = np.arange(first_row, first_row + rows.num_rows)
        if isinstance(splits, str):
            yield from self._chunk(rows, row_N, known_N, split=splits)
        elif splits is not None:
            for split in pc.unique(splits).drop_null().to_pylist():
                in_split = pc.fill_null(pc.equal(splits, split), False).to_numpy(zero_copy_only=False)
                yield from self._chunk(rows, row_N, known_N & in_split, split=split)
        yield from self._chunk(rows, row_N, ~known_N, split=None)

    def _chunk(
        self, rows: pa.Table, row_N: NDArray[np.int64], wanted_N: NDArray[np.bool_], *, split: str | None
    ) -> Iterator[Chunk]:
        if not wanted_N.any():
            return
        rows = rows if wanted_N.all() else rows.filter(pa.array(wanted_N))
        label = rows.column(self.label_column)
        yield Chunk(
            rows=rows,
            split=split,
            features=self.features,
            row_N=row_N[wanted_N],
            label_NV=self.label.numbers(label) if split is not None else np.empty((0, 0)),
            label_keys_N=code(label).keys_N if split is not None else np.empty(0, np.uint64),
            at=self.at,
        )
