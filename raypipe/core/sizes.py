"""Sizes of memory as people write them in YAML: ``512 MiB``, ``2 GiB``."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def parse_size(value: Any) -> Any:
    """`value` as bytes when it is text such as ``2 GiB``; a number is bytes already.

    Raises:
        ValueError: for text that is not a number and one of the units B, KiB, MiB, GiB, TiB.
    """
    if not isinstance(value, str):
        return value
    found = re.fullmatch(rf"\s*(\d+(?:\.\d+)?)\s*({'|'.join(_UNITS)})\s*", value)
    if not found:
        raise ValueError("expected a number and a unit, such as 512 MiB or 2 GiB")
    return int(float(found[1]) * 1024 ** _UNITS.index(found[2]))


def size_text(num_bytes: float) -> str:
    """`num_bytes` in the largest unit that gives at least 1, such as ``1.5 GiB``."""
    for unit in _UNITS[:-1]:
        if num_bytes < 1024:
            return f"{num_bytes:.4g} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:.4g} {_UNITS[-1]}"


Size = Annotated[int, BeforeValidator(parse_size, json_schema_input_type=int | str), Field(gt=0)]
