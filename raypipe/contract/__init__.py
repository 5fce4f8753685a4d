"""Contracts: what a table or a request holds, the cleaning and the checks that tell good rows from bad ones with reasons."""

from raypipe.contract._check import Checked, Records
from raypipe.contract._cleaning import Cleaned
from raypipe.contract._column import Column
from raypipe.contract._contract import Contract
from raypipe.contract._declared import declared_rules, strict
from raypipe.contract._judge import Batch, Finding
from raypipe.contract._keys import KeySet, any_null, key_hashes
from raypipe.contract._outliers import steps_by_quantiles
from raypipe.contract._proposal import TableProposal, propose
from raypipe.contract._reasons import masked
from raypipe.contract._rules import ColumnType
from raypipe.contract._schema import SchemaDiff, schema_diff
from raypipe.contract._steps import Computed, OutlierBounds
from raypipe.contract._table_rules import Drift, Duplicates, ForeignKey, Freshness, Latest, RowBounds, RowRule

__all__ = [
    "Batch",
    "Checked",
    "Cleaned",
    "Column",
    "ColumnType",
    "Computed",
    "Contract",
    "Drift",
    "Duplicates",
    "Finding",
    "ForeignKey",
    "Freshness",
    "KeySet",
    "Latest",
    "OutlierBounds",
    "Records",
    "RowBounds",
    "RowRule",
    "SchemaDiff",
    "TableProposal",
    "any_null",
    "declared_rules",
    "key_hashes",
    "masked",
    "propose",
    "schema_diff",
    "steps_by_quantiles",
    "strict",
]
