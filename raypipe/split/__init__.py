"""Split: deterministic, leakage-free assignment of rows to train, validation and test."""

from raypipe.split._split import SPLITS, HashSplit, Split, TimeSplit

__all__ = ["SPLITS", "HashSplit", "Split", "TimeSplit"]
