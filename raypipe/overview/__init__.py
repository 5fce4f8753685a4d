"""Overviews: one pass over a version of a table, and the profile page that people read; two versions side by side."""

from raypipe.overview._columns import ColumnOverview
from raypipe.overview._page import render_profile
from raypipe.overview._run import ProfileRun, masked_columns, run_profile
from raypipe.overview._table import TableOverview, look_over

__all__ = ["ColumnOverview", "ProfileRun", "TableOverview", "look_over", "masked_columns", "render_profile", "run_profile"]
