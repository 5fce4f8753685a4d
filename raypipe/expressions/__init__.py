"""Expressions: a small safe grammar over columns, for derived columns, labels and row rules written in YAML."""

from raypipe.expressions._expression import Expression, compile_expression
from raypipe.expressions._functions import FUNCTIONS, OPERATORS
from raypipe.expressions._operation import Function

__all__ = ["FUNCTIONS", "OPERATORS", "Expression", "Function", "compile_expression"]
