"""The audit of a file: for people who use nothing else of raypipe.

Two passes: label, time and split first, to know what is predicted and where the splits are; then all columns, chunk by chunk on
all cores, merged in the order of the rows.
"""

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from raypipe.audit._assign import AT, NAMES, TRAIN_SHARE, Assignment, ByColumn, ByHash, ByTime, day, instants_of
from raypipe.audit._file import TableFile, open_table
from raypipe.audit._keys import code
from raypipe.audit._label import LabelCounts, label_from
from raypipe.audit._policy import Audit
from raypipe.audit._report import Report
from raypipe.audit._scan import Scan
from raypipe.audit._sums import Sums
from raypipe.core.errors import ConfigError, SourceError
from raypipe.core.naming import did_you_mean
from raypipe.core.tensors import TargetKind

T = TypeVar("T")
U = TypeVar("U")
UNLABELLED, NO_SPLIT = "the label is unknown", "no split"
_TOGETHER = 3
_EPOCH = datetime(1970, 1, 1)  # instants here have no zone


@dataclass(frozen=True, kw_only=True)
class FileAudit:
    """What is to be audited.

    Attributes:
        uri: A Parquet or CSV file, or a folder of Parquet files.
        label: Column with the label.
        time: Column with the time of the prediction.
        entity: Columns that together name whom or what a row is about.
        split: Column with the names of splits.
        test_from: First instant of test rows.
        task: Kind of the label; None finds out.
        drop: Columns that no model would see.
        later: Columns that are known only later than the prediction.
        joined_at: Columns that say from when joined values of a row are.
        audit: Bounds, severities and exceptions.
    """

    uri: str
    label: str
    time: str | None = None
    entity: tuple[str, ...] = ()
    split: str | None = None
    test_from: str | None = None
    task: TargetKind | None = None
    drop: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    joined_at: tuple[str, ...] = ()
    audit: Audit = field(default_factory=Audit)

    @property
    def named(self) -> tuple[tuple[str, str], ...]:
        """Option and column of everything that is named."""
        several = {"entity": self.entity, "drop": self.drop, "later": self.later, "joined-at": self.joined_at}
        pairs = [("label", self.label), ("time", self.time), ("split", self.split)]
        listed = [(option, name) for option, names in several.items() for name in names]
        return tuple((option, name) for option, name in (*pairs, *listed) if name is not None)


def audit_file(asked: FileAudit) -> Report:
    """Measure everything.

    Raises:
        ConfigError: columns that are not there, options that exclude each other.
        SourceError: a file that cannot be read, or without rows in train or another split.
        LabelError: a label that cannot be learned.
    """
    opened = open_table(asked.uri)
    _check(asked, opened)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        first = _first_pass(asked, opened, pool)
        label = label_from(first.labels, name=asked.label, kind=asked.task)
        assignment = _assignment(asked, first)
        roles = {asked.label, asked.time, asked.split, *asked.entity, *asked.drop, *asked.joined_at}
        features = tuple(name for name in opened.schema.names if name not in roles)
        scan = Scan(
            audit=asked.audit,
            label=label,
            label_column=asked.label,
            features=features,
            by_time=asked.time is not None,
            entity=asked.entity,
            at=AT if asked.time else None,
            declared_later=tuple(name for name in asked.later if name in features),
            joined_at=asked.joined_at,
        )
        looked = _second_pass(asked, opened, scan, assignment, pool)
    return _report(asked, scan, assignment, looked)


@dataclass(frozen=True, kw_only=True)
class _First:
    """The first pass: labels, rows by time, and the values of the split column."""

    labels: LabelCounts
    times: Sums | None
    splits: Counter[str | None]


@dataclass(frozen=True, kw_only=True)
class _Looked:
    """The second pass: states of the checks, and rows of each split."""

    states: tuple[Any, ...]
    rows: Counter[str | None]


def _check(asked: FileAudit, opened: TableFile) -> None:
    known = opened.schema.names
    problems = [
        f"--{option}: no column {name!r}{did_you_mean(name, known)}" for option, name in asked.named if name not in known
    ]
    features = [name for name in known if name not in {asked.label, asked.time, asked.split, *asked.entity, *asked.drop}]
    problems += asked.audit.problems(columns=features, known=known)
    if asked.split and asked.test_from:
        problems.append("--split and --test-from: give one of them")
    if asked.test_from and not asked.time:
        problems.append("--test-from: name the column of the time with --time")
    if asked.joined_at and not asked.time:
        problems.append("--joined-at: name the column of the prediction time with --time")
    if asked.label in {asked.time, asked.split, *asked.entity, *asked.drop}:
        problems.append(f"--label: {asked.label} is named for something else, too")
    if problems:
        raise ConfigError(problems)


