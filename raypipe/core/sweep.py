"""Hydra's own grammar of sweeps as plain values: the axes of a search.

```text
model.learning_rate=tag(log,interval(1e-4,1e-1))     any number from 0.0001 up to 0.1, evenly on a logarithmic scale
model.max_depth=int(interval(2,9))                   whole numbers from 2 to 8
model.batch_size=range(256,1024,256)                 256, 512 and 768
model.activation=choice(relu,gelu)                   drawn
model=xgboost,mlp                                    a list, tag(grid,...) or glob(*): each value equally often
model.dropout=tag(model:mlp|cnn,interval(0,0.5))     only where the option of group `model` is mlp or cnn
```

The end of a range or an interval is excluded everywhere, and ranges of decimals are exact.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, Override, Quote, QuotedString, RangeSweep, Sweep
from hydra.errors import HydraException

from raypipe.core.axes import Axis, Condition, exact, settle
from raypipe.core.compose import Groups
from raypipe.core.errors import ConfigError
from raypipe.core.naming import did_you_mean, listed

_TAGS = ("log", "grid")
_PLAIN, _WORDS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*"), ("true", "false", "null", "nan", "inf")
_FUNCTIONS = ("choice", "range", "interval", "glob", "tag", "int", "float", "str", "bool", "sort")


class Overrides(NamedTuple):
    """A command line: overrides of one value, and those that sweep."""

    plain: tuple[str, ...]
    sweeps: tuple[str, ...]


def split_overrides(lines: Sequence[str]) -> Overrides:
    """Tell overrides of one value from sweeps; lines that are not valid overrides count as plain, where they are refused."""
    swept = [_is_sweep(line) for line in lines]
    return Overrides(
        plain=tuple(line for line, sweep in zip(lines, swept, strict=True) if not sweep),
        sweeps=tuple(line for line, sweep in zip(lines, swept, strict=True) if sweep),
    )


def read_axes(space: Mapping[str, str], groups: Groups) -> tuple[Axis, ...]:
    """The axes that `space` (setting or group -> sweep) describes, those on which others depend first.

    Conditions on groups that no axis varies are settled: an axis that can never apply is left out.

    Raises:
        ConfigError: for all that is wrong with the space, each naming its axis.
    """
    found: list[Axis] = []
    problems: list[str] = []
    for key, text in space.items():
        try:
            found.append(_axis(key, text, groups))
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigError(problems)
    return settle(found, groups)


def _is_sweep(line: str) -> bool:
    try:
        return bool(OverridesParser.create().parse_override(line).is_sweep_override())
    except HydraException:
        # a call of a function that is misspelt, or with wrong arguments, was meant to be a sweep
        name = line.partition("=")[2].partition("(")[0].strip()
        return line.rstrip().endswith(")") and (name in _FUNCTIONS or bool(did_you_mean(name, _FUNCTIONS)))


def _axis(key: str, text: str, groups: Groups) -> Axis:
    override = _parsed(key, text)
    sweep = override._value
    if isinstance(sweep, Glob):
        values = sweep.filter(list(groups.options.get(key, ())))
        return Axis(key=key, kind="choice", labels=_labels(key, text, values, groups), grid=True)
    if not isinstance(sweep, Sweep):
        raise _wrong(key, text, "is one value, not a sweep such as choice(1,2), range(1,9) or interval(0,1)")
    log, grid = "log" in sweep.tags, "grid" in sweep.tags
    when = tuple(_condition(key, text, tag) for tag in sorted(sweep.tags - set(_TAGS)))
    if isinstance(sweep, IntervalSweep):
        if grid:
            raise _wrong(key, text, "an interval has no grid; use range() or choice()")
        return _interval(key, text, sweep, log=log, when=when)
    return _listed(key, text, sweep, groups, Axis(key=key, kind="choice", log=log, grid=grid, when=when))


def _listed(key: str, text: str, sweep: Sweep, groups: Groups, axis: Axis) -> Axis:
    """`axis` with the values of a range or a choice."""
    if isinstance(sweep, (RangeSweep, ChoiceSweep)) and sweep.shuffle:
        raise _wrong(key, text, "shuffle() has no effect in a search; leave it out")
    if isinstance(sweep, RangeSweep):
        return _range(text, sweep, axis)
    if axis.log:
        raise _wrong(key, text, "tag log needs an interval() or a range() of whole numbers")
    assert isinstance(sweep, ChoiceSweep)
    return replace(axis, labels=_labels(key, text, list(sweep.list or ()), groups), grid=axis.grid or sweep.simple_form)


def _parsed(key: str, text: str) -> Override:
    try:
        return OverridesParser.create().parse_override(f"{key}={text}")
    except HydraException as error:
        said = [line.strip() for line in str(error).splitlines() if line.strip()]
        problem = said[0].partition("': ")[2] if " while evaluating '" in said[0] else f"not a sweep ({said[0]})"
        if problem.startswith("Unknown function '"):
            problem += did_you_mean(problem.split("'")[1], _FUNCTIONS) + f" (functions: {', '.join(_FUNCTIONS)})"
        elif "NoneType is incompatible" in problem:
            problem = "choice() does not take null; write a list: null,1"
        raise _wrong(key, text, problem) from error


def _wrong(key: str, text: str, problem: str) -> ConfigError:
    return ConfigError([f"{key}={text}: {problem}"])


def _condition(key: str, text: str, tag: str) -> Condition:
    group, colon, options = tag.partition(":")
    if not (colon and group and options):
        way_out = "tags are log, grid, and conditions such as model:mlp"
        raise _wrong(key, text, f"unknown tag {tag!r}{did_you_mean(tag, _TAGS)} ({way_out})")
    return Condition(group.strip(), tuple(option.strip() for option in options.split("|")))


def _interval(key: str, text: str, sweep: IntervalSweep, *, log: bool, when: tuple[Condition, ...]) -> Axis:
    low, high = sweep.start, sweep.end
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise _wrong(key, text, "an interval needs two numbers, the first below the second")
    if log and low <= 0:
        raise _wrong(key, text, "tag log needs an interval above 0")
    if isinstance(low, int) and isinstance(high, int):
        return Axis(key=key, kind="int", low=low, high=high - 1, step=1, log=log, when=when)
    return Axis(key=key, kind="float", low=float(low), high=float(high), log=log, when=when)


def _range(text: str, sweep: RangeSweep, axis: Axis) -> Axis:
    """Exact decimals: Hydra counts in binary floats and lets range(0,0.9,0.3) reach 0.9."""
    numbers = [number for number in (sweep.start, sweep.stop, sweep.step) if number is not None and math.isfinite(number)]
    if len(numbers) < 3 or sweep.step == 0:
        raise _wrong(axis.key, text, "a range needs a start, a stop and a step that is not 0")
    start, stop, step = map(exact, numbers)
    num = max(0, math.ceil((stop - start) / step))
    if num == 0:
        raise _wrong(axis.key, text, "is empty: the stop is excluded")
    whole = all(isinstance(number, int) for number in numbers)
    low, high = sorted((start, start + (num - 1) * step))
    if axis.log and not (whole and abs(step) == 1 and low > 0):
        raise _wrong(axis.key, text, "tag log needs an interval() or a range() of whole numbers above 0 with step 1")
    if whole:
        return replace(axis, kind="int", low=int(low), high=int(high), step=int(abs(step)))
    return replace(axis, kind="float", low=float(low), high=float(high), step=float(abs(step)))


def _labels(key: str, text: str, values: Sequence[Any], groups: Groups) -> tuple[str, ...]:
    """Each value as the text that gives it back; 1, 1.0, true and '1' stay apart."""
    values = [_unquoted(value) for value in values]
    labels = [_literal(value) for value in values]
    twice = [label for i, label in enumerate(labels) if label in labels[:i]]
    if twice:
        raise _wrong(key, text, f"{twice[0]} is there twice")
    options = groups.options.get(key)
    unknown = [str(value) for value in values if options is not None and value not in options]
    if unknown:
        known = f"{did_you_mean(unknown[0], options or ())} (options: {listed(options or ())})"
        raise _wrong(key, text, f"{unknown[0]} is not an option of group {key}{known}")
    if not labels:
        raise _wrong(key, text, f"matches none of {listed(options)}" if options else f"{key} is not a group of options")
    return tuple(labels)


def _unquoted(value: Any) -> Any:
    """A parsed value in Python's own types."""
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, dict):
        return {_unquoted(name): _unquoted(one) for name, one in value.items()}
    return [_unquoted(one) for one in value] if isinstance(value, list) else value


def _literal(value: Any) -> str:
    """`value` as the text of an override that gives it back: a string stays one, whatever it looks like."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{_literal(name)}:{_literal(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_literal, value)) + "]"
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS and not _is_number(value)
        return value if plain else QuotedString(value, Quote.single).with_quotes()
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
