"""Pipeline: the steps of an experiment, their fingerprints, and the jobs made of them."""

from raypipe.pipeline._experiment import Candidate, Core, Data, Deployment, Experiment, Judged, Replay
from raypipe.pipeline._features import run_features_describe, run_features_plan, run_gc
from raypipe.pipeline._jobs import run_deploy, run_evaluate, run_ingest, run_score, run_train
from raypipe.pipeline._lineage import LineageQuery, run_lineage
from raypipe.pipeline._pipeline import run_pipeline
from raypipe.pipeline._replay import QuarantineQuery, run_quarantine, run_replay
from raypipe.pipeline._reproduce import Reproduction, run_reproduce
from raypipe.pipeline._steps import Step, Steps
from raypipe.pipeline._tables import (
    TablesDiff,
    TablesHistory,
    TablesRestore,
    TablesTag,
    TablesUntag,
    TablesVacuum,
    run_tables_diff,
    run_tables_history,
    run_tables_restore,
    run_tables_tag,
    run_tables_untag,
    run_tables_vacuum,
)
from raypipe.pipeline._transforms import run_transform
from raypipe.pipeline._tune import run_tune

__all__ = [
    "Candidate",
    "Core",
    "Data",
    "Deployment",
    "Experiment",
    "Judged",
    "LineageQuery",
    "QuarantineQuery",
    "Replay",
    "Reproduction",
    "Step",
    "Steps",
    "TablesDiff",
    "TablesHistory",
    "TablesRestore",
    "TablesTag",
    "TablesUntag",
    "TablesVacuum",
    "run_deploy",
    "run_evaluate",
    "run_features_describe",
    "run_features_plan",
    "run_gc",
    "run_ingest",
    "run_lineage",
    "run_pipeline",
    "run_quarantine",
    "run_replay",
    "run_reproduce",
    "run_score",
    "run_tables_diff",
    "run_tables_history",
    "run_tables_restore",
    "run_tables_tag",
    "run_tables_untag",
    "run_tables_vacuum",
    "run_train",
    "run_transform",
    "run_tune",
]
