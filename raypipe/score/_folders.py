"""Folders of predictions: each file holds rows of one value of some columns, and lies below ``name=value`` folders.

The columns stay in the files, and the table has no partitions of Delta's own: its readers skip files by the bounds of
their rows, readers of plain folders by the names.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Annotated
from urllib.parse import quote

import polars as pl
import pyarrow as pa
from pydantic import AfterValidator

from raypipe.core.digest import digest_json
from raypipe.core.errors import ConfigError

_GRAMMAR = re.compile(r"(?:(year|month|day|hour)\((\w[\w.-]*)\)|(\w[\w.-]*))")
_FORMATS = {"year": "%Y", "month": "%Y-%m", "day": "%Y-%m-%d", "hour": "%Y-%m-%dT%H"}
_NULL = "__HIVE_DEFAULT_PARTITION__"
_LONGEST = 100
MOST_FOLDERS = 1_000


def _is_folder(text: str) -> str:
    if not _GRAMMAR.fullmatch(text):
        raise ValueError(f"{text!r} is no folder; write a column, or year, month, day or hour of a time: day(prediction_time)")
    return text


Folder = Annotated[str, AfterValidator(_is_folder)]
"""``label``, or ``day(prediction_time)`` in UTC."""


def check_folders(folders: Sequence[Folder], schema: pa.Schema) -> None:
    """Refuse folders that predictions of `schema` cannot have.

    Raises:
        ConfigError: naming the columns that there are.
    """
    problems = [problem for folder in folders if (problem := _problem(*_parsed(folder), schema)) is not None]
    if problems:
        raise ConfigError([f"scoring.partition_by: {problem}" for problem in problems])


def by_folder(rows: pa.Table, folders: Sequence[Folder]) -> Iterator[tuple[str, pa.Table]]:
    """The rows of each folder in their order, by the folder's name, such as ``prediction_time_day=2013-01-01``; sorted.

    Raises:
        ConfigError: when there are more than `MOST_FOLDERS`.
    """
    parsed = [_parsed(folder) for folder in folders]
    texts = pl.DataFrame({f"{i}": _texts(rows, *folder) for i, folder in enumerate(parsed)})
    heads = [f"{column}_{part}" if part else column for part, column in parsed]
    found = texts.with_row_index("row").group_by(*texts.columns, maintain_order=True).agg("row")
    if found.height > MOST_FOLDERS:
        problem = f"scoring.partition_by gives {found.height:,} folders for {rows.num_rows:,} rows, at most {MOST_FOLDERS:,}"
        raise ConfigError([f"{problem}; take coarser ones"])
    places = {
        "/".join(f"{head}={_safe(value)}" for head, value in zip(heads, values, strict=True)): row
        for *values, row in found.iter_rows()
    }
    for name in sorted(places):
        yield name, rows.take(pa.array(places[name]))


def _parsed(folder: Folder) -> tuple[str, str]:
    """Part of a time, or "", and the column."""
    part, timed, plain = _GRAMMAR.fullmatch(folder).groups()  # type: ignore[union-attr]  # checked where it was set
    return part or "", timed or plain


def _problem(part: str, column: str, schema: pa.Schema) -> str | None:
    if column not in schema.names:
        return f"predictions have no column {column}; they have {', '.join(schema.names)}"
    kind = schema.field(column).type
    if part and not (pa.types.is_timestamp(kind) or (pa.types.is_date(kind) and part != "hour")):
        return f"{part}({column}) is of a time, and {column} is {kind}"
    if not part and pa.types.is_binary(kind):
        return f"{column} is {kind}, which has no name; take another column"
    if not part and (pa.types.is_floating(kind) or pa.types.is_timestamp(kind) or pa.types.is_nested(kind)):
        return f"{column} is {kind}, of which hardly two rows are equal; take another column, or the day of a time"
    return None


def _texts(rows: pa.Table, part: str, column: str) -> pl.Series:
    values = pl.Series(rows.column(column))
    return values.dt.strftime(_FORMATS[part]) if part else values.cast(pl.String)


def _safe(value: str | None) -> str:
    """A value as a name of a folder: other signs than letters, digits and ``_ . -`` as ``~`` and their bytes."""
    if value is None:
        return _NULL
    text = quote(value.replace("~", "%7E"), safe="%").replace("%", "~") if value != _NULL else f"~5F{_NULL[1:]}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}-{digest_json(value)[:8]}"
