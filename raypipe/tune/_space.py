"""The space of a search: its axes, the overrides of a sample, and what is checked before Ray starts."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from raypipe.core.axes import Axis
from raypipe.core.compose import Composition
from raypipe.core.errors import ConfigError, RaypipeError
from raypipe.core.naming import did_you_mean
from raypipe.core.sweep import read_axes
from raypipe.tune._records import AxisFacts

Sample = Mapping[str, Any]
"""A value on each axis that applies: a label of a choice, else a number."""
_TRAINED = ("model", "trainer")
_PREPARED = ("data", "task", "split", "features", "joins")
_MAX_VARIANTS, _MAX_GROUPS = 16, 64
_INCOMPARABLE = "model.objective"


@dataclass(frozen=True, kw_only=True)
class Space:
    """What a search varies.

    Attributes:
        axes: Those on which conditions of others are, first.
        chosen: Option of each group that no sample changes.
    """

    axes: tuple[Axis, ...]
    chosen: Mapping[str, str] = field(default_factory=dict)

    @property
    def facts(self) -> tuple[AxisFacts, ...]:
        """The axes as shown and stored."""
        return tuple(_facts(axis) for axis in self.axes)

    @property
    def words(self) -> str:
        """The options that no sample changes, of the groups of which something can be varied."""
        return ", ".join(f"{group}={self.chosen[group]}" for group in (*_TRAINED, *_PREPARED) if group in self.chosen)

    def to_dict(self) -> dict[str, Any]:
        """What two equal spaces have in common, by axis."""
        return {axis.key: asdict(axis) | {"when": [str(condition) for condition in axis.when]} for axis in self.axes}

    def applies(self, axis: Axis, sample: Sample) -> bool:
        """Whether `axis` has a value beside those of `sample`."""
        return all(sample.get(group, self.chosen.get(group)) in options for group, options in axis.when)

    def overrides(self, sample: Sample) -> tuple[str, ...]:
        """The override lines of `sample`, groups first."""
        axes = sorted((axis for axis in self.axes if axis.key in sample), key=lambda axis: axis.key not in self.chosen)
        return tuple(axis.override(sample[axis.key]) for axis in axes)

    def combinations(self, axes: Sequence[Axis]) -> Iterator[dict[str, Any]]:
        """Every sample of `axes`, none of which is an interval of floats; the last axis varies fastest."""
        return self._combined(list(axes), {})

    def _combined(self, axes: list[Axis], sample: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if not axes:
            yield sample
        elif not self.applies(axes[0], sample):
            yield from self._combined(axes[1:], sample)
        else:
            for index in range(axes[0].num or 0):
                yield from self._combined(axes[1:], {**sample, axes[0].key: axes[0].value(index)})

    def probes(self) -> Iterator[tuple[str, ...]]:
        """Override lines that together reach every label and both ends of every axis in every combination of groups.

        Raises:
            ConfigError: when there are too many combinations to look at all of them.
        """
        groups = [axis for axis in self.axes if axis.key in self.chosen]
        combined = _bounded(self.combinations(groups), _MAX_GROUPS)
        if combined is None:
            names = ", ".join(axis.key for axis in groups)
            raise ConfigError([f"tune.space has more than {_MAX_GROUPS} combinations of the groups {names}; fix some of them"])
        for base in combined:
            rest = [axis for axis in self.axes if axis not in groups and self.applies(axis, base)]
            for values in itertools.zip_longest(*(axis.ends for axis in rest)) if rest else [()]:
                tried = {axis.key: axis.ends[-1] if value is None else value for axis, value in zip(rest, values, strict=True)}
                yield self.overrides({**base, **tried})

    def variants(self) -> tuple[tuple[str, ...], ...]:
        """Override lines of every way to prepare the data; one without lines when no axis varies it.

        Raises:
            ConfigError: when there are too many, or an axis of them is an interval.
        """
        own = [axis for axis in self.axes if _part(axis) in _PREPARED]
        endless = [axis.key for axis in own if axis.num is None]
        if endless:
            raise ConfigError([f"{key} varies what is prepared beforehand; use choice() or range()" for key in endless])
        groups = {group for axis in own for group, _ in axis.when}
        needed = [axis for axis in self.axes if axis in own or axis.key in groups]
        found = _bounded((self.overrides(sample) for sample in self.combinations(needed)), _MAX_VARIANTS)
        if found is None:
            names = ", ".join(axis.key for axis in own)
            raise ConfigError([f"{names} vary the data in more than {_MAX_VARIANTS} ways, and each is prepared; try fewer"])
        return tuple(dict.fromkeys(found))


def read_space(settings: Mapping[str, str | None], composition: Composition) -> Space:
    """The space that `settings` describes: ``tune.space``, sweeps of the command line included; no axes where none applies.

    Args:
        settings: Setting or group -> sweep; None takes an axis out.
        composition: Of what is not varied.

    Raises:
        ConfigError: for all that is wrong with it.
    """
    texts = {key: text for key, text in settings.items() if text is not None}
    if not texts:
        way_out = "add one, for example 'model.learning_rate=tag(log,interval(1e-3,1))', or a tune=NAME with a space"
        raise ConfigError([f"nothing to search: no setting has a sweep; {way_out}"])
    problems = [problem for key in texts if (problem := _not_varied(key))]
    groups = composition.groups
    try:
        axes = read_axes(texts, groups)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from error
    if problems:
        raise ConfigError(problems)
    return Space(axes=axes, chosen=groups.chosen)


def preflight(space: Space, check: Callable[[Sequence[str]], object]) -> None:
    """Look at every combination of groups, with both ends of every axis, before a cluster is started.

    Args:
        space: What is varied.
        check: Composes and builds what override lines lead to.

    Raises:
        ConfigError: when `check` refuses one, with its overrides.
    """
    space.variants()
    for lines in space.probes():
        try:
            check(lines)
        except RaypipeError as error:
            where = " ".join(line for line in lines if _named(line, str(error))) or " ".join(lines)
            raise ConfigError([f"the space reaches what cannot be trained, {where}: {error}"]) from error


def _named(line: str, problem: str) -> bool:
    return line.partition("=")[0] in problem or "." not in line.partition("=")[0]


def _bounded(found: Iterator[Any], bound: int) -> list[Any] | None:
    """All that is `found`, or None when it is more than `bound`."""
    first = list(itertools.islice(found, bound + 1))
    return None if len(first) > bound else first


def _part(axis: Axis) -> str:
    return axis.key.split(".")[0].split("/")[0]


def _not_varied(key: str) -> str:
    """Why `key` cannot be an axis, if it cannot."""
    part, known = key.split(".")[0].split("/")[0], (*_TRAINED, *_PREPARED)
    if part not in known:
        return f"{key} cannot be varied in a search{did_you_mean(part, known)} (what can: {', '.join(known)})"
    if key == _INCOMPARABLE or key.startswith(f"{_INCOMPARABLE}."):
        return f"{key} cannot be varied in a search: it changes what the validation loss measures"
    return ""


def _facts(axis: Axis) -> AxisFacts:
    when = tuple(str(condition) for condition in axis.when)
    if axis.kind == "choice":
        return AxisFacts(name=axis.key, kind="choice", labels=axis.labels, when=when)
    return AxisFacts(name=axis.key, kind=axis.kind, low=axis.low, high=axis.high, log=axis.log, when=when)
