"""Features: a spec in YAML, fitted in one pass over chunks, and a frozen value that turns a table into named tensors."""

from raypipe.features._fit import fit_chunk, merge_states, solve
from raypipe.features._fitted import FittedFeatures
from raypipe.features._outputs import OutputDescription
from raypipe.features._specs import Calendar, Category, FeatureSet, FeatureSpec, Number
from raypipe.features._state import FitState

__all__ = [
    "Calendar",
    "Category",
    "FeatureSet",
    "FeatureSpec",
    "FitState",
    "FittedFeatures",
    "Number",
    "OutputDescription",
    "fit_chunk",
    "merge_states",
    "solve",
]
