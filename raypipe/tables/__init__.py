"""Versioned tables: Delta Lake, written whole or not at all, read at a version, compared, tagged, restored, vacuumed."""

from raypipe.tables._commit import NO_VERSION
from raypipe.tables._compare import Example, RowDiff, compare
from raypipe.tables._diff import ColumnFacts, SchemaChange, TableDiff, column_facts, diff
from raypipe.tables._history import Commit
from raypipe.tables._log import undone_by_restores
from raypipe.tables._part import Part, part_of, read_part, write_part
from raypipe.tables._partitions import Scattered, num_partitions, scatter, scratch
from raypipe.tables._quarantine import Found, Quarantine, Stamp, now, payload_text, rule_text
from raypipe.tables._selector import Selector
from raypipe.tables._store import TableRef, Tables
from raypipe.tables._vacuum import Vacuumed

__all__ = [
    "NO_VERSION",
    "ColumnFacts",
    "Commit",
    "Example",
    "Found",
    "Part",
    "Quarantine",
    "RowDiff",
    "Scattered",
    "SchemaChange",
    "Selector",
    "Stamp",
    "TableDiff",
    "TableRef",
    "Tables",
    "Vacuumed",
    "column_facts",
    "compare",
    "diff",
    "now",
    "num_partitions",
    "part_of",
    "payload_text",
    "read_part",
    "rule_text",
    "scatter",
    "scratch",
    "undone_by_restores",
    "write_part",
]
