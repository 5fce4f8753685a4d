"""From table versions to prepared data: two passes over fragments, kept under a digest and reused."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors.numpy import save

from raypipe.core.config import to_settings
from raypipe.core.digest import digest_json, digest_sources, digest_user_code, environment
from raypipe.core.errors import EmptySplit, LabelError
from raypipe.core.fragments import map_fragments, share
from raypipe.core.storage import Storage, arrow_filesystem, exists, join, path_of, write_bytes, write_json
from raypipe.core.tensors import Target
from raypipe.features import FittedFeatures, merge_states, solve
from raypipe.joins import FeatureView, Joins, check_view
from raypipe.prepare._join import UNLABELLED, JoinedPart, JoinPart
from raypipe.prepare._plan import Plan
from raypipe.prepare._prepared import JOINED_LABEL, MANIFEST, Prepared
from raypipe.split import SPLITS
from raypipe.tables import TableRef

_CODE = ("contract", "core", "expressions", "features", "joins", "prepare", "split")


def prepared_digest(plan: Plan, tables: Mapping[str, TableRef]) -> str:
    """What prepared data is a function of: table versions and contents, task, split, features, and our code."""
    versions = {name: [tables[name].version, tables[name].facts.get("digest", "")] for name in plan.tables}
    settings = [to_settings(part) for part in (plan.task, plan.split, plan.features, plan.inputs, plan.key, plan.kept)]
    code = {**digest_sources(_CODE), **digest_user_code(settings)}
    return digest_json({"tables": versions, "settings": settings, "code": code, **environment()})


def prepare(plan: Plan, tables: Mapping[str, TableRef], storage: Storage, joins: Joins) -> Prepared:
    """Join, label, split, fit on training rows and transform; finished work is found by its digest.

    Raises:
        ConfigError: when a table was ingested under another contract than the plan's.
        LabelError, EmptySplit, ViewTooLarge, DuplicateKeys, FeatureError: before anything is marked complete.
    """
    plan.check_tables(tables)
    digest = prepared_digest(plan, tables)
    uri = storage.uri("prepared", digest[:24])
    if exists(join(uri, MANIFEST)):
        return Prepared.open(uri)
    views = broadcast_views(plan, tables, joins)
    events = tables[plan.task.events]
    sources = [(f"{i:05d}", events.part_uri(part)) for i, part in enumerate(events.parts)]
    parts = list(map_fragments(JoinPart(plan=plan, views=views, uri=uri), sources, title="join, label and split"))
    num_rows = {name: sum(part.num_rows[name] for part in parts) for name in SPLITS}
    target = _target(plan, parts, num_rows)
    fitted = solve(plan.features, merge_states([p.state for p in parts if p.state is not None]), plan.inputs.schema)
    files = {name: tuple(s for (s, _), part in zip(sources, parts, strict=True) if part.num_rows[name]) for name in SPLITS}
    work = [(name, stem) for name in SPLITS for stem in files[name]]
    list(map_fragments(_TransformPart(uri=uri, features=fitted, target=target), work, title="transform"))
    done = Prepared(
        uri=uri,
        digest=digest,
        tables={name: tables[name].version for name in plan.tables},
        rows=reduce(add, (part.rows for part in parts)),
        num_rows=num_rows,
        times=_times(parts),
        features=fitted,
        target=target,
        inputs=plan.inputs,
        sources=plan.sources,
        columns=plan.kept,
        files=files,
        unmatched={name: sum(part.unmatched[name] for part in parts) for name in plan.task.views},
    )
    write_json(join(uri, MANIFEST), done.to_dict())
    return done


def broadcast_views(plan: Plan, tables: Mapping[str, TableRef], joins: Joins) -> dict[str, Any]:
    """Each view read and checked by a Ray task; references into the object store, which every worker maps.

    Raises:
        ViewTooLarge, DuplicateKeys: naming the view.
    """
    loads = {
        name: _LoadView(
            name=name,
            view=view,
            uris=tuple(tables[view.table].part_uri(part) for part in tables[view.table].parts),
            limit_bytes=joins.broadcast_bytes,
        )
        for name, view in plan.task.views.items()
    }
    return share(loads)


@dataclass(frozen=True, kw_only=True)
class _LoadView:
    """Worker: all rows of one view."""

    name: str
    view: FeatureView
    uris: tuple[str, ...]
    limit_bytes: int

    def __call__(self) -> pa.Table:
        columns = list(self.view.table_columns)
        read = [pq.read_table(path_of(uri), columns=columns, filesystem=arrow_filesystem(uri)) for uri in self.uris]
        return check_view(self.name, self.view, pa.concat_tables(read), limit_bytes=self.limit_bytes)


def _target(plan: Plan, parts: Sequence[JoinedPart], num_rows: Mapping[str, int]) -> Target:
    task = plan.task
    nulls = sum(part.rows.set_aside.get(UNLABELLED, 0) for part in parts)
    if nulls and task.unlabelled is None:
        total = sum(part.rows.rows_in for part in parts)
        way_out = "name the reason with task.unlabelled=TEXT to set them aside, or correct the label"
        raise LabelError(task.name, f"null in {nulls} of {total} rows", way_out)
    for name in SPLITS:
        if not num_rows[name]:
            raise EmptySplit(name, num_rows)
    if task.kind == "regression":
        return Target(kind="regression", name=task.name)
    counts = {name: sum((Counter(part.labels[name]) for part in parts), Counter()) for name in SPLITS}
    for name in SPLITS:
        if len(counts[name]) == 1:
            only = next(iter(counts[name]))
            raise LabelError(task.name, f"split {name} has one class only ({only})", "change the label or the split")
    classes = ("false", "true") if task.kind == "binary" else tuple(sorted(counts["train"]))
    unseen = sorted({label for name in SPLITS for label in counts[name]} - set(classes))
    if unseen:
        raise LabelError(
            task.name, f"class {unseen[0]} is not among the training rows", "change the split or group rare classes"
        )
    return Target(kind=task.kind, name=task.name, classes=classes)


def _times(parts: Sequence[JoinedPart]) -> dict[str, tuple[str, str]]:
    found = {name: [part.times[name] for part in parts if name in part.times] for name in SPLITS}
    return {name: (min(t[0] for t in times), max(t[1] for t in times)) for name, times in found.items() if times}


@dataclass(frozen=True, kw_only=True)
class _TransformPart:
    """Worker: joined rows of one part -> tensors."""

    uri: str
    features: FittedFeatures
    target: Target

    def __call__(self, work: tuple[str, str]) -> None:
        split, stem = work
        source = join(self.uri, "joined", split, f"{stem}.parquet")
        rows = pq.read_table(path_of(source), filesystem=arrow_filesystem(source))
        tensors = {**self.features.transform(rows), "y_N": label_tensor(rows.column(JOINED_LABEL), self.target)}
        write_bytes(join(self.uri, "tensors", split, f"{stem}.safetensors"), save(tensors))


def label_tensor(label: pa.ChunkedArray, target: Target) -> NDArray[np.float32]:
    """Labels as float32: 0/1, the class index, or the value."""
    if target.kind == "multiclass":
        label = pc.index_in(label, pa.array(target.classes))
    return np.ascontiguousarray(label.cast(pa.float32()).to_numpy())
