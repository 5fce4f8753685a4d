"""A reading over Arrow tables, however they are made: the part that sources of typed rows share."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from raypipe.core.errors import SchemaMismatch, SourceError
from raypipe.core.naming import likely_renames
from raypipe.sources._source import BROKEN, ROW


class ArrowReading:
    """A fragment whose rows come as Arrow tables.

    Args:
        uri: The fragment's, for errors.
        schema: Its columns and their types; every table has them, in any order, and may have more.
        read: Gives the tables; it is told the columns that are wanted, and may give more, and `ROW` where it leaves rows out.
    """

    def __init__(
        self, uri: str, schema: pa.Schema, read: Callable[[Sequence[str]], Iterable[pa.Table | pa.RecordBatch]]
    ) -> None:
        self._uri, self._schema, self._read = uri, schema, read

    @property
    def schema(self) -> pa.Schema:
        """Columns found, with their types."""
        return self._schema

    @property
    def sha256(self) -> str | None:
        """None: there are no bytes of its own."""
        return None

    def line_of(self, row: int) -> int | None:  # noqa: ARG002
        """None: there are no lines."""
        return None

    def tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The rows, with `ROW`.

        Raises:
            SchemaMismatch: when columns are missing.
            SourceError: when a table lacks a column of the schema, or has it with another type.
        """
        wanted = checked_columns(self._uri, self._schema.names, columns)
        expected, first = pa.schema([self._schema.field(name) for name in wanted]).remove_metadata(), 0
        for found in self._read(wanted):
            table = pa.Table.from_batches([found]) if isinstance(found, pa.RecordBatch) else found
            if ROW not in table.column_names:
                table = table.append_column(ROW, pa.array(np.arange(first, first + table.num_rows)))
            yield self._as_expected(table, expected)
            first += table.num_rows

    def _as_expected(self, table: pa.Table, expected: pa.Schema) -> pa.Table:
        for field in expected:
            if table.schema.names.count(field.name) != 1:
                raise SourceError(self._uri, f"gives a table without column {field.name}", "give all tables the same columns")
            if (found := table.schema.field(field.name).type) != field.type:
                problem = f"gives column {field.name} as {field.type}, then as {found}"
                raise SourceError(self._uri, problem, "give all tables the same types")
        return table.select([*expected.names, ROW]).replace_schema_metadata()


def checked_columns(uri: str, found: Sequence[str], columns: Sequence[str]) -> list[str]:
    """`columns`, each of which is found once.

    Raises:
        SchemaMismatch: when columns are missing.
        SourceError: when one is there twice.
    """
    missing = [name for name in columns if name not in found]
    if missing:
        unexpected = [name for name in found if name not in columns]
        raise SchemaMismatch(uri, missing, unexpected, likely_renames(missing, unexpected))
    for name in found:
        if name in (ROW, BROKEN):
            raise SourceError(uri, f"has a column named {name}, a name that raypipe needs", "rename it")
    for name in columns:
        if found.count(name) > 1:
            raise SourceError(uri, f"has two columns named {name}", "rename one, or give the columns by `names`")
    return list(columns)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """`kind` without dictionary encoding, views and 64-bit offsets: what a column holds, not how it was written."""
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_large_list(kind) or pa.types.is_list(kind):
        return pa.list_(plain_type(kind.value_type))
    return kind


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """`schema` with plain types, without metadata."""
    return pa.schema([(field.name, plain_type(field.type)) for field in schema])
