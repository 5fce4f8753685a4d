"""Durations as people write them in YAML: ``90m``, ``3h``, ``7d``."""

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_duration(value: Any) -> Any:
    """`value` as a timedelta when it is text such as ``3h``; anything else is left to the type's own check.

    Raises:
        ValueError: for text that is not a number and one of the units s, m, h, d.
    """
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd])\s*", value)
    if not found:
        raise ValueError("expected a number and a unit, such as 90m, 3h or 7d")
    return timedelta(**{_UNITS[found[2]]: float(found[1])})


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
