"""Joins: feature views onto events, exact or as of what was known at a point in time; in one place, or in partitions."""

from raypipe.joins._distributed import Partitioned, PartitionedJoin
from raypipe.joins._index import check_view
from raypipe.joins._look_up import WHY, WHYS, counts_of, join_view, look_up
from raypipe.joins._rows import read_columns, rows_schema
from raypipe.joins._view import FeatureView, Joins, view_column

__all__ = [
    "WHY",
    "WHYS",
    "FeatureView",
    "Joins",
    "Partitioned",
    "PartitionedJoin",
    "check_view",
    "counts_of",
    "join_view",
    "look_up",
    "read_columns",
    "rows_schema",
    "view_column",
]
