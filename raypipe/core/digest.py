"""Digests: sha256 over canonical JSON, files, and the package sources that a step imports."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import raypipe


def digest_json(value: Any) -> str:
    """Sha256 of `value` as canonical JSON (sorted keys, no spaces); equal values have equal digests.

    Raises:
        TypeError: when `value` holds something that JSON does not have.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_key(values: Sequence[Any]) -> bytes:
    """32 bytes that name a row key: a function of the values and their types alone, on any machine and Python version."""
    texts = [f"{type(v).__name__}:{v.isoformat() if isinstance(v, date) else v}" for v in values]
    return hashlib.sha256(json.dumps(texts, ensure_ascii=False).encode()).digest()


def digest_file(path: Path) -> str:
    """Sha256 of a local file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_sources(packages: Iterable[str]) -> dict[str, str]:
    """Sha256 of the Python sources of raypipe's `packages`, for example ``{"features": "ab12..."}``."""
    root = Path(raypipe.__file__).parent
    out = {}
    for package in sorted(packages):
        sha = hashlib.sha256()
        for path in sorted((root / package).rglob("*.py")):
            sha.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
        out[package] = sha.hexdigest()
    return out
