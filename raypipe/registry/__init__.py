"""Runs, model versions and their lineage: the only package that imports MLflow and OpenLineage."""

from raypipe.registry._inputs import InputData
from raypipe.registry._lineage import Lineage
from raypipe.registry._lineage_graph import Direction, Graph, Kind, Node, tree
from raypipe.registry._lineage_nodes import source_nodes, tables_in
from raypipe.registry._openlineage import Events, LineageEvents
from raypipe.registry._openlineage_models import Dataset
from raypipe.registry._provenance import (
    CAUSES,
    LAYERS,
    PROVENANCE,
    RESULTS,
    Compared,
    Entry,
    Provenance,
    compare,
    first_difference,
)
from raypipe.registry._records import REPRODUCTIONS
from raypipe.registry._registry import ModelVersion, Registry
from raypipe.registry._run_life import drop_parts, paid_by, reopen_run, resume_run, start_run
from raypipe.registry._runs import RecordedRun, read_run
from raypipe.registry._tracker import MlflowTracker
from raypipe.registry._tracking import Tracking, tracking_uri, ui_command

__all__ = [
    "CAUSES",
    "LAYERS",
    "PROVENANCE",
    "REPRODUCTIONS",
    "RESULTS",
    "Compared",
    "Dataset",
    "Direction",
    "Entry",
    "Events",
    "Graph",
    "InputData",
    "Kind",
    "Lineage",
    "LineageEvents",
    "MlflowTracker",
    "ModelVersion",
    "Node",
    "Provenance",
    "RecordedRun",
    "Registry",
    "Tracking",
    "compare",
    "drop_parts",
    "first_difference",
    "paid_by",
    "read_run",
    "reopen_run",
    "resume_run",
    "source_nodes",
    "start_run",
    "tables_in",
    "tracking_uri",
    "tree",
    "ui_command",
]
