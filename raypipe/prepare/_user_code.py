"""Digests of the user's own code: the modules that settings name, and all that these import."""

from collections.abc import Iterable
from typing import Any

from raypipe.bundle import find_needs
from raypipe.core.digest import digest_json, user_modules
from raypipe.core.errors import BundleError, ConfigError


def digest_modules(modules: Iterable[str]) -> dict[str, str]:
    """What the user's `modules` are: the sha256 of each, and of all that they import.

    They are followed as for a bundle: into modules of their own package and those that no installed package has, and of
    installed packages the version counts.

    Raises:
        ConfigError: when a module has no source file.
    """
    names = sorted(set(modules))
    if not names:
        return {}
    try:
        needs = find_needs(names, "")
    except BundleError as error:
        raise ConfigError([error.problem]) from error
    versions = [[need.package, need.version] for need in needs.requires]
    return {**{code.import_path: code.sha256 for code in needs.code}, "imported packages": digest_json(versions)}


def digest_own_parts(settings: Any) -> dict[str, str]:
    """The same for the modules of the user's own parts that `settings` (from `core.config.to_settings`) name."""
    return digest_modules(user_modules(settings))
