"""The inputs of a transform as its tasks have them: by partition, or whole."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from raypipe.core.errors import ConfigError, SchemaMismatch
from raypipe.core.fragments import share
from raypipe.core.storage import join
from raypipe.tables import Scattered, TableRef, num_partitions, read_part, scatter
from raypipe.transforms._piece import BATCH_ROWS

_WHOLE_BYTES = 64 << 20
"""Of inputs that each task has whole, as compressed Parquet."""


def scatter_inputs(
    inputs: Mapping[str, TableRef], by: Sequence[str], *, folder: str, where: str
) -> tuple[dict[str, Scattered], int]:
    """Rows of all inputs by partition of equal values in `by`, and how many partitions there are.

    Raises:
        SchemaMismatch: when an input lacks a column of `by`.
        ConfigError: when it has another type than in the first input: equal values would not meet.
    """
    first = next(iter(inputs.values()))
    for inner, ref in inputs.items():
        missing = [name for name in by if name not in ref.schema.names]
        if missing:
            raise SchemaMismatch(ref.label, missing, ref.schema.names, {})
        other = [name for name in by if ref.schema.field(name).type != first.schema.field(name).type]
        if other:
            types = f"{ref.schema.field(other[0]).type} in {ref.label} and {first.schema.field(other[0]).type} in {first.label}"
            raise ConfigError(
                [f"{where}.inputs.{inner}: by column {other[0]} is {types}; cast one of them in a transform before"]
            )
    num = num_partitions(sum(part.num_bytes for ref in inputs.values() for part in ref.parts))
    found = {
        inner: scatter(ref, [part.path for part in ref.parts], by=by, num=num, folder=join(folder, inner))
        for inner, ref in inputs.items()
    }
    return found, num


def share_inputs(inputs: Mapping[str, TableRef], *, where: str) -> dict[str, Any]:
    """References to all inputs but the first, whole in the object store: each machine holds them once.

    Raises:
        ConfigError: when one is too large for that.
    """
    others = dict(list(inputs.items())[1:])
    for inner, ref in others.items():
        size = sum(part.num_bytes for part in ref.parts)
        if size > _WHOLE_BYTES:
            problem = f"{ref.label} holds {size:,} bytes, too many for each task to have it whole ({_WHOLE_BYTES:,})"
            raise ConfigError([f"{where}.inputs.{inner}: {problem}; join by the columns that it shares"])
    return share({inner: partial(_read, ref) for inner, ref in others.items()})


def _read(ref: TableRef) -> pa.Table:
    tables = [rows for part in ref.parts for rows in read_part(ref.part_uri(part), ref.schema, batch_rows=BATCH_ROWS)]
    return pa.concat_tables(tables) if tables else ref.schema.empty_table()
