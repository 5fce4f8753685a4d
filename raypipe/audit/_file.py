"""A table in Parquet or CSV files, read in chunks; text as dictionaries."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from raypipe.core.errors import SourceError
from raypipe.core.storage import arrow_filesystem, list_files, path_of

CHUNK_ROWS = 1 << 17
_CSV = (".csv", ".csv.gz", ".csv.zst", ".tsv", ".txt")
_TEXTS = (pa.string(), pa.large_string())
_WAY_OUT = "name a Parquet or CSV file, or a folder of Parquet files"


@dataclass(frozen=True, kw_only=True)
class TableFile:
    """An opened table.

    Attributes:
        uri: Where it is.
        schema: Its columns.
        files: Parquet files, in the order of their names; none of a table in memory.
        rows: The rows of a CSV file, whose types are known only when all of it was read.
    """

    uri: str
    schema: pa.Schema
    files: tuple[str, ...] = ()
    rows: pa.Table | None = None

    def chunks(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Rows in their order, `columns` of them."""
        if self.rows is not None:
            for start in range(0, self.rows.num_rows, CHUNK_ROWS):
                yield self.rows.select(list(columns)).slice(start, CHUNK_ROWS)
        for uri in self.files:
            yield from _batches(uri, columns)


def open_table(uri: str) -> TableFile:
    """The table at `uri`: a Parquet or CSV file (``.csv``, ``.tsv``, also ``.gz`` and ``.zst``), or a folder of Parquet files.

    Raises:
        SourceError: nothing there, not such a file, no rows, a column twice, files with different columns.
    """
    found = list_files(uri)
    files = found if found == [uri] else [file for file in found if file.endswith(".parquet")]
    if not files:
        raise SourceError(uri, "no table is there", _WAY_OUT)
    opened = _csv(uri) if uri.lower().endswith(_CSV) else _parquet(uri, files)
    for name in opened.schema.names:
        if opened.schema.names.count(name) > 1:
            raise SourceError(uri, f"has two columns {name!r}", "give each its own name")
    return opened


def _csv(uri: str) -> TableFile:
    convert = pcsv.ConvertOptions(strings_can_be_null=True, auto_dict_encode=True, auto_dict_max_cardinality=10_000)
    parse = pcsv.ParseOptions(delimiter="\t" if ".tsv" in uri.lower() else ",", newlines_in_values=True)
    try:
        with arrow_filesystem(uri).open_input_stream(path_of(uri), compression="detect") as stream:
            rows = pcsv.read_csv(stream, parse_options=parse, convert_options=convert)
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
        raise SourceError(uri, f"is no CSV file ({str(error).splitlines()[0]})", _WAY_OUT) from error
    if not rows.num_rows:
        raise SourceError(uri, "has no rows", "an audit needs rows")
    return TableFile(uri=uri, schema=rows.schema, rows=rows)


def _parquet(uri: str, files: Sequence[str]) -> TableFile:
    schemas, num_rows = [], 0
    for file in files:
        try:
            with arrow_filesystem(file).open_input_file(path_of(file)) as source:
                footer = pq.ParquetFile(source)
                schemas.append(footer.schema_arrow.remove_metadata())
                num_rows += footer.metadata.num_rows
        except (pa.ArrowInvalid, OSError) as error:
            raise SourceError(file, f"is no whole Parquet file ({str(error).splitlines()[0]})", _WAY_OUT) from error
    for file, schema in zip(files, schemas, strict=True):
        if schema != schemas[0]:
            raise SourceError(file, f"has other columns than {files[0]}", "audit files of one schema")
    if not num_rows:
        raise SourceError(uri, "has no rows", "an audit needs rows")
    return TableFile(uri=uri, schema=schemas[0], files=tuple(files))


def _batches(uri: str, columns: Sequence[str]) -> Iterator[pa.Table]:
    with arrow_filesystem(uri).open_input_file(path_of(uri)) as source:
        plain = pq.ParquetFile(source)
        texts = [field.name for field in plain.schema_arrow if field.name in columns and field.type in _TEXTS]
        file = pq.ParquetFile(source, metadata=plain.metadata, read_dictionary=texts)
        for batch in file.iter_batches(CHUNK_ROWS, columns=list(columns)):
            yield pa.Table.from_batches([batch]).select(list(columns))
