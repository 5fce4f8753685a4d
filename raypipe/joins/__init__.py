"""Joins: feature views onto events, exact and as-of (point in time)."""

from raypipe.joins._view import FeatureView, Joins, check_view, join_view, view_column

__all__ = ["FeatureView", "Joins", "check_view", "join_view", "view_column"]
