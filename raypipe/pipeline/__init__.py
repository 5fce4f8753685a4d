"""Pipeline: the steps of an experiment, their fingerprints, and the jobs made of them."""

from raypipe.pipeline._experiment import Candidate, Core, Data, Deployment, Experiment, Judged
from raypipe.pipeline._features import run_features_describe, run_features_plan, run_gc
from raypipe.pipeline._jobs import run_deploy, run_evaluate, run_ingest, run_score, run_train
from raypipe.pipeline._lineage import LineageQuery, run_lineage
from raypipe.pipeline._pipeline import run_pipeline
from raypipe.pipeline._reproduce import Reproduction, run_reproduce
from raypipe.pipeline._steps import Step, Steps

__all__ = [
    "Candidate",
    "Core",
    "Data",
    "Deployment",
    "Experiment",
    "Judged",
    "LineageQuery",
    "Reproduction",
    "Step",
    "Steps",
    "run_deploy",
    "run_evaluate",
    "run_features_describe",
    "run_features_plan",
    "run_gc",
    "run_ingest",
    "run_lineage",
    "run_pipeline",
    "run_reproduce",
    "run_score",
    "run_train",
]
