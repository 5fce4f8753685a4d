"""Functions of the user's own, named in settings as ``package.module:name`` within the allow-list of parts."""

import importlib
import inspect
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationInfo

from raypipe.core.errors import ConfigError
from raypipe.core.naming import did_you_mean


def _is_allowed(path: str, info: ValidationInfo) -> str:
    if info.context is not None:  # made from a configuration or a file, which may name only what is allowed
        allowed = [prefix for prefix in info.context["allowed"] if prefix != _OURS]
        if not f"{path.partition(':')[0]}.".startswith(tuple(allowed)):
            raise ValueError(
                f"{path} is not allowed (allowed: {', '.join(allowed) or 'none'}); add its package to core.allowed_targets"
            )
    return path


_OURS = "raypipe."
"""Functions of raypipe's own are no parts: one that removes a folder is not for a configuration to call."""
FunctionPath = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"), AfterValidator(_is_allowed)]


def import_function(path: str) -> Callable[..., Any]:
    """The function named ``package.module:name``.

    Raises:
        ConfigError: when it cannot be imported, is not a function, or is one that its module only imports from another
            package, which nobody allowed.
    """
    module, _, name = path.partition(":")
    try:
        known = vars(importlib.import_module(module))
    except ImportError as error:
        raise ConfigError([f"{path} cannot be imported ({error}); put its package on PYTHONPATH"]) from error
    found: Callable[..., Any] | None = known.get(name)
    if found is None or not callable(found):
        near = did_you_mean(name, [key for key, value in known.items() if callable(value)])
        raise ConfigError([f"{path}: {module} has no such function{near}"])
    known_home = inspect.getmodule(found)
    home = known_home.__name__ if known_home else type(found).__module__
    if home.partition(".")[0] != module.partition(".")[0]:
        raise ConfigError([f"{path}: {name} is a function of {home}, not of {module}; wrap it in a function of your own"])
    return found
