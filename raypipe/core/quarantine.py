"""Quarantine: rows set aside, in one format everywhere: which stage, which rule, why, where from, and the row as it came."""

import pyarrow as pa
import pyarrow.parquet as pq

from raypipe.core.storage import Storage, write_bytes

SCHEMA = pa.schema(
    [
        ("stage", pa.string()),
        ("rule", pa.string()),
        ("column", pa.string()),
        ("reason", pa.string()),
        ("uri", pa.string()),
        ("row", pa.int64()),
        ("payload", pa.string()),
        ("contract", pa.string()),
    ]
)


def write_quarantine(storage: Storage, rows: pa.Table, *, table: str, name: str) -> str:
    """Write quarantined `rows` (of `SCHEMA`) of `table` under `name`; the same name is overwritten, never doubled.

    Returns:
        The URI of the Parquet file.
    """
    uri = storage.uri("quarantine", table, f"{name}.parquet")
    sink = pa.BufferOutputStream()
    pq.write_table(rows.cast(SCHEMA), sink)
    write_bytes(uri, sink.getvalue().to_pybytes())
    return uri
