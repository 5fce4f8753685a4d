"""Libraries that only some sources need."""

from collections.abc import Iterator
from contextlib import contextmanager

from raypipe.core.errors import ConfigError


@contextmanager
def missing_extra(package: str, extra: str) -> Iterator[None]:
    """Around imports of `package`: a missing one is one line that says how to install it.

    Raises:
        ConfigError: with the extra.
    """
    try:
        yield
    except ImportError as error:
        way_out = f"pip install 'raypipe[{extra}]'"
        raise ConfigError(
            [f"this source needs the package {package}, which cannot be imported ({error}): {way_out}"]
        ) from error
