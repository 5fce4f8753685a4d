"""Durations as people write them in YAML: ``90m``, ``3h``, ``7d``."""

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_duration(value: Any) -> Any:
    """`value` as a timedelta when it is text such as ``3h``; anything but a number is left to the type's own check.

    Raises:
        ValueError: for text that is not a number and one of the units s, m, h, d, and for a number: of which unit, nobody said.
            Nothing, which is 0, needs no unit.
    """
    if not isinstance(value, (str, int, float)) or value == 0:
        return value
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd])\s*", str(value))
    if not found:
        raise ValueError("expected a number and a unit, such as 90m, 3h or 7d")
    try:
        return timedelta(**{_UNITS[found[2]]: float(found[1])})
    except OverflowError as error:
        raise ValueError("expected less than a billion days") from error


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
