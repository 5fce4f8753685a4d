"""Digests: sha256 over canonical JSON, files, and the package sources that a step imports."""

import hashlib
import importlib
import inspect
import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

import raypipe

_LIBRARIES = ("numpy", "pyarrow", "polars", "ray", "scikit-learn", "torch", "xgboost-cpu", "xgboost")


def digest_json(value: Any) -> str:
    """Sha256 of `value` as canonical JSON (sorted keys, no spaces); equal values have equal digests.

    Raises:
        TypeError: when `value` holds something that JSON does not have.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def row_texts(rows: pa.Table, columns: Sequence[str]) -> list[str]:
    """A text for each row that names its values in `columns`: equal for equal values, different for different ones.

    It is a function of the values alone, on any machine and with any chunking: lengths and texts, ``-`` for null,
    timestamps as microseconds.
    """
    named = [_named_cells(rows.column(name)) for name in columns]
    return list(pc.binary_join_element_wise(*named, ",").to_pylist())


def _named_cells(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_timestamp(cells.type):
        cells = cells.cast(pa.timestamp("us", cells.type.tz)).cast(pa.int64())
    texts = cells.cast(pa.string())
    return pc.fill_null(pc.binary_join_element_wise(pc.binary_length(texts).cast(pa.string()), texts, ":"), "-")


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


def digest_user_code(settings: Any) -> dict[str, str]:
    """Sha256 of the source files of the user's own parts that `settings` (from `core.config.to_settings`) name."""
    if isinstance(settings, (list, tuple)):
        return {name: sha for value in settings for name, sha in digest_user_code(value).items()}
    if not isinstance(settings, Mapping):
        return {}
    found = {name: sha for value in settings.values() for name, sha in digest_user_code(value).items()}
    kind = settings.get("_type_")
    if isinstance(kind, str) and not kind.startswith("raypipe."):
        module = importlib.import_module(kind.rpartition(".")[0])
        found[module.__name__] = digest_file(Path(inspect.getfile(module)))
    return found


def environment() -> dict[str, dict[str, str]]:
    """Versions of the libraries that decide numbers, and the platform."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"libraries": found, "platform": {"machine": platform.machine(), "python": platform.python_version()}}
