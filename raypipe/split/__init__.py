"""Split: deterministic, leakage-free assignment of rows to train, validation and test."""

from raypipe.split._hash import HashSplit
from raypipe.split._kfold import KFold
from raypipe.split._predefined import PredefinedSplit
from raypipe.split._protocol import LABEL, SPLITS, Ask, FittedSplit, GroupedSplit, Split, fit_split, groups_of, is_stable
from raypipe.split._stratified import StratifiedSplit
from raypipe.split._time import TimeSplit

__all__ = [
    "LABEL",
    "SPLITS",
    "Ask",
    "FittedSplit",
    "GroupedSplit",
    "HashSplit",
    "KFold",
    "PredefinedSplit",
    "Split",
    "StratifiedSplit",
    "TimeSplit",
    "fit_split",
    "groups_of",
    "is_stable",
]
