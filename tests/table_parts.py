"""Small tables for tests: rows by id, and a writer that names its parts and facts by a label."""

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raypipe.core.storage import Storage, arrow_filesystem, path_of
from raypipe.tables import Part, TableRef, Tables, write_part

SCHEMA = pa.schema([("id", pa.int64()), ("x", pa.float64()), ("s", pa.string()), ("t", pa.timestamp("us", "UTC"))])


def rows(*ids: int) -> pa.Table:
    return pa.table({"id": ids, "x": [i / 2 for i in ids], "s": [f"ü{i}" for i in ids], "t": [i * 10**9 for i in ids]}).cast(
        SCHEMA
    )


def read(ref: TableRef) -> list[int]:
    uris = [ref.part_uri(part) for part in ref.parts]
    return [i for uri in uris for i in pq.read_table(path_of(uri), filesystem=arrow_filesystem(uri)).column("id").to_pylist()]


class Writer:
    """Commits rows to one table, a part for each group of ids."""

    def __init__(self, storage: Storage, name: str = "t") -> None:
        self.tables, self.name = Tables(storage), name

    @property
    def uri(self) -> str:
        return self.tables.uri(self.name)

    def parts(self, label: str, *groups: tuple[int, ...]) -> list[Part]:
        return [write_part(self.uri, f"part-{label}-{i}.parquet", rows(*ids)) for i, ids in enumerate(groups)]

    def commit(self, label: str, *groups: tuple[int, ...], mode: Any = "overwrite", **more: Any) -> TableRef:
        how = {key: more.pop(key) for key in ("remove", "after") if key in more}
        facts = {"label": label, **more}
        return self.tables.commit(
            self.name, self.parts(label, *groups), SCHEMA, mode=mode, transaction=label, facts=facts, **how
        )
