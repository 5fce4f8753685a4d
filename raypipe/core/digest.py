"""Digests: sha256 over canonical JSON, files, and the package sources that a step imports."""

import hashlib
import importlib
import inspect
import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any
from zoneinfo import TZPATH

import pyarrow as pa
import pyarrow.compute as pc

import raypipe

_LIBRARIES = (
    *("lightgbm", "numpy", "onnxruntime", "pyarrow", "polars", "ray", "scikit-learn", "skops", "torch", "tzdata"),
    *("xgboost-cpu", "xgboost"),
)


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
    return list(row_cells(rows, columns).to_pylist())


def row_cells(rows: pa.Table, columns: Sequence[str]) -> pa.ChunkedArray:
    """`row_texts` as an Arrow column."""
    return pc.binary_join_element_wise(*(_named_cells(rows.column(name)) for name in columns), ",")


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
    """Sha256 of the Python sources of raypipe's `packages`, for example ``{"features": "ab12..."}``.

    As they were when this process first asked: it goes on with what it imported, whatever is edited meanwhile.
    """
    return {package: _digest_package(package) for package in sorted(packages)}


@cache
def _digest_package(package: str) -> str:
    root, sha = Path(raypipe.__file__).parent, hashlib.sha256()
    for path in sorted((root / package).rglob("*.py")):
        sha.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return sha.hexdigest()


def digest_user_code(settings: Any) -> dict[str, str]:
    """Sha256 of the source files of the user's own parts that `settings` (from `core.config.to_settings`) name.

    What these files import is not looked at; `prepare.digest_own_parts` does that.
    """
    modules = [importlib.import_module(name) for name in sorted(user_modules(settings))]
    return {module.__name__: digest_file(Path(inspect.getfile(module))) for module in modules}


def user_modules(settings: Any) -> set[str]:
    """Modules of the user's own parts that `settings` (from `core.config.to_settings`) name."""
    if isinstance(settings, (list, tuple)):
        return {name for value in settings for name in user_modules(value)}
    if not isinstance(settings, Mapping):
        return set()
    found = {name for value in settings.values() for name in user_modules(value)}
    kind = settings.get("_type_")
    if isinstance(kind, str) and not kind.startswith("raypipe."):
        found.add(kind.rpartition(".")[0])
    return found


@cache
def zone_rules() -> str:
    """Version of the machine's rules of time zones, such as ``2025b``, which come before those of the package tzdata.

    Where the machine has none, or does not say which, the text is empty.
    """
    for folder in map(Path, TZPATH):
        for name, before in (("tzdata.zi", "# version "), ("+VERSION", "")):
            if (folder / name).is_file():
                with (folder / name).open(encoding="utf-8") as file:
                    return file.readline().strip().removeprefix(before)
    return ""


def environment() -> dict[str, dict[str, str]]:
    """Versions of the libraries that decide numbers, those of the rules of time zones among them, and the platform."""
    found = {"zoneinfo": zone_rules()}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"libraries": found, "platform": {"machine": platform.machine(), "python": platform.python_version()}}
