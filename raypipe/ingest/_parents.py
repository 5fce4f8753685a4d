"""Keys of the tables that foreign keys name, read by workers and looked up by others."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from raypipe.contract import Contract, KeySet
from raypipe.core.errors import TableNotFound
from raypipe.ingest._repeats import rows_of
from raypipe.tables import Tables


@dataclass(frozen=True, kw_only=True)
class Files:
    """The files of a table, written but perhaps not committed, and its columns."""

    uris: tuple[str, ...]
    schema: pa.Schema


@dataclass(frozen=True, kw_only=True)
class KeyLoad:
    """Worker: the keys of a table, to look foreign keys up in."""

    files: Files
    columns: tuple[str, ...]

    def __call__(self) -> KeySet:
        """Read the key columns of all its files."""
        schema = pa.schema([self.files.schema.field(name) for name in self.columns])
        return KeySet.of([schema.empty_table(), *(rows_of(uri, schema) for uri in self.files.uris)], self.columns)


def key_loads(contract: Contract, written: Mapping[str, Files], tables: Tables) -> dict[str, KeyLoad]:
    """Work that gives the keys for each foreign key of `contract`: of tables that this run wrote, else of their latest version.

    Raises:
        TableNotFound: when a table was never written.
    """
    return {
        name: KeyLoad(files=written.get(fk.table) or _latest(fk.table, tables), columns=tuple(fk.columns.values()))
        for name, fk in contract.foreign_keys.items()
    }


def _latest(table: str, tables: Tables) -> Files:
    ref = tables.find(table)
    if ref is None:
        raise TableNotFound(table, None, "a foreign key names it")
    return Files(uris=tuple(ref.part_uri(part) for part in ref.parts), schema=ref.schema)
