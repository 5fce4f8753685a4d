"""The space of a search: its axes, the overrides of a sample, and what is checked before Ray starts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raypipe.core.compose import Composition
from raypipe.core.sweep import Axis
from raypipe.tune._records import AxisFacts


@dataclass(frozen=True, kw_only=True)
class Space:
    """What is varied."""

    axes: tuple[Axis, ...]

    @property
    def facts(self) -> tuple[AxisFacts, ...]:
        """The axes as shown and stored."""
        raise NotImplementedError

    def overrides(self, sample: Mapping[str, Any]) -> tuple[str, ...]:
        """The override lines of a sample, groups first."""
        raise NotImplementedError

    def probes(self) -> Iterator[tuple[str, ...]]:
        """Override lines that reach every end and label of every axis in every combination of groups."""
        raise NotImplementedError

    def variants(self) -> tuple[tuple[str, ...], ...]:
        """Override lines of every combination of the axes outside ``model`` and ``trainer``; one empty line-up when there are none."""
        raise NotImplementedError


def read_space(settings: Mapping[str, str | None], composition: Composition) -> Space:
    """The space that `settings` (``tune.space``, sweeps of the command line included) describe."""
    raise NotImplementedError


def preflight(space: Space, check: Callable[[Sequence[str]], object]) -> None:
    """Compose and build everything that can be known before a cluster is started: `check` gets override lines."""
    raise NotImplementedError
