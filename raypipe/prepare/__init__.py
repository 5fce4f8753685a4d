"""Prepare: tables at a version -> joined, labelled, split, fitted and transformed rows. The only Ray code around features."""

from raypipe.prepare._audit import audit_prepared, audit_problems, audit_uri, find_audit
from raypipe.prepare._cost import BOUNDS, Cost, FeatureCost, cost_of
from raypipe.prepare._dataset import fit_dataset
from raypipe.prepare._declared import Declared
from raypipe.prepare._digests import digests_of
from raypipe.prepare._files import fit_files, transform_files
from raypipe.prepare._gc import Collecting, Collection, collect
from raypipe.prepare._join import enrich
from raypipe.prepare._joined import JOINED_AT, JOINED_LABEL, JOINED_MANIFEST, Joined
from raypipe.prepare._load import DataSize, Loaded, LoadPrepared
from raypipe.prepare._plan import Plan, make_plan
from raypipe.prepare._prepare import find_prepared, joined_digest, pending, prepare, prepared_digest
from raypipe.prepare._prepared import MANIFEST, Prepared
from raypipe.prepare._task import Task
from raypipe.prepare._training import FittedTraining, fit_transform_training
from raypipe.prepare._transform import label_tensor
from raypipe.prepare._use import mark_used
from raypipe.prepare._user_code import digest_modules, digest_own_parts
from raypipe.prepare._views import placed_views

__all__ = [
    "Declared",
    "BOUNDS",
    "JOINED_AT",
    "JOINED_LABEL",
    "JOINED_MANIFEST",
    "MANIFEST",
    "Collecting",
    "Collection",
    "Cost",
    "DataSize",
    "FeatureCost",
    "FittedTraining",
    "Joined",
    "LoadPrepared",
    "Loaded",
    "Plan",
    "Prepared",
    "Task",
    "audit_prepared",
    "audit_problems",
    "audit_uri",
    "collect",
    "cost_of",
    "digest_modules",
    "digest_own_parts",
    "digests_of",
    "enrich",
    "find_audit",
    "find_prepared",
    "fit_dataset",
    "fit_files",
    "fit_transform_training",
    "joined_digest",
    "label_tensor",
    "make_plan",
    "mark_used",
    "pending",
    "placed_views",
    "prepare",
    "prepared_digest",
    "transform_files",
]
