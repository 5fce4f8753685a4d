"""Versioned tables: Delta Lake, written whole or not at all, read at a version."""

from raypipe.tables._history import Commit
from raypipe.tables._part import Part, part_of, read_part, write_part
from raypipe.tables._selector import Selector
from raypipe.tables._store import TableRef, Tables
from raypipe.tables._vacuum import Vacuumed

__all__ = ["Commit", "Part", "Selector", "TableRef", "Tables", "Vacuumed", "part_of", "read_part", "write_part"]
