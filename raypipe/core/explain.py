"""Words for what is wrong with settings: pydantic's findings as one clear line each, with the nearest known names."""

import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from raypipe.core.naming import did_you_mean

_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden", "dataclass_unexpected_keyword")
_MISSING = ("missing", "missing_argument", "missing_keyword_only_argument")


def explain(error: ValidationError, settings: Any, cls: type[Any], path: str) -> list[str]:
    """One line for each wrong setting of `settings`, which were to become a `cls` at `path`."""
    found: dict[str, list[str]] = {}
    for detail in error.errors():
        steps = _steps(detail["loc"], settings)
        where = dotted(path, steps)
        inside = [*steps, "kind"] if detail["type"] == "union_tag_not_found" else steps
        texts = found.setdefault(where or cls.__name__, [])
        texts.append(_text(detail, where or cls.__name__, list(_classes_at(cls, inside, settings))))
    return sorted(" or ".join(dict.fromkeys(_without_repeats(texts))) for texts in found.values())


def dotted(path: str, steps: Iterable[Any]) -> str:
    """``path.a.b[0]``: how a setting is named to its writer."""
    text = path
    for step in steps:
        text += f"[{step}]" if isinstance(step, int) else (f".{step}" if text else str(step))
    return text


def _text(detail: ErrorDetails, where: str, classes: Sequence[type[Any]]) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in _UNKNOWN:
        name, known = str(detail["loc"][-1]), list(dict.fromkeys(n for c in classes for n in _names(c)))
        return f"unknown setting {where}{did_you_mean(name, known)} (settings: {', '.join(known)})"
    if kind in _MISSING:
        return f"no value for {where} (add {where}=...)"
    if kind == "union_tag_not_found":
        return f"no value for {where}.kind (kinds: {', '.join(_kinds(classes))})"
    if kind == "union_tag_invalid":
        tag, known = str(context.get("tag", "")), re.findall(r"'([^']*)'", str(context.get("expected_tags", "")))
        return f"{where}.kind: unknown kind {tag!r}{did_you_mean(tag, known)} (kinds: {', '.join(known)})"
    message = detail["msg"].removeprefix("Value error, ")
    if kind == "literal_error" and isinstance(detail["input"], str):
        message += did_you_mean(detail["input"], re.findall(r"'([^']*)'", str(context.get("expected", ""))))
    if kind == "value_error" and isinstance(detail["input"], Mapping):
        return f"{where}: {message}"
    shown = repr(detail["input"])
    return f"{where}: {message} (got {shown if len(shown) < 80 else shown[:77] + '...'})"


def _without_repeats(texts: Sequence[str]) -> Iterator[str]:
    """The lines of one setting (the members of a union each have one), the name only at the first."""
    prefix = texts[0].partition(": ")[0] + ": "
    for i, text in enumerate(texts):
        yield text if i == 0 else text.removeprefix(prefix)


def _steps(loc: Sequence[Any], settings: Any) -> list[Any]:
    """The keys and positions among pydantic's steps: names of types and tags of unions are left out."""
    steps: list[Any] = []
    value = settings
    for i, step in enumerate(loc):
        if step in value if isinstance(value, Mapping) else _is_position(step, value):
            value = value[step]
        elif not isinstance(value, Mapping) or i < len(loc) - 1 or step == value.get("kind"):
            continue
        steps.append(step)
    return steps


def _is_position(step: Any, value: Any) -> bool:
    """Whether `step` is a place in a sequence; one that is too short has none for what is missing."""
    return isinstance(value, (list, tuple)) and isinstance(step, int) and step < len(value)


def _classes_at(hint: Any, steps: Sequence[Any], value: Any) -> Iterator[type[Any]]:
    """The classes that hold the setting at `steps`: where a union leaves a choice, all of them."""
    origin = typing.get_origin(hint)
    if isinstance(hint, type) and is_dataclass(hint):
        yield from _classes_in(hint, steps, value)
    elif origin in (typing.Union, types.UnionType):
        for member in typing.get_args(hint):
            yield from _classes_at(member, steps, value)
    elif origin is not None and isinstance(origin, type) and steps and isinstance(value, (Mapping, list, tuple)):
        inner = value[steps[0]] if not isinstance(value, Mapping) else value.get(steps[0])
        for member in typing.get_args(hint)[-1:] if issubclass(origin, Mapping) else typing.get_args(hint)[:1]:
            yield from _classes_at(member, steps[1:], inner)


def _classes_in(cls: type[Any], steps: Sequence[Any], value: Any) -> Iterator[type[Any]]:
    hints = typing.get_type_hints(cls)
    if isinstance(value, Mapping) and value.get("kind") not in (None, *typing.get_args(hints.get("kind", str))):
        return
    if len(steps) > 1 and isinstance(value, Mapping) and steps[0] in hints:
        yield from _classes_at(hints[steps[0]], steps[1:], value.get(steps[0]))
    else:
        yield cls


def _names(cls: type[Any]) -> list[str]:
    return [f.name.rstrip("_") for f in fields(cls)]


def _kinds(classes: Sequence[type[Any]]) -> list[str]:
    return [str(kind) for cls in classes for kind in typing.get_args(typing.get_type_hints(cls).get("kind", str))]
