"""The leakage audit of prepared data, before anything is trained on it: what `raypipe.audit` measures, over Ray tasks.

Workers look at the joined rows, part by part; the driver gets states of bounded size. Two things are computed again instead of
being believed: features are fitted once more on the rows that are in train, and values of a sample of joined rows are looked up
in the tables of their views.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pyarrow as pa

from raypipe.audit import (
    MAX_CLASSES,
    AsOf,
    Audit,
    Held,
    Label,
    LabelCounts,
    Measure,
    Report,
    Scan,
    fitted_again,
    label_from,
    look_up,
    looked_ahead,
)
from raypipe.core.config import to_settings
from raypipe.core.digest import digest_json, digest_sources, environment
from raypipe.core.fragments import map_fragments
from raypipe.core.storage import exists, join, read_json, write_json
from raypipe.expressions import compile_expression
from raypipe.features import solve
from raypipe.joins import FeatureView, rows_schema, view_column
from raypipe.prepare._audit_parts import AuditPart, LabelPart, LookUpPart, UnlabelledPart
from raypipe.prepare._derive import raw_columns
from raypipe.prepare._fits import fit_joined
from raypipe.prepare._folds import Folding
from raypipe.prepare._join import UNLABELLED
from raypipe.prepare._joined import JOINED_AT, JOINED_LABEL, Joined
from raypipe.prepare._plan import Plan
from raypipe.prepare._prepared import Prepared
from raypipe.split import TimeSplit, groups_of
from raypipe.tables import TableRef

_CODE = ("audit", "core", "expressions", "features", "joins", "prepare", "split")
_TOGETHER = 3


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
        skipped={
            **scan.skipped_after(measures),
            **({} if views else {"look_ahead": "no view is joined as of the prediction time"}),
        },
    )
    write_json(audit_uri(prepared, audit), report.to_dict())
    return report


def audit_problems(plan: Plan, audit: Audit) -> list[str]:
    """Settings of the audit that name columns which the task does not have."""
    return list(audit.problems(columns=_features(plan), known=[*plan.kept, *plan.task.derive]))


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
        return Label(name=plan.task.name, kind=plan.task.kind, classes=joined.target.classes[:MAX_CLASSES])
    counts = list(map_fragments(LabelPart(joined=joined), joined.files["train"], title="count labels"))
    return label_from(LabelCounts.merge(counts), name=plan.task.name, kind="regression")


def _look(plan: Plan, joined: Joined, scan: Scan) -> _Looked:
    """All parts of all splits, and the samples of views that are joined as of a time."""
    views = {name: view for name, view in plan.task.views.items() if view.event_time}
    samples = {name: (*view.entity, *(view_column(name, column) for column in view.columns)) for name, view in views.items()}
    items = [(split, stem) for split in joined.num_rows for stem in joined.files[split]]
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
    as_of = AsOf(
        entity=view.entity,
        values={view_column(name, column): column for column in view.columns},
        at=JOINED_AT,
        event_time=view.event_time,
        known_time=view.known_time,
        lead_time=view.lead_time or timedelta(0),
        ttl=view.ttl,
    )
    work = LookUpPart(sample=sample, schema=rows_schema(view, table.schema), as_of=as_of)
    uris = [table.part_uri(part) for part in table.parts]
    nothing = look_up(sample, work.schema.empty_table(), as_of)
    held = Held.merge([nothing, *map_fragments(work, uris, title=f"look up view {name}")])
    return looked_ahead(name, held, view.ttl)
