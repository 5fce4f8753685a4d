"""Runs and model versions in MLflow: the only package that imports it."""

from raypipe.registry._registry import ModelVersion, Registry
from raypipe.registry._tracker import MlflowTracker, reopen_run, start_run
from raypipe.registry._tracking import Tracking, tracking_uri, ui_command

__all__ = ["MlflowTracker", "ModelVersion", "Registry", "Tracking", "reopen_run", "start_run", "tracking_uri", "ui_command"]
