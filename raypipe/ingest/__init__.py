"""Ingest: source, contract, table and quarantine composed in one pass."""

from raypipe.ingest._ingest import Ingested, TableSpec, ingest_tables

__all__ = ["Ingested", "TableSpec", "ingest_tables"]
