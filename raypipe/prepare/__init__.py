"""Prepare: tables at a version -> joined, labelled, split, fitted and transformed rows. The only Ray code around features."""

from raypipe.prepare._join import enrich
from raypipe.prepare._plan import Plan, make_plan
from raypipe.prepare._prepare import broadcast_views, label_tensor, prepare, prepared_digest
from raypipe.prepare._prepared import JOINED_AT, JOINED_LABEL, MANIFEST, LoadPrepared, Prepared
from raypipe.prepare._task import Task

__all__ = [
    "JOINED_AT",
    "JOINED_LABEL",
    "MANIFEST",
    "LoadPrepared",
    "Plan",
    "Prepared",
    "Task",
    "broadcast_views",
    "enrich",
    "label_tensor",
    "make_plan",
    "prepare",
    "prepared_digest",
]
