"""Ingest: source, contract, table and quarantine composed in one pass; and the replay of what was set aside."""

from raypipe.ingest._ingest import ingest_tables
from raypipe.ingest._spec import Ingested, TableSpec

__all__ = ["Ingested", "TableSpec", "ingest_tables"]
