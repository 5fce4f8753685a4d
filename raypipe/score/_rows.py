"""Rows of a table of predictions: the key of the event, the answer, and which model gave it when."""

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from raypipe.bundle import Bundle
from raypipe.core.digest import row_texts
from raypipe.prepare import JOINED_AT

OUTSIDE = "outside the scored window"
_NAMESPACE = uuid.UUID("6f0b6f5e-7a0c-5c55-9d6f-5c2c0f3a9e11")
_VARIANT = "89ab"
_INSTANT = pa.timestamp("us", "UTC")


@dataclass(frozen=True, kw_only=True)
class ModelId:
    """Which registered model answers: every prediction carries it."""

    name: str
    version: int
    digest: str
    bundle_uri: str


def predictions_schema(events: pa.Schema, key: Sequence[str], bundle: Bundle) -> pa.Schema:
    """The columns of predictions by `bundle` of events with `key`."""
    predicted = bundle.predict(bundle.examples.slice(0, 1)).to_table().schema
    return pa.schema(
        [
            *(events.field(name) for name in key),
            ("prediction_id", pa.string()),
            ("prediction_time", _INSTANT),
            *predicted,
            ("model_name", pa.string()),
            ("model_version", pa.int64()),
            ("model_digest", pa.string()),
            ("scored_at", _INSTANT),
        ]
    )


def prediction_rows(rows: pa.Table, inputs: pa.Table, key: Sequence[str], bundle: Bundle, model: ModelId) -> pa.Table:
    """Predictions of joined `rows`, whose `inputs` keep the contract of `bundle`."""
    num = rows.num_rows
    predicted = bundle.predict(inputs).to_table()
    columns = {
        **{name: rows.column(name) for name in key},
        **{name: predicted.column(name) for name in predicted.column_names},
        "prediction_id": prediction_ids(model.digest, rows.select(list(key))),
        "prediction_time": rows.column(JOINED_AT) if JOINED_AT in rows.column_names else pa.nulls(num, _INSTANT),
        "model_name": pa.repeat(model.name, num),
        "model_version": pa.repeat(model.version, num),
        "model_digest": pa.repeat(model.digest, num),
        "scored_at": pa.repeat(pa.scalar(datetime.now(UTC), _INSTANT), num),
    }
    return pa.table(columns, schema=predictions_schema(rows.schema, key, bundle))


def prediction_ids(digest: str, keys: pa.Table) -> list[str]:
    """Ids of the predictions by the bundle with `digest` of rows with `keys`: the same row scored again keeps its id.

    Each is ``uuid.uuid5(_NAMESPACE, f"{digest}|{text of the key}")``, made without its objects: a seventh of the time.
    """
    begun = hashlib.sha1(_NAMESPACE.bytes + f"{digest}|".encode(), usedforsecurity=False)
    return [_as_uuid5(begun, text) for text in row_texts(keys, keys.column_names)]


def _as_uuid5(begun: Any, text: str) -> str:
    whole = begun.copy()
    whole.update(text.encode())
    x = whole.hexdigest()
    return f"{x[:8]}-{x[8:12]}-5{x[13:16]}-{_VARIANT[int(x[16], 16) & 3]}{x[17:20]}-{x[20:32]}"
