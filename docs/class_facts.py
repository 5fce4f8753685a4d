"""What a `@config` class says of itself: its settings, their meanings, the parts that it may hold."""

import importlib
import inspect
import re
import typing
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from pydantic.fields import FieldInfo

from raypipe.core.config import is_config


def fields_of(cls: type[Any]) -> dict[str, FieldInfo]:
    """The settings of a `@config` class by the name that YAML uses."""
    found: Mapping[str, FieldInfo] = cls.__pydantic_fields__
    return {name.rstrip("_"): field for name, field in found.items()}


def classes_in(hint: Any) -> Iterator[tuple[type[Any], str]]:
    """The `@config` classes that a type leads to, each with the words that choose it."""
    if is_protocol(hint):
        for target, part in parts_of(hint).items():
            yield part, f"part `{target}`"
    elif is_config(hint):
        yield hint, kind_of(hint)
    else:
        for member in typing.get_args(hint):
            yield from classes_in(member)


def parts_of(protocol: type[Any]) -> dict[str, type[Any]]:
    """raypipe's own parts of a kind: public `@config` classes with every member of `protocol`, by ``_target_``."""
    package = ".".join(protocol.__module__.split(".")[:2])
    face = importlib.import_module(package)
    wanted = [name for name in {**vars(protocol), **protocol.__annotations__} if not name.startswith("_")]
    found = {f"{package}.{name}": vars(face)[name] for name in face.__all__}
    return {name: cls for name, cls in found.items() if is_config(cls) and all(hasattr(cls, word) for word in wanted)}


def is_protocol(hint: Any) -> TypeGuard[type[Any]]:
    """True for a Protocol, which stands for parts named by ``_target_``."""
    return bool(vars(hint).get("_is_protocol")) if isinstance(hint, type) else False


def kind_of(cls: type[Any]) -> str:
    """The words that choose a member of a union, or "" where there is nothing to choose."""
    kinds = typing.get_args(fields_of(cls)["kind"].annotation) if "kind" in fields_of(cls) else ()
    return f"`kind: {kinds[0]}`" if len(kinds) == 1 else ""


def meanings(cls: type[Any]) -> dict[str, str]:
    """What the ``Attributes`` sections of a class and of those it is made of say of each setting."""
    found: dict[str, str] = {}
    for part in reversed(cls.__mro__):
        _, _, told = inspect.cleandoc(part.__doc__ or "").partition("Attributes:\n")
        told = re.split(r"\n(?=\S)", told)[0]
        said = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", told, re.M)
        found |= {name.rstrip("_"): plain(text) for name, text in said}
    return found


def summary(cls: type[Any]) -> str:
    """The docstring of a class up to its sections."""
    text = re.split(r"\n(?:Attributes|Raises|Args):\n", inspect.getdoc(cls) or "")[0]
    return "\n\n".join(plain(paragraph) for paragraph in text.strip().split("\n\n"))


def plain(text: str) -> str:
    """One line of Markdown from a docstring's lines."""
    return re.sub(r"\s+", " ", text.replace("``", "`")).strip()
