"""Ingest: source, contract, table and quarantine composed in one pass; and the replay of what was set aside."""

from raypipe.ingest._chunks import ROWS_PER_PART
from raypipe.ingest._commands import run_contract_check, run_contract_infer
from raypipe.ingest._ingest import ingest_tables
from raypipe.ingest._replay import Replayed, replay_table
from raypipe.ingest._spec import Ingested, TableSpec

__all__ = [
    "Ingested",
    "ROWS_PER_PART",
    "Replayed",
    "TableSpec",
    "ingest_tables",
    "replay_table",
    "run_contract_check",
    "run_contract_infer",
]
