"""Workers of the audit of prepared data: what each looks at of one file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raypipe.audit import AsOf, Held, LabelCounts, Scan, look_up
from raypipe.core.storage import arrow_filesystem, path_of
from raypipe.expressions import compile_expression
from raypipe.joins import read_columns, view_column
from raypipe.prepare._derive import with_derived
from raypipe.prepare._join import label_of
from raypipe.prepare._joined import JOINED_AT, JOINED_LABEL, Joined
from raypipe.prepare._plan import Plan
from raypipe.prepare._transform import evenly

_CHUNK_ROWS = 1 << 16
"""Of 100 classes these take 50 MiB."""


@dataclass(frozen=True, kw_only=True)
class AuditedPart:
    """What one part of a split gave: states of the checks, and rows of the sample of each view."""

    states: tuple[Any, ...]
    samples: Mapping[str, pa.Table]


@dataclass(frozen=True, kw_only=True)
class AuditPart:
    """Worker: the joined rows of one part.

    Attributes:
        joined: The joined rows.
        scan: What is looked at.
        columns: Columns to read.
        derive: Derived columns of the task.
        samples: Columns of the sample of each view.
        num_samples: Rows of each to take.
    """

    joined: Joined
    scan: Scan
    columns: tuple[str, ...]
    derive: Mapping[str, str]
    samples: Mapping[str, tuple[str, ...]]
    num_samples: int

    def __call__(self, work: tuple[str, str]) -> AuditedPart:
        """Look at the part `work` = (split, stem)."""
        split, stem = work
        uri = self.joined.uri_of(split, stem)
        rows = pq.read_table(path_of(uri), columns=list(self.columns), filesystem=arrow_filesystem(uri))
        rows = with_derived(rows, self.derive, self.columns_of_checks)
        checks = self.scan.checks
        starts = range(0, rows.num_rows, _CHUNK_ROWS)
        pieces = [(rows.slice(start, _CHUNK_ROWS), start) for start in starts]
        chunks = (chunk for piece, start in pieces for chunk in self.scan.chunks(piece, split, first_row=start))
        states = checks.merge([checks.look(chunk) for chunk in chunks])
        return AuditedPart(states=states, samples={name: self._sample(rows, name) for name in self.samples})

    @property
    def columns_of_checks(self) -> tuple[str, ...]:
        """Columns that checks and samples read, derived ones among them."""
        sampled = (column for columns in self.samples.values() for column in columns)
        return tuple(dict.fromkeys((*self.scan.features, *self.scan.entity, *sampled)))

    def _sample(self, rows: pa.Table, view: str) -> pa.Table:
        """Rows for which the view gave something."""
        columns = self.samples[view]
        given = [pc.is_valid(rows.column(name)) for name in columns if name.startswith(view_column(view, ""))]
        some = given[0]
        for one in given[1:]:
            some = pc.or_(some, one)
        timed = rows.select([*columns, JOINED_AT]).filter(pc.and_(some, pc.is_valid(rows.column(JOINED_AT))))
        return evenly(timed, self.num_samples)


@dataclass(frozen=True, kw_only=True)
class UnlabelledPart:
    """Worker: rows of one file of the events whose label is unknown.

    Attributes:
        plan: The checked task.
        schema: Columns of the events to read.
        scan: What is looked at: features that need no view.
    """

    plan: Plan
    schema: pa.Schema
    scan: Scan

    def __call__(self, uri: str) -> tuple[Any, ...]:
        """The states of the file at `uri`."""
        needed = (*self.scan.features, *compile_expression(self.plan.task.label).columns)
        rows = with_derived(read_columns(uri, self.schema), self.plan.task.derive, needed)
        rows = rows.append_column(JOINED_LABEL, label_of(rows, self.plan))
        checks = self.scan.checks
        return checks.merge([checks.look(chunk) for chunk in self.scan.chunks(rows, None)])


@dataclass(frozen=True, kw_only=True)
class LookUpPart:
    """Worker: what one file of the table of a view holds for a sample of joined rows.

    Attributes:
        sample: The rows.
        schema: Columns of the table to read.
        as_of: How the view was joined.
    """

    sample: pa.Table
    schema: pa.Schema
    as_of: AsOf

    def __call__(self, uri: str) -> Held:
        """That of the file at `uri`."""
        return look_up(self.sample, read_columns(uri, self.schema), self.as_of)


@dataclass(frozen=True, kw_only=True)
class LabelPart:
    """Worker: the labels of one part of the training rows.

    Attributes:
        joined: The joined rows.
    """

    joined: Joined

    def __call__(self, stem: str) -> LabelCounts:
        """Those of the part `stem`."""
        uri = self.joined.uri_of("train", stem)
        rows = pq.read_table(path_of(uri), columns=[JOINED_LABEL], filesystem=arrow_filesystem(uri))
        return LabelCounts.of(rows.column(JOINED_LABEL))
