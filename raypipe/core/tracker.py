"""Tracker: where a run writes its parameters, metrics and files. MLflow implements it in `raypipe.registry`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Tracker(Protocol):
    """One run's record. All methods may be called many times; later values of a metric are later steps."""

    @property
    def run_id(self) -> str:
        """The run's id, or "" when nothing is tracked."""

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Scalars that describe the run, under dotted names."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Numbers, at `step` when they form a curve."""

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Facts for lineage: table versions, digests, git revision."""

    def log_json(self, name: str, value: Any) -> None:
        """A JSON document as artifact `name`."""

    def log_file(self, path: Path, folder: str = "") -> None:
        """A local file as an artifact."""


class NullTracker:
    """Tracks nothing."""

    run_id = ""

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Ignore."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Ignore."""

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Ignore."""

    def log_json(self, name: str, value: Any) -> None:
        """Ignore."""

    def log_file(self, path: Path, folder: str = "") -> None:
        """Ignore."""
