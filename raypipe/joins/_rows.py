"""Rows of a table's files with the types of its version."""

import pyarrow as pa
import pyarrow.parquet as pq

from raypipe.core.storage import arrow_filesystem, path_of
from raypipe.joins._view import FeatureView


def rows_schema(view: FeatureView, schema: pa.Schema) -> pa.Schema:
    """What a view reads of a table with `schema`."""
    return pa.schema([(name, schema.field(name).type) for name in view.table_columns])


def read_columns(uri: str, schema: pa.Schema) -> pa.Table:
    """The columns in `schema` of a Parquet file of a table; one that the table got after the file was written is null."""
    with arrow_filesystem(uri).open_input_file(path_of(uri)) as source:
        file = pq.ParquetFile(source)
        there = [name for name in schema.names if name in file.schema_arrow.names]
        rows = file.read(columns=there, use_threads=False)
    columns = {
        field.name: rows.column(field.name) if field.name in there else pa.nulls(rows.num_rows, field.type) for field in schema
    }
    return pa.table(columns).cast(pa.schema([(field.name, field.type) for field in schema]))
