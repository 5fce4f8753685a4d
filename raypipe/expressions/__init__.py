"""Expressions: a small safe grammar over columns, for derived columns, labels and row rules written in YAML."""

from raypipe.expressions._expression import Expression, compile_expression

__all__ = ["Expression", "compile_expression"]
