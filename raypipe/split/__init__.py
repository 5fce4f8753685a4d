"""Split: deterministic, leakage-free assignment of rows to train, validation and test, and to calibration where declared."""

from raypipe.split._hash import HashSplit
from raypipe.split._kfold import KFold
from raypipe.split._predefined import PredefinedSplit
from raypipe.split._protocol import (
    ALL_SPLITS,
    CALIBRATION,
    LABEL,
    SPLITS,
    Ask,
    CalibratedSplit,
    FittedSplit,
    GroupedSplit,
    Split,
    fit_split,
    groups_of,
    is_stable,
    splits_of,
)
from raypipe.split._stratified import StratifiedSplit
from raypipe.split._time import TimeSplit

__all__ = [
    "ALL_SPLITS",
    "CALIBRATION",
    "LABEL",
    "SPLITS",
    "Ask",
    "CalibratedSplit",
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
    "splits_of",
]
