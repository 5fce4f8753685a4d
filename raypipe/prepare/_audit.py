"""The leakage audit of prepared data, before anything is trained on it: what `raypipe.audit` measures, over Ray tasks.

Workers look at the joined rows, part by part; the driver gets states of bounded size. Two things are computed again instead of
being believed: features are fitted once more on the rows that are in train, and values of a sample of joined rows are looked up
in the tables of their views.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from raypipe.audit import (
    NEVER,
    Audit,
    Label,
    LabelCounts,
    Measure,
    Report,
    Scan,
    Usable,
    fitted_again,
    label_from,
    looked_ahead,
    usable_since,
)
from raypipe.core.config import to_settings
from raypipe.core.digest import digest_json, digest_sources, environment
from raypipe.core.fragments import map_fragments
from raypipe.core.storage import arrow_filesystem, exists, join, path_of, read_json, write_json
from raypipe.expressions import compile_expression
from raypipe.features import solve
from raypipe.joins import FeatureView, read_columns, rows_schema, view_column
from raypipe.prepare._derive import raw_columns, with_derived
from raypipe.prepare._fits import fit_joined
from raypipe.prepare._folds import Folding
from raypipe.prepare._join import UNLABELLED, label_of
from raypipe.prepare._joined import JOINED_AT, JOINED_LABEL, Joined
from raypipe.prepare._plan import Plan
from raypipe.prepare._prepared import Prepared
from raypipe.prepare._transform import evenly
from raypipe.split import SPLITS, TimeSplit, groups_of
from raypipe.tables import TableRef

_CODE = ("audit", "core", "expressions", "features", "joins", "prepare", "split")
_TOGETHER = 8


def audit_uri(prepared: Prepared, audit: Audit) -> str:
    """Where the report of the audit of `prepared` under these settings is, or will be."""
    parts = [prepared.digest, to_settings(audit), digest_sources(_CODE), environment()]
    return join(prepared.uri, "audit", f"{digest_json(parts)[:24]}.json")


def find_audit(prepared: Prepared, audit: Audit) -> Report | None:
    """The report of an audit that was made before, or None."""
    uri = audit_uri(prepared, audit)
    return Report.from_dict(read_json(uri)) if exists(uri) else None


def audit_prepared(plan: Plan, tables: Mapping[str, TableRef], prepared: Prepared, audit: Audit) -> Report:
    """Measure all leaks that prepared data may have; a report that is there already is read.

    Args:
        plan: The checked task that `prepared` was made by.
        tables: The versions that it was made of.
        prepared: What a model would be trained on.
        audit: The settings.
    """
    found = find_audit(prepared, audit)
    if found is not None:
        return found
    scan = _scan(plan, prepared, audit)
    looked = _look(plan, prepared.joined, scan)
    states = _merged(scan, [*looked.states, *_unlabelled(plan, tables, prepared, scan)])
    measures = [*scan.checks.measure(states)]
    wanted = audit.wanted(by_time=scan.by_time)
    if "statistics" in wanted:
        measures.append(_fitted_again(plan, prepared))
    views = {name: view for name, view in plan.task.views.items() if view.event_time and name in looked.samples}
    if "look_ahead" in wanted:
        measures += [_looked_ahead(name, view, tables[view.table], looked.samples[name]) for name, view in views.items()]
    report = Report(
        subject=f"prepared data {prepared.digest[:12]}",
        label=plan.task.name,
        task=plan.task.kind,
        split=type(plan.split).__name__,
        by_time=scan.by_time,
        rows=dict(prepared.num_rows),
        set_aside=dict(prepared.rows.set_aside),
        columns=scan.features,
        measures=tuple(measures),
        skipped={**scan.skipped, **({} if views else {"look_ahead": "no view is joined as of the prediction time"})},
    )
    write_json(audit_uri(prepared, audit), report.to_dict())
    return report


def audit_problems(plan: Plan, audit: Audit) -> list[str]:
    """Settings of the audit that name columns which the task does not have."""
    return list(audit.problems(columns=_features(plan), known=[*plan.kept, *plan.task.derive]))


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
        states = checks.merge([checks.look(chunk) for chunk in self.scan.chunks(rows, split)])
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
    """Worker: when the values of a sample could first be used, by one file of the table of a view."""

    sample: pa.Table
    schema: pa.Schema
    on: Mapping[str, str]
    usable: Usable

    def __call__(self, uri: str) -> NDArray[np.int64]:
        """For each row of the sample, in microseconds."""
        return usable_since(self.sample, read_columns(uri, self.schema), self.on, self.usable)


@dataclass(frozen=True, kw_only=True)
class _LabelPart:
    """Worker: the labels of one part of the training rows."""

    joined: Joined

    def __call__(self, stem: str) -> LabelCounts:
        uri = self.joined.uri_of("train", stem)
        rows = pq.read_table(path_of(uri), columns=[JOINED_LABEL], filesystem=arrow_filesystem(uri))
        return LabelCounts.of(rows.column(JOINED_LABEL))


@dataclass(frozen=True, kw_only=True)
class _Looked:
    states: list[tuple[Any, ...]]
    samples: Mapping[str, pa.Table]


def _features(plan: Plan) -> tuple[str, ...]:
    """Columns that features read, derived ones and the raw ones behind them."""
    direct = [name for feature in plan.features.features for name in plan.features.columns_of(feature)]
    return tuple(dict.fromkeys((*direct, *plan.features.input_columns)))


def _scan(plan: Plan, prepared: Prepared, audit: Audit) -> Scan:
    split = plan.split
    gap = max(audit.gap, split.gap if isinstance(split, TimeSplit) else timedelta(0))
    return Scan(
        audit=replace(audit, gap=gap),
        label=_label(plan, prepared.joined),
        label_column=JOINED_LABEL,
        features=_features(plan),
        by_time=split.by_time,
        entity=audit.entity or groups_of(split),
        at=JOINED_AT if plan.task.prediction_time else None,
        declared_later=tuple(name for name, column in plan.inputs.columns.items() if column.known == "later"),
        instants=False,  # the contract says of each column whether it is known
    )


def _label(plan: Plan, joined: Joined) -> Label:
    if plan.task.kind != "regression":
        return Label(name=plan.task.name, kind=plan.task.kind, classes=joined.target.classes)
    counts = list(map_fragments(_LabelPart(joined=joined), joined.files["train"], title="count labels"))
    return label_from(LabelCounts.merge(counts), name=plan.task.name, kind="regression")


def _look(plan: Plan, joined: Joined, scan: Scan) -> _Looked:
    """All parts of all splits, and the samples of views that are joined as of a time."""
    views = {name: view for name, view in plan.task.views.items() if view.event_time}
    samples = {name: (*view.entity, *(view_column(name, column) for column in view.columns)) for name, view in views.items()}
    items = [(split, stem) for split in SPLITS for stem in joined.files[split]]
    used = [*scan.features, *scan.entity, *(column for columns in samples.values() for column in columns)]
    there = [*used, *raw_columns(plan.task.derive, used)]
    read = [name for name in dict.fromkeys(there) if name in joined.columns]
    work = AuditPart(
        joined=joined,
        scan=scan,
        columns=(*read, JOINED_LABEL, *([JOINED_AT] if scan.at else [])),
        derive=plan.task.derive,
        samples=samples,
        num_samples=-(-scan.audit.sample_rows // len(items)),
    )
    states: list[tuple[Any, ...]] = []
    taken: dict[str, list[pa.Table]] = {name: [] for name in views}
    for part in map_fragments(work, items, title="audit"):
        states = [*states, part.states]
        states = [_merged(scan, states)] if len(states) > _TOGETHER else states
        for name, rows in part.samples.items():
            taken[name].append(rows)
    return _Looked(states=states, samples={name: pa.concat_tables(parts) for name, parts in taken.items()})


def _unlabelled(plan: Plan, tables: Mapping[str, TableRef], prepared: Prepared, scan: Scan) -> Sequence[tuple[Any, ...]]:
    """Rows in no split because their label is unknown, seen with the columns of the events alone."""
    task, events = plan.task, tables[plan.task.events]
    of_events = {*plan.event_columns}
    label = raw_columns(task.derive, compile_expression(task.label).columns)
    features = tuple(name for name in scan.features if {*raw_columns(task.derive, [name])} <= of_events)
    unknown = prepared.rows.set_aside.get(task.unlabelled or UNLABELLED, 0)
    if not unknown or not features or not {*label} <= of_events:
        return []
    schema = pa.schema([events.schema.field(name) for name in plan.event_columns])
    work = UnlabelledPart(plan=plan, schema=schema, scan=replace(scan, features=features))
    return list(map_fragments(work, [events.part_uri(part) for part in events.parts], title="audit rows without a label"))


def _merged(scan: Scan, states: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    return scan.checks.merge(states)


def _fitted_again(plan: Plan, prepared: Prepared) -> Measure:
    """Whether the features are those that the training rows give."""
    joined = prepared.joined
    state = fit_joined(plan.features, joined, Folding(split=plan.split, key=plan.key))
    again = solve(plan.features, state, plan.inputs.schema).features
    pairs = zip(prepared.features.outputs, again.outputs, strict=True)
    differ = tuple(name for ours, theirs in pairs if ours != theirs for name in ours.names)
    return fitted_again(fitted=prepared.features.rows, train=prepared.num_rows["train"], differ=differ)


def _looked_ahead(name: str, view: FeatureView, table: TableRef, sample: pa.Table) -> Measure:
    if view.event_time is None:
        raise AssertionError(f"view {name} has no time to look ahead of")
    work = LookUpPart(
        sample=sample,
        schema=rows_schema(view, table.schema),
        on={**view.entity, **{view_column(name, column): column for column in view.columns}},
        usable=Usable(event_time=view.event_time, lead_time=view.lead_time or timedelta(0), known_time=view.known_time),
    )
    uris = [table.part_uri(part) for part in table.parts]
    since = list(map_fragments(work, uris, title=f"look up view {name}"))
    since_S = np.minimum.reduce([np.full(sample.num_rows, NEVER, np.int64), *since])
    at_S = sample.column(JOINED_AT).cast(pa.int64()).to_numpy()
    return looked_ahead(name, at_S, since_S)
