"""The input columns of a bundle: the contract they keep, and where each comes from when a prediction is asked for."""

import base64
import datetime as dt
import math
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from raypipe.contract import Column, Contract
from raypipe.core.kinds import LISTS

REQUEST = "request"
VIEW_PREFIX = "view:"
_JSON_TYPES: dict[str, dict[str, Any]] = {
    "string": {"type": "string"},
    "int64": {"type": "integer"},
    "float64": {"type": "number"},
    "bool": {"type": "boolean"},
    "timestamp": {"type": "string", "format": "date-time"},
    "date": {"type": "string", "format": "date"},
    "list<string>": {"type": "array", "items": {"type": "string"}},
    "list<int64>": {"type": "array", "items": {"type": "integer"}},
    "vector": {"type": "array", "items": {"type": "number"}},
    "binary": {"type": "string", "contentEncoding": "base64"},
}


def inputs_to_dict(inputs: Contract, sources: Mapping[str, str]) -> dict[str, Any]:
    """As stored in inputs.json: the contract, its columns as a list in order, each with its `source`."""
    plain = inputs.to_dict()
    columns = [{"name": name, **column, "source": sources[name]} for name, column in plain["columns"].items()]
    return {**plain, "columns": columns}


def inputs_from_dict(data: Mapping[str, Any]) -> Contract:
    """The contract of `inputs_to_dict`, columns in the same order."""
    columns = {c["name"]: {k: v for k, v in c.items() if k not in ("name", "source")} for c in data["columns"]}
    return Contract.from_dict({**data, "columns": columns})


def sources_from_dict(data: Mapping[str, Any]) -> dict[str, str]:
    """The sources of `inputs_to_dict`."""
    return {column["name"]: column["source"] for column in data["columns"]}


def is_source(text: str) -> bool:
    """True for ``request`` and ``view:NAME``."""
    return text == REQUEST or (text.startswith(VIEW_PREFIX) and len(text) > len(VIEW_PREFIX))


def json_schema(inputs: Contract, sources: Mapping[str, str]) -> dict[str, Any]:
    """The JSON Schema of one prediction record; ``x-source`` says whether a column is of the request or of a view."""
    required = [name for name in inputs.columns if not inputs.nullable(name)]
    properties = {
        name: {**_property(column, nullable=inputs.nullable(name)), "x-source": sources[name]}
        for name, column in inputs.columns.items()
    }
    return {"type": "object", "properties": properties, "required": required}


def json_rows(table: pa.Table) -> list[dict[str, Any]]:
    """All rows of `table` as JSON values: instants as ISO-8601 with zone, dates as ISO-8601, bytes as base64, NaN as null."""
    return [{name: _to_json(value) for name, value in row.items()} for row in table.to_pylist()]


def _property(column: Column, *, nullable: bool) -> dict[str, Any]:
    schema = dict(_JSON_TYPES[column.type])
    if nullable:
        schema["type"] = [schema["type"], "null"]
    if column.clean or column.severity == "warn":  # rules of the cleaned value, which only the contract knows, or that keep it
        return schema
    length = "Items" if column.type in LISTS else "Length"
    words: dict[str, Any] = {f"min{length}": column.min_length, f"max{length}": column.max_length}
    if isinstance(column.lowest, (int, float)) or isinstance(column.highest, (int, float)):
        words |= {"minimum": column.min, "maximum": column.max}
    schema |= {word: bound for word, bound in words.items() if bound is not None}
    if column.regex is not None:
        schema["pattern"] = f"^(?:{column.regex})$"
    if column.one_of is not None:
        schema["enum"] = [*column.one_of, *([None] if nullable else [])]
    return schema


def _to_json(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list):
        return [_to_json(element) for element in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
