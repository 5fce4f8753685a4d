"""All functions and operators, by name."""

import ast
from collections.abc import Mapping
from types import MappingProxyType

from raypipe.expressions import _numbers as numbers
from raypipe.expressions import _times as times
from raypipe.expressions._choices import AND, CHOICE_FUNCTIONS, COMPARISONS, IF, IN, NOT, OR
from raypipe.expressions._numbers import NUMBER_FUNCTIONS
from raypipe.expressions._operation import Function, Operation
from raypipe.expressions._texts import TEXT_FUNCTIONS
from raypipe.expressions._times import TIME_FUNCTIONS

FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {**CHOICE_FUNCTIONS, **NUMBER_FUNCTIONS, **TEXT_FUNCTIONS, **TIME_FUNCTIONS}
)
"""The functions of the grammar; `signature`, `gives` and `meaning` of each are what its documentation says."""


def _arithmetic(sign: str, gives: str, meaning: str, operations: tuple[Operation, ...]) -> Function:
    misfit = f"cannot compute {{0}} {sign} {{1}}"
    return Function(signature=f"a {sign} b", gives=gives, meaning=meaning, misfit=misfit, operations=operations)


_NUMBER = "int64 of int64, else float64"
OPERATORS: Mapping[type[ast.AST], Function] = MappingProxyType(
    {
        ast.Add: _arithmetic(
            "+", f"{_NUMBER}; timestamp or duration", "sum; null when it overflows or is not finite", (*numbers.ADD, *times.ADD)
        ),
        ast.Sub: _arithmetic(
            "-",
            f"{_NUMBER}; timestamp, or the duration between timestamps or dates",
            "difference; null when it overflows or is not finite",
            (*numbers.SUBTRACT, *times.SUBTRACT),
        ),
        ast.Mult: _arithmetic("*", _NUMBER, "product; null when it overflows or is not finite", numbers.MULTIPLY),
        ast.Div: _arithmetic(
            "/", "float64", "quotient, of durations too; null when b is 0, or when not finite", (numbers.DIVIDE, *times.DIVIDE)
        ),
        ast.FloorDiv: _arithmetic(
            "//",
            f"{_NUMBER}; int64 of durations",
            "quotient rounded down; null when b is 0, or when it overflows or is not finite",
            (*numbers.WHOLE_DIVIDE, *times.WHOLE_DIVIDE),
        ),
        ast.Mod: _arithmetic(
            "%",
            f"{_NUMBER}; duration of durations",
            "a - a // b * b, with the sign of b; null when b is 0, or when not finite",
            (*numbers.MODULO, *times.MODULO),
        ),
        ast.USub: Function(
            signature="-a",
            gives="kind of a",
            meaning="the opposite number or duration; null for the smallest int64",
            misfit="`-` needs a number or a duration, not {kinds}",
            operations=(*numbers.NEGATE, *times.NEGATE),
        ),
        ast.Not: NOT,
        ast.And: AND,
        ast.Or: OR,
        ast.Eq: COMPARISONS["=="],
        ast.NotEq: COMPARISONS["!="],
        ast.Lt: COMPARISONS["<"],
        ast.LtE: COMPARISONS["<="],
        ast.Gt: COMPARISONS[">"],
        ast.GtE: COMPARISONS[">="],
        ast.In: IN,
        ast.NotIn: IN,
        ast.IfExp: IF,
    }
)
"""The operators of the grammar, by their node in the syntax tree; described as functions are."""
