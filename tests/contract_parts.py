"""Contracts as tests write them."""

from typing import Any

from raypipe.contract import Contract
from raypipe.core.config import build

BIG = 2**53 + 1


def contract(key: tuple[str, ...] = (), **columns: Any) -> Contract:
    return build({"columns": columns, "key": list(key)}, Contract)
