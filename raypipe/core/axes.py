"""Axes of a search as plain values: what a sweep of the command line means, and when an axis applies."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from raypipe.core.compose import Groups
from raypipe.core.errors import ConfigError
from raypipe.core.naming import did_you_mean, listed


class Condition(NamedTuple):
    """Holds where the option of `group` is one of `options`."""

    group: str
    options: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.group}:{'|'.join(self.options)}"


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of a search: a setting or a group, and its values.

    Attributes:
        key: As in an override: ``model.max_depth``, ``model``.
        kind: "choice" of `labels`; "int" or "float" from `low` to `high`.
        labels: Texts of the values, as in an override; they are the values of a sample.
        low: Smallest value.
        high: Largest value; of an interval of floats its end, which is excluded.
        step: Distance of the values; None for an interval of floats.
        log: Whether values are spread on a logarithmic scale.
        grid: Whether each value is taken equally often.
        when: Conditions, all of which must hold for the axis to apply.
    """

    key: str
    kind: Literal["choice", "int", "float"]
    labels: tuple[str, ...] = ()
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False
    grid: bool = False
    when: tuple[Condition, ...] = ()

    @property
    def num(self) -> int | None:
        """How many values there are; None for an interval of floats."""
        if self.kind == "choice":
            return len(self.labels)
        return None if self.step is None else round((exact(self.high) - exact(self.low)) / exact(self.step)) + 1

    def value(self, index: int) -> Any:
        """The value at `index` of `num`, as it stands in a sample."""
        if self.kind == "choice":
            return self.labels[index]
        found = exact(self.low) + index * exact(self.step or 0)
        return int(found) if self.kind == "int" else float(found)

    def index(self, value: Any) -> int:
        """The inverse of `value`."""
        if self.kind == "choice":
            return self.labels.index(value)
        return round((exact(value) - exact(self.low)) / exact(self.step or 1))

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that are worth trying before a search: all labels, or the two ends."""
        if self.kind == "choice":
            return self.labels
        last = math.nextafter(self.high, self.low) if self.num is None else self.value(self.num - 1)
        return tuple(dict.fromkeys((self.low if self.num is None else self.value(0), last)))

    def override(self, value: Any) -> str:
        """The override that sets `value`."""
        return f"{self.key}={value}" if self.kind == "choice" else f"{self.key}={value!r}"


def settle(axes: Sequence[Axis], groups: Groups) -> tuple[Axis, ...]:
    """The axes that can apply where `groups` are what is not varied, those on which others depend first.

    Raises:
        ConfigError: for conditions on what is no group or no option, and for circles.
    """
    by_key = {axis.key: axis for axis in axes}
    problems = [problem for axis in axes for problem in _wrong_conditions(axis, by_key, groups)]
    if problems:
        raise ConfigError(problems)
    return _in_order([axis for axis in axes if _can_apply(axis, by_key, groups)])


def _wrong_conditions(axis: Axis, axes: Mapping[str, Axis], groups: Groups) -> list[str]:
    problems = []
    for group, options in axis.when:
        if group not in groups.options:
            known = [name for name in groups.options if "@" not in name]
            near = f"{did_you_mean(group, known)} (groups: {listed(known)})"
            problems.append(f"{axis.key}: condition on {group!r}, which is not a group{near}")
            continue
        for option in options:
            if option not in groups.options[group]:
                near = f"{did_you_mean(option, groups.options[group])} (options: {listed(groups.options[group])})"
                problems.append(f"{axis.key}: condition {group}:{option}, which is not an option of {group}{near}")
        if axis.grid and group in axes and not axes[group].grid:
            way_out = f"write {axis.key}=tag({group}:{'|'.join(options)},choice(...)), or {group} as a list"
            problems.append(f"{axis.key}: each value equally often, but only where {group} is drawn so; {way_out}")
    return problems


def _can_apply(axis: Axis, axes: Mapping[str, Axis], groups: Groups) -> bool:
    """Whether there is a sample in which all conditions hold."""
    for group, options in axis.when:
        reached = {*(axes[group].labels if group in axes else ()), groups.chosen[group]}
        if group in axes and not axes[group].when:
            reached = set(axes[group].labels)
        if not reached & set(options):
            return False
    return True


def _in_order(axes: Sequence[Axis]) -> tuple[Axis, ...]:
    """Groups before the axes whose conditions they are; otherwise as given."""
    left, done = list(axes), []
    while left:
        waiting = {axis.key for axis in left}
        ready = next((axis for axis in left if not any(group in waiting for group, _ in axis.when)), None)
        if ready is None:
            raise ConfigError([f"conditions of {listed([axis.key for axis in left])} depend on each other in a circle"])
        done.append(ready)
        left.remove(ready)
    return tuple(done)


def exact(number: float | Decimal) -> Decimal:
    """The decimal number that people read when they see `number`."""
    return number if isinstance(number, Decimal) else Decimal(str(number))
