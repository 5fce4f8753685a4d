"""Features: a spec in YAML, fitted in one pass over chunks; a frozen value that turns tables and rows into the same tensors."""

from raypipe.features._bucket import Bucket
from raypipe.features._calendar import Calendar
from raypipe.features._categories import Category, Cross, Hash
from raypipe.features._feature_set import FeatureSet, FeatureSpec
from raypipe.features._fit import FitState, Fitted, fit_chunk, merge_states, solve
from raypipe.features._fitted import ARROW_FILE, JSON_FILE, FittedFeatures, OutputDescription
from raypipe.features._folds import FoldEncodings
from raypipe.features._lists import MultiHot, Vector
from raypipe.features._numbers import Boolean, Elapsed, Number, Python
from raypipe.features._partitions import PartitionTop, join_partitions, partition, top
from raypipe.features._protocols import Labels
from raypipe.features._sklearn import from_sklearn
from raypipe.features._target import Target

__all__ = [
    "ARROW_FILE",
    "JSON_FILE",
    "Boolean",
    "Bucket",
    "Calendar",
    "Category",
    "Cross",
    "Elapsed",
    "FeatureSet",
    "FeatureSpec",
    "FitState",
    "Fitted",
    "FittedFeatures",
    "FoldEncodings",
    "Hash",
    "Labels",
    "MultiHot",
    "Number",
    "OutputDescription",
    "PartitionTop",
    "Python",
    "Target",
    "Vector",
    "fit_chunk",
    "from_sklearn",
    "join_partitions",
    "merge_states",
    "partition",
    "solve",
    "top",
]
