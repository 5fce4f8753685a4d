"""Operations on text. Positions and lengths count code points; patterns are literals, taken as they are."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.expressions._operation import LITERAL, Function, Operation, Option, same

_FAR = 1_000_000  # beyond any text that is sliced, and small enough for Arrow's sums of positions


def _cased(kernel: Callable[[pa.Array], pa.Array], one: Callable[[str], str]) -> Operation:
    """Python and Arrow agree on ASCII only; for other text, one row asks the kernel of the columns."""

    def row(text: str) -> object:
        return one(text) if text.isascii() else kernel(pa.array([text]))[0].as_py()

    return Operation(takes=("string",), gives="string", columns=kernel, row=row)


def _of_text(signature: str, operation: Operation, *, meaning: str, options: Sequence[Option] = ()) -> Function:
    name = signature.partition("(")[0]
    return Function(
        signature=signature,
        gives=operation.gives,
        meaning=meaning,
        misfit=f"{name} needs text, not {{kinds}}",
        operations=(operation,),
        options=dict(enumerate(options, start=1)),
    )


def _test(kernel: Callable[..., pa.Array], row: str) -> Operation:
    def columns(texts: pa.Array, pattern: str) -> pa.Array:
        return kernel(texts, pattern=pattern)

    return Operation(takes=("string", LITERAL), gives="bool", columns=columns, row=row)


def _text_problem(value: object) -> str:
    return "" if isinstance(value, str) else "expected a text literal, such as 'AA'"


def _pattern_problem(value: object) -> str:
    return _text_problem(value) or ("" if value else "expected a text literal that is not empty")


def _position_problem(value: object) -> str:
    fits = type(value) is int and -_FAR <= value <= _FAR
    return "" if fits else f"expected a whole number from {-_FAR} to {_FAR} as a literal"


def _length_problem(value: object) -> str:
    return "" if type(value) is int and 0 <= value <= _FAR else f"expected a literal length from 0 to {_FAR}"


def _end(start: int, length: int) -> int | None:
    """Where a piece ends in Python's counting: None for the end of the text."""
    end = start + length
    return None if start < 0 <= end else end


def _substr(texts: pa.Array, start: int, length: int) -> pa.Array:
    return pc.utf8_slice_codeunits(texts, start=start, stop=_end(start, length))


def _substr_row(text: str, start: int, length: int) -> str:
    return text[start : _end(start, length)]


def _replace(texts: pa.Array, old: str, new: str) -> pa.Array:
    return pc.replace_substring(texts, pattern=old, replacement=new)


def _length(texts: pa.Array) -> pa.Array:
    return pc.utf8_length(texts).cast(pa.int64())


def _concat(left: pa.Array, right: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(left, right, "")


def _as_text(cells: pa.Array) -> pa.Array:
    return cells.cast(pa.string())


TEXT_FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {
        "lower": _of_text(
            "lower(text)",
            _cased(pc.utf8_lower, str.lower),
            meaning="text in lower case, letter by letter",
        ),
        "upper": _of_text(
            "upper(text)",
            _cased(pc.utf8_upper, str.upper),
            meaning="text in upper case, letter by letter",
        ),
        "trim": _of_text(
            "trim(text)",
            _cased(pc.utf8_trim_whitespace, str.strip),
            meaning="text without white space at both ends",
        ),
        "length": _of_text(
            "length(text)",
            Operation(takes=("string",), gives="int64", columns=_length, row="len({0})"),
            meaning="number of code points",
        ),
        "concat": Function(
            signature="concat(a, b, ...)",
            gives="string",
            meaning="texts one after the other; null when one is null",
            misfit="concat needs texts, not {kinds}; to_text(x) makes text",
            operations=(Operation(takes=("string", "string"), gives="string", columns=_concat, row="{0} + {1}"),),
            is_variadic=True,
        ),
        "substr": _of_text(
            "substr(text, start, length)",
            Operation(takes=("string", LITERAL, LITERAL), gives="string", columns=_substr, row=_substr_row),
            meaning="up to `length` code points from `start` on, counted from 0, or back from the end when negative",
            options=(_position_problem, _length_problem),
        ),
        "contains": _of_text(
            "contains(text, 'part')",
            _test(pc.match_substring, "{1} in {0}"),
            meaning="whether 'part' is in text",
            options=(_pattern_problem,),
        ),
        "starts_with": _of_text(
            "starts_with(text, 'part')",
            _test(pc.starts_with, "{0}.startswith({1})"),
            meaning="whether text begins with 'part'",
            options=(_pattern_problem,),
        ),
        "ends_with": _of_text(
            "ends_with(text, 'part')",
            _test(pc.ends_with, "{0}.endswith({1})"),
            meaning="whether text ends with 'part'",
            options=(_pattern_problem,),
        ),
        "replace": _of_text(
            "replace(text, 'old', 'new')",
            Operation(takes=("string", LITERAL, LITERAL), gives="string", columns=_replace, row="{0}.replace({1}, {2})"),
            meaning="text with each 'old' replaced, from the left, without overlaps",
            options=(_pattern_problem, _text_problem),
        ),
        "to_text": Function(
            signature="to_text(x)",
            gives="string",
            meaning="a whole number in decimal digits, a boolean as true or false, text as it is",
            misfit="to_text needs int64, bool or text, not {kinds}",
            operations=(
                Operation(takes=("int64",), gives="string", columns=_as_text, row="str({0})"),
                Operation(takes=("bool",), gives="string", columns=_as_text, row="'true' if {0} else 'false'"),
                Operation(takes=("string",), gives="string", columns=same, row="{0}"),
            ),
        ),
    }
)
