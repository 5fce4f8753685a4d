"""The JSON part of a saved model: what its weights belong to, with a format version that refuses newer ones."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raypipe.core.errors import BundleError

FORMAT = 1
_NAME = "model.json"


def write_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write `facts` as ``model.json`` in `folder`."""
    text = json.dumps({"format": FORMAT, **facts}, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    (folder / _NAME).write_text(text + "\n", encoding="utf-8")


def read_facts(folder: Path) -> dict[str, Any]:
    """The facts in `folder`.

    Raises:
        BundleError: when they are missing, damaged, or written by a newer raypipe.
    """
    path = folder / _NAME
    try:
        facts: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BundleError(str(path), "the file is missing") from error
    except ValueError as error:
        raise BundleError(str(path), f"is not JSON ({error})") from error
    known = facts.get("format") if isinstance(facts, dict) else None
    if not isinstance(known, int):
        raise BundleError(str(path), "does not say its format: raypipe has not written it")
    if known > FORMAT:
        raise BundleError(str(path), f"has format {known}, this raypipe reads up to {FORMAT}; install a newer one")
    return dict(facts)
