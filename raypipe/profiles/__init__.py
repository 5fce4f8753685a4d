"""Profiles of columns: counts, moments and histograms that merge over chunks, and the small readable page they give."""

from raypipe.profiles._compare import Change, Histogram, SideBySide, Value, compare, histogram_of, side_by_side
from raypipe.profiles._counts import (
    FEW_ROWS,
    MAX_DISTINCT,
    CategoryCounts,
    CategoryKind,
    Coded,
    Union,
    Vocabulary,
    as_kind,
    canonical_order,
    category_kind,
)
from raypipe.profiles._distincts import Distincts
from raypipe.profiles._moments import Moments
from raypipe.profiles._profile import ColumnProfile, ColumnState, merge_profiles, profile_chunk
from raypipe.profiles._reports import SHARES, ListProfile, NumberProfile, Report, TimeProfile, ValueProfile

__all__ = [
    "CategoryCounts",
    "CategoryKind",
    "Change",
    "Coded",
    "ColumnProfile",
    "ColumnState",
    "Distincts",
    "FEW_ROWS",
    "Histogram",
    "ListProfile",
    "MAX_DISTINCT",
    "Moments",
    "NumberProfile",
    "Report",
    "SHARES",
    "SideBySide",
    "TimeProfile",
    "Union",
    "Value",
    "ValueProfile",
    "Vocabulary",
    "as_kind",
    "canonical_order",
    "category_kind",
    "compare",
    "histogram_of",
    "merge_profiles",
    "profile_chunk",
    "side_by_side",
]
