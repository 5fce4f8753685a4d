"""Answers of SQL and of users' functions in the types that tables have."""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from raypipe.core.errors import ConfigError
from raypipe.core.kinds import ARROW, kind_of


def typed(found: pa.Table, where: str) -> pa.Table:
    """`found` with each column in the type of its kind: whole decimals (sums of integers) are int64, other decimals float64.

    Timestamps without a zone are read as UTC. Columns of nulls alone stay, for the contract to type.

    Raises:
        ConfigError: naming a column that a table cannot have, or numbers too large for int64.
    """
    repeated = sorted({name for name in found.column_names if found.column_names.count(name) > 1})
    if repeated:
        raise ConfigError([f"{where}: column {repeated[0]} is there twice; give one of them another name"])
    cells = {name: _column(found.column(name), name, where) for name in found.column_names}
    return pa.table(cells)


def _column(cells: pa.ChunkedArray, name: str, where: str) -> pa.ChunkedArray:
    if pt.is_null(cells.type):
        return cells
    if pt.is_decimal(cells.type):
        wanted = pa.int64() if cells.type.scale == 0 else pa.float64()
    elif pt.is_timestamp(cells.type):
        wanted = ARROW["timestamp"]
    else:
        kind = kind_of(cells.type)
        if kind is None or kind == "duration":
            raise ConfigError([f"{where}: column {name} is {cells.type}, which a table cannot hold; cast it to another type"])
        wanted = ARROW[kind]
    if cells.type == wanted:
        return cells
    try:
        return pc.cast(cells, wanted)
    except pa.ArrowInvalid as error:
        problem = f"{where}: column {name} of {cells.type} does not fit {wanted} ({error})"
        raise ConfigError([problem]) from error
