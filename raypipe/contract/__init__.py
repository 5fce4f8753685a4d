"""Contracts: the declared columns of a table or a request, and the check that tells good rows from bad ones with reasons."""

from raypipe.contract._contract import Checked, Contract, Records
from raypipe.contract._rules import Column, ColumnType

__all__ = ["Checked", "Column", "ColumnType", "Contract", "Records"]
