"""Versioned tables: Delta Lake, written whole or not at all, read at a version."""

from raypipe.tables._store import Part, TableRef, Tables, part_of, write_part

__all__ = ["Part", "TableRef", "Tables", "part_of", "write_part"]
