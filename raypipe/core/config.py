"""From a composed configuration to built, typed parts.

A part is a class marked `@config`: a frozen, keyword-only pydantic dataclass beside its code. A mapping with
``_target_: package.Class`` names a part that can be swapped. Only classes marked `@config` whose own module has an
allowed prefix can be named: a configuration chooses among parts, it cannot run code.
"""

import importlib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, TypeVar, dataclass_transform

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

from raypipe.core.errors import ConfigError
from raypipe.core.explain import dotted, explain
from raypipe.core.naming import did_you_mean

T = TypeVar("T")
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,199}$")]
"""A name that becomes part of a path and of a registered model: letters, digits, "_", "-" and "."."""
VersionName = Annotated[str, Field(coerce_numbers_to_str=True)]
"""A version number, an alias or ``latest``, as it is named in settings."""
_MARK = "__raypipe_config__"
_ALWAYS_ALLOWED = ("raypipe.",)
_NOT_OURS = ("_args_", "_partial_", "_convert_", "_recursive_")
_RULES = ConfigDict(extra="forbid", arbitrary_types_allowed=True, use_enum_values=True)


@dataclass_transform(frozen_default=True, kw_only_default=True)
def config(cls: type[T]) -> type[T]:
    """Mark `cls` as a part of the configuration: frozen, keyword-only, unknown settings refused."""
    made = pydantic_dataclass(frozen=True, kw_only=True, config=_RULES)(cls)
    setattr(made, _MARK, True)
    return made  # type: ignore[return-value]  # pydantic's own decorator is typed for its dataclass protocol


def is_config(cls: Any) -> bool:
    """True for a class that itself is marked `@config`; a subclass must be marked again."""
    return isinstance(cls, type) and _MARK in vars(cls)


def build(settings: Mapping[str, Any], cls: type[T], *, allowed: Sequence[str] = ()) -> T:
    """Build `cls` from plain `settings`, parts named by ``_target_`` first.

    Args:
        settings: Plain mappings, sequences and scalars.
        cls: A class marked `@config`.
        allowed: Module prefixes that ``_target_`` may name beside ``raypipe.``, for example ``("mycompany.ml.",)``.

    Raises:
        ConfigError: with all problems at once, each naming its setting.
    """
    problems: list[str] = []
    prefixes = (*_ALWAYS_ALLOWED, *(prefix if prefix.endswith(".") else f"{prefix}." for prefix in allowed))
    plain = _build_parts(dict(settings), "", prefixes, problems)
    if problems:
        raise ConfigError(problems)
    return _validate(plain, cls, "", prefixes)


def _build_parts(value: Any, path: str, allowed: tuple[str, ...], problems: list[str]) -> Any:
    if isinstance(value, Mapping):
        problems.extend(
            f"{dotted(path, [k])}: is not used here; a part takes named settings only" for k in _NOT_OURS if k in value
        )
        inner = {
            k: _build_parts(v, dotted(path, [k]), allowed, problems)
            for k, v in value.items()
            if k != "_target_" and k not in _NOT_OURS
        }
        if "_target_" not in value:
            return inner
        try:
            return _validate(inner, import_target(value["_target_"], path, allowed), path, allowed)
        except ConfigError as error:
            problems.extend(error.problems)
            return None
    if isinstance(value, (list, tuple)):
        return [_build_parts(v, f"{path}[{i}]", allowed, problems) for i, v in enumerate(value)]
    return value


def import_target(target: Any, path: str, allowed: Sequence[str]) -> type[Any]:
    """The `@config` class that ``_target_`` names.

    Raises:
        ConfigError: when it is outside the allow-list, does not exist, or is not a part.
    """
    where = f"{path}._target_" if path else "_target_"
    if not isinstance(target, str) or "." not in target:
        raise ConfigError([f"{where}: expected package.Class, got {target!r}"])
    if not target.startswith(tuple(allowed)):
        raise ConfigError(
            [f"{where}: {target} is not allowed (allowed: {', '.join(allowed)}); add its package to core.allowed_targets"]
        )
    module_name, _, name = target.rpartition(".")
    try:
        found = vars(importlib.import_module(module_name)).get(name)
    except ModuleNotFoundError as error:
        raise ConfigError([f"{where}: {target} cannot be imported ({error})"]) from error
    module = importlib.import_module(module_name)
    if not is_config(found):
        names = [n for n, v in vars(module).items() if is_config(v)]
        raise ConfigError([f"{where}: {target} is not a configurable part{did_you_mean(name, names)}"])
    if not f"{found.__module__}.".startswith(tuple(allowed)):
        raise ConfigError([f"{where}: {target} is defined in {found.__module__}, which is not allowed"])
    return typing.cast("type[Any]", found)


def _validate(plain: Mapping[str, Any], cls: type[T], path: str, allowed: tuple[str, ...]) -> T:
    try:  # settings that name code of the user's own ask the context what is allowed
        return TypeAdapter(cls).validate_python(plain, context={"allowed": allowed})
    except ValidationError as error:
        raise ConfigError(explain(error, plain, cls, path)) from error


def to_settings(part: Any) -> Any:
    """`part` as plain JSON-able settings with the type of every part: the form that digests and records use."""
    if is_dataclass(part) and not isinstance(part, type):
        kind = f"{type(part).__module__}.{type(part).__qualname__}"
        return {"_type_": kind, **{f.name: to_settings(vars(part)[f.name]) for f in fields(part)}}
    if isinstance(part, Mapping):
        return {str(key): to_settings(value) for key, value in part.items()}
    if isinstance(part, (list, tuple, set, frozenset)):
        return [to_settings(value) for value in part]
    return part if isinstance(part, (str, int, float, bool)) or part is None else str(part)