def _first_pass(asked: FileAudit, opened: TableFile, pool: ThreadPoolExecutor) -> _First:
    columns = list(dict.fromkeys(name for name in (asked.label, asked.time, asked.split) if name))

    def look(rows: pa.Table) -> _First:
        times = None
        if asked.time:
            at = instants_of(rows.column(asked.time), uri=asked.uri, name=asked.time).drop_null()
            times = Sums.of(code(at).keys_N, np.ones((len(at), 1)), np.zeros(len(at), np.int64), 1)
        names: Counter[str | None] = Counter()
        if asked.split:
            names.update(_texts(rows.column(asked.split)))
        return _First(labels=LabelCounts.of(rows.column(asked.label)), times=times, splits=names)

    def merge(found: Sequence[_First]) -> _First:
        times = [one.times for one in found if one.times is not None]
        names = sum((one.splits for one in found), Counter())
        return _First(
            labels=LabelCounts.merge([one.labels for one in found]), times=Sums.merge(times) if times else None, splits=names
        )

    return _merged(_in_order(pool, look, opened.chunks(columns)), merge)


def _assignment(asked: FileAudit, first: _First) -> Assignment:
    if asked.split:
        unknown = [str(name) for name in first.splits if name is not None and name.lower() not in NAMES]
        if unknown:
            problem = f"column {asked.split} holds {', '.join(sorted(unknown)[:5])}"
            raise SourceError(asked.uri, problem, f"names of splits are {', '.join(NAMES)}")
        return ByColumn(column=asked.split)
    if asked.test_from:
        return ByTime(cut=day(asked.test_from))
    return _by_own_time(first.times) if first.times is not None and len(first.times.keys_D) else ByHash(entity=asked.entity)


def _by_own_time(times: Sums) -> ByTime:
    """The instant that has `TRAIN_SHARE` of the rows before it, as near as equal times allow."""
    rows_D = times.sums_DFV[:, 0, 0]
    before_D = np.cumsum(rows_D) - rows_D
    nearest = int(np.argmin(np.abs(before_D[1:] - TRAIN_SHARE * rows_D.sum()))) + 1 if len(rows_D) > 1 else 0
    us = int((times.keys_D[nearest] << np.uint64(times.shift)) ^ np.uint64(1 << 63))
    return ByTime(cut=_EPOCH + timedelta(microseconds=us - (1 << 64 if us >= 1 << 63 else 0)), own=True)


def _second_pass(asked: FileAudit, opened: TableFile, scan: Scan, assignment: Assignment, pool: ThreadPoolExecutor) -> _Looked:
    checks = scan.checks

    def look(numbered: tuple[int, pa.Table]) -> _Looked:
        first_row, rows = numbered
        if asked.time:
            rows = rows.append_column(AT, instants_of(rows.column(asked.time), uri=asked.uri, name=asked.time))
        chunks = list(scan.chunks(rows, assignment.assign(rows, first_row), first_row=first_row))
        counts = Counter({chunk.split: chunk.rows.num_rows for chunk in chunks})
        counts[NO_SPLIT] += rows.num_rows - counts.total()
        return _Looked(states=checks.merge([checks.look(chunk) for chunk in chunks]), rows=counts)

    def merge(found: Sequence[_Looked]) -> _Looked:
        return _Looked(states=checks.merge([one.states for one in found]), rows=sum((one.rows for one in found), Counter()))

    return _merged(_in_order(pool, look, _numbered(opened.chunks(opened.schema.names))), merge)


def _report(asked: FileAudit, scan: Scan, assignment: Assignment, looked: _Looked) -> Report:
    rows = {split: looked.rows[split] for split in ("train", "validation", "test") if looked.rows[split]}
    if "train" not in rows or len(rows) == 1:
        there = ", ".join(f"{split} {num:,}" for split, num in rows.items()) or "none"
        raise SourceError(asked.uri, f"rows of splits: {there}", "an audit needs train rows, and validation or test rows")
    aside = {UNLABELLED: looked.rows[None], NO_SPLIT: looked.rows[NO_SPLIT]}
    measures = scan.checks.measure(looked.states)
    return Report(
        subject=asked.uri,
        label=asked.label,
        task=scan.label.kind,
        split=assignment.text,
        by_time=scan.by_time,
        rows=rows,
        set_aside={reason: num for reason, num in aside.items() if num},
        columns=scan.features,
        measures=measures,
        skipped=scan.skipped_after(measures),
    )


def _texts(cells: pa.ChunkedArray) -> Counter[str | None]:
    plain = cells.cast(cells.type.value_type) if pa.types.is_dictionary(cells.type) else cells
    counts = plain.cast(pa.string()).value_counts()
    return Counter({one["values"].as_py(): one["counts"].as_py() for one in counts})


def _numbered(chunks: Iterable[pa.Table]) -> Iterator[tuple[int, pa.Table]]:
    first_row = 0
    for rows in chunks:
        yield first_row, rows
        first_row += rows.num_rows


def _in_order(pool: ThreadPoolExecutor, work: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
    """The results in the order of the items; few items are in memory at once."""
    ahead: deque[Future[U]] = deque()
    for item in items:
        ahead.append(pool.submit(work, item))
        if len(ahead) > (os.cpu_count() or 1):
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()


def _merged(found: Iterable[T], merge: Callable[[Sequence[T]], T]) -> T:
    """All merged, a few at a time."""
    held: list[T] = []
    for one in found:
        held.append(one)
        if len(held) > _TOGETHER:
            held = [merge(held)]
    return merge(held)
