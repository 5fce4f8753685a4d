"""A column's settings proposed from its cells, for a person to review: what holds for these cells and looks meant."""

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from raypipe.contract._cleaning import WHITESPACE
from raypipe.contract._patterns import fitting
from raypipe.contract._rules import NAIVE_TIMESTAMP, ColumnType
from raypipe.contract._values import in_utc, is_text, plain, values_of
from raypipe.core.kinds import kind_of

_NULL_WORDS = ("NA", "N/A", "n/a", "null", "NULL", "None", "nan", "NaN", "-", "?", "#N/A", "")
_SENTINELS = (-999, -9999, -99999, 999, 9999, 99999, 999999)
_LISTS: tuple[ColumnType, ...] = ("list<int64>", "list<string>", "vector")
_FEW, _ROWS_PER_VALUE, _MOSTLY = 20, 20, 0.99
_SHAPES: Mapping[str, str] = MappingProxyType(
    {
        "email": r"[^@\s]+@[^@\s]+\.[A-Za-z]{2,}",
        "uuid": r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
        "iban": r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}",
        "card number": r"[0-9]{4}[ -][0-9]{4}[ -][0-9]{4}[ -][0-9]{4}",
        "phone": r"\+[0-9][0-9 ()/-]{6,20}",
        "address of a page": r"https?://\S+",
    }
)
_LETTERS = ("[0-9]", "[A-Z]", "[a-z]", "[A-Z0-9]", "[A-Za-z]", "[A-Za-z0-9]")
_PERSONAL_SHAPES = ("email", "iban", "card number", "phone")
_PERSONAL_NAME = re.compile(
    r"(^|_)(e?mail|phone|mobile|fax|ssn|iban|passport|birth(day|date)?|dob|ip(_address)?|street|zip(code)?|postcode|address"
    r"|(first|last|full|middle|family|given|sur)_?name|surname|card(_number)?|tax_id)($|_)",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """Settings of one column as YAML has them, remarks for its reader, and its values as the contract would read them."""

    settings: dict[str, Any]
    notes: tuple[str, ...]
    values: pa.Array
    few_values: bool = False


@dataclass
class _Draft:
    """A proposal in the making."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    clean: list[Any] = field(default_factory=list)


def propose_column(name: str, cells: pa.Array) -> Proposal:
    """What to declare of a column with these cells, text or typed."""
    draft = _Draft(name)
    cells = plain(cells)
    values = _typed(draft, cells.cast(pa.string()) if is_text(cells.type) else cells)
    if pt.is_integer(values.type) or pt.is_floating(values.type):
        values = _without_sentinels(draft, values)
    kind = draft.settings["type"]
    if len(values) and not values.null_count:
        draft.settings["nullable"] = False
    few = _describe(draft, values)
    if _PERSONAL_NAME.search(name) and kind in ("string", "date", "int64"):
        draft.settings["pii"] = True
        if kind == "int64":  # its bounds and the remark on them are values
            draft.settings = {word: value for word, value in draft.settings.items() if word not in ("min", "max")}
            draft.notes = [note for note in draft.notes if not note.startswith("found ")]
    if draft.settings.get("pii"):
        draft.notes.append("personal by its name or shape")
        draft.settings.pop("one_of", None)
    settings = {**draft.settings, **({"clean": draft.clean} if draft.clean else {})}
    return Proposal(settings=settings, notes=tuple(draft.notes), values=values, few_values=few)


def _describe(draft: _Draft, values: pa.Array) -> bool:
    """Add what the values have in common; gives whether they are only few."""
    match draft.settings["type"]:
        case "string":
            return _describe_texts(draft, values)
        case "int64" | "float64":
            _describe_numbers(draft, values)
        case "timestamp":
            _describe_times(draft, values)
    return bool(draft.settings["type"] == "bool")


def _typed(draft: _Draft, cells: pa.Array) -> pa.Array:
    if is_text(cells.type):
        return _typed_text(draft, cells)
    if pt.is_decimal(cells.type):
        draft.settings["type"] = "float64"
        draft.notes.append(f"found {cells.type}: the nearest float64 is taken")
        return values_of(cells, "float64")
    kind = kind_of(cells.type)
    if pt.is_timestamp(cells.type) and cells.type.tz is None:
        draft.settings |= {"type": "timestamp", "zone": "UTC"}
        draft.notes.append("times without a zone, taken to be of UTC: make sure")
        return values_of(in_utc(cells), "timestamp")
    if kind is None or kind == "duration":
        draft.settings["type"] = "string"
        draft.notes.append(f"found {cells.type}, which a contract has no type for: cast it in the source")
        return pa.nulls(len(cells), pa.string())
    if pt.is_floating(cells.type) and pc.any(pc.is_nan(cells)).as_py():
        draft.clean.append({"null_if": ["NaN"]})
        cells = pc.if_else(pc.is_nan(cells), pa.scalar(None, cells.type), cells)
    draft.settings["type"] = kind
    return values_of(cells, kind)


def _typed_text(draft: _Draft, cells: pa.Array) -> pa.Array:
    trimmed = pc.utf8_trim(cells, characters=WHITESPACE)
    if pc.any(pc.not_equal(trimmed, cells)).as_py():
        draft.clean.append("trim")
    cells = without = trimmed
    words = [word for word in pc.unique(cells.filter(pc.is_in(cells, pa.array(_NULL_WORDS)))).to_pylist() if word is not None]
    if words:
        without = pc.if_else(pc.is_in(cells, pa.array(words)), pa.scalar(None, pa.string()), cells)
    kind, values = _best_type(without)
    if words and (kind != "string" or set(words) & {"NA", "N/A", "null", "NULL", "#N/A", ""}):
        draft.clean.append({"null_if": sorted(words)})
        cells = without
    draft.settings["type"] = kind
    if kind == "string":
        if len(cells) > cells.null_count and pc.all(fitting(cells, NAIVE_TIMESTAMP + "?")).as_py():
            draft.notes.append("times without a zone: if they are of UTC, say {type: timestamp, zone: UTC}")
        return cells
    if bad := values.null_count - cells.null_count:
        draft.notes.append(f"{bad:,} of {len(cells):,} cells are no {kind}")
    return values


def _best_type(cells: pa.Array) -> tuple[ColumnType, pa.Array]:
    """The narrowest type that nearly all cells have; text with leading zeros stays text."""
    num = len(cells) - cells.null_count
    if not num or pc.any(fitting(cells, "-?0[0-9]+")).as_py():
        return "string", cells
    kinds: tuple[ColumnType, ...] = ("int64", "float64", "timestamp", "date", "bool")
    for kind in kinds:
        head = values_of(cells[:1000], kind)
        if head.null_count - cells[:1000].null_count > 0.5 * len(head):
            continue
        values = values_of(cells, kind)
        if len(cells) - values.null_count >= _MOSTLY * num:
            return kind, values
    if pc.all(pc.starts_with(cells, "[")).as_py():
        for kind in _LISTS:
            values = values_of(cells, kind)
            if values.null_count == cells.null_count:
                return kind, values
    return "string", cells


def _without_sentinels(draft: _Draft, values: pa.Array) -> pa.Array:
    """Numbers such as -999 that stand alone at an end, several times, are proposed to be null."""
    found = np.unique(values.drop_null().to_numpy())
    for sentinel in _SENTINELS:
        rest = found[found != sentinel]
        if len(rest) < 3 or len(rest) == len(found):
            continue
        low, high = float(rest[0]), float(rest[-1])
        is_alone = sentinel < low - (high - low) if sentinel < 0 else sentinel > high + (high - low)
        if is_alone and pc.sum(pc.equal(values, sentinel)).as_py() > 1:
            draft.clean.append({"null_if": [sentinel]})
            draft.notes.append(f"{sentinel} stands alone")
            values = pc.if_else(pc.equal(values, sentinel), pa.scalar(None, values.type), values)
            found = rest
    return values


def _describe_numbers(draft: _Draft, values: pa.Array) -> None:
    bounds = pc.min_max(values).as_py()
    low, high = bounds["min"], bounds["max"]
    if low is None:
        return
    margin, whole = (high - low) * 0.1, draft.settings["type"] == "int64"
    least, most = _rounded(low - margin, math.floor), _rounded(high + margin, math.ceil)
    least, most = max(least, 0) if low >= 0 else least, min(most, 0) if high <= 0 else most
    draft.settings["min"], draft.settings["max"] = (math.floor(least), math.ceil(most)) if whole else (least, most)
    draft.notes.append(f"found {low:g} to {high:g}")


def _describe_times(draft: _Draft, values: pa.Array) -> None:
    bounds = pc.min_max(values).as_py()
    if isinstance(bounds["min"], datetime):
        draft.settings["min"] = f"{bounds['min'].year}-01-01T00:00:00Z"
        draft.notes.append(f"found {bounds['min']:%Y-%m-%d} to {bounds['max']:%Y-%m-%d}")


def _describe_texts(draft: _Draft, texts: pa.Array) -> bool:
    """Shape, allowed values or lengths; gives whether there are only few values."""
    counts = pc.value_counts(texts.drop_null())
    values = counts.field("values").to_pylist()
    if not values:
        return False
    if any(not text.isascii() and not unicodedata.is_normalized("NFC", text) for text in values):
        draft.clean.append({"unicode": "NFC"})
        values = sorted({unicodedata.normalize("NFC", text) for text in values})
    shape = next((name for name, pattern in _SHAPES.items() if _all_fit(values, pattern)), None)
    if shape:
        draft.settings["regex"] = _SHAPES[shape]
        draft.notes.append(f"each is {'an' if shape[0] in 'aei' else 'a'} {shape}")
        if shape in _PERSONAL_SHAPES:
            draft.settings["pii"] = True
        return False
    if len(values) <= _FEW and len(values) * _ROWS_PER_VALUE <= len(texts):
        draft.settings["one_of"] = sorted(values)
        return True
    lengths = [len(text) for text in values]
    letters = next((letter for letter in _LETTERS if _all_fit(values, f"{letter}+")), None)
    if letters and max(lengths) <= 12:  # longer ones are words, not codes
        draft.settings["regex"] = letters + _repeat(min(lengths), max(lengths))
    else:
        draft.settings["max_length"] = _rounded(max(lengths) * 1.5, math.ceil)
    draft.notes.append(f"{len(values):,} distinct values of {min(lengths)} to {max(lengths)} characters")
    return False


def _all_fit(texts: Sequence[str], pattern: str) -> bool:
    return bool(pc.all(fitting(pa.array(texts[:100], pa.string()), pattern)).as_py()) and bool(
        pc.all(fitting(pa.array(texts, pa.string()), pattern)).as_py()
    )


def _repeat(least: int, most: int) -> str:
    return f"{{{least}}}" if least == most else f"{{{least},{most}}}"


def _rounded(x: float, towards: Any) -> int | float:
    """Two digits, away from the values."""
    if x == 0:
        return 0
    step = 10.0 ** (math.floor(math.log10(abs(x))) - 1)
    found = towards(x / step) * step
    return int(found) if float(found).is_integer() and abs(found) < 2**53 else float(f"{found:.2g}")
