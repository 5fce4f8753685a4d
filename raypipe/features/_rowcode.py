"""The row back end: the source of one function that turns a record into tensors, compiled once for a fitted feature set.

Only names made here and `repr` of column names are in the source; every constant, table and function is bound by name. A
value in it has the form that expressions use: None for null, instants as microseconds, dates as days since the epoch.
"""

import datetime as dt
import math
from array import array
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from raypipe.core.errors import FeatureError
from raypipe.core.kinds import Kind
from raypipe.core.tensors import Tensors
from raypipe.expressions import Expression

RowFunction = Callable[[Mapping[str, object]], Tensors]
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_EPOCH_DAY = dt.date(1970, 1, 1).toordinal()
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1
_EXACT_TYPE = {"float64": "float", "int64": "int", "bool": "bool", "string": "str"}


class Derivations(Protocol):
    """What the row function needs of a feature set: its derived columns."""

    @property
    def derived(self) -> Mapping[str, Expression]: ...


class RowCode:
    """The row function under construction; each column and each shared value is computed once.

    Args:
        features: Knows the derived columns.
        inputs: Kind of each raw column.
    """

    def __init__(self, features: Derivations, inputs: Mapping[str, Kind]) -> None:
        self._features = features
        self._kinds = dict(inputs)
        self._lines: list[str] = []
        self._names: dict[str, object] = {"nan": math.nan}
        self._shared: dict[object, str] = {}

    def kind(self, column: str) -> Kind:
        """The kind of a raw or derived column."""
        if column not in self._kinds:
            expression = self._features.derived[column]
            kind = expression.kind_in({name: self.kind(name) for name in expression.columns})
            self._kinds[column] = cast("Kind", kind)
        return self._kinds[column]

    def bind(self, value: object) -> str:
        """A name for a constant, a table or a function."""
        name = f"k{len(self._names)}"
        self._names[name] = value
        return name

    def line(self, text: str) -> None:
        """Append a statement."""
        self._lines.append(text)

    def let(self, expression: str) -> str:
        """A new variable that holds `expression`."""
        name = f"v{len(self._lines)}"
        self.line(f"{name} = {expression}")
        return name

    def shared(self, key: object, make: Callable[[], str]) -> str:
        """The variable that `make` gives, made once for `key`."""
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]

    def value(self, column: str) -> str:
        """Variable with the value of a raw or derived column, None for null."""
        return self.shared(("value", column), lambda: self._value(column))

    def number(self, column: str) -> str:
        """Variable with a numeric or boolean column as float, NaN for null."""
        return self.shared(("number", column), lambda: self._number(column))

    def _value(self, column: str) -> str:
        expression = self._features.derived.get(column)
        if expression is not None:
            function = self.bind(expression.row_function({name: self.kind(name) for name in expression.columns}))
            return self.let(f"{function}({', '.join(self.value(name) for name in expression.columns)})")
        kind = self.kind(column)
        v, read = self.let(f"get({column!r})"), self.bind(Door(column, kind).read)
        if kind == "string":
            self.line(f"if type({v}) is not str or not {v}.isascii(): {v} = {read}({v})")
        elif kind in ("float64", "bool"):
            self.line(f"if type({v}) is not {_EXACT_TYPE[kind]}: {v} = {read}({v})")
        else:
            self.line(f"if {v} is not None: {v} = {read}({v})")
        return v

    def _number(self, column: str) -> str:
        if column not in self._features.derived and self.kind(column) in ("float64", "int64"):
            v, read = self.let(f"get({column!r})"), self.bind(Door(column, self.kind(column)).number)
            if self.kind(column) == "float64":
                self.line(f"if type({v}) is not float: {v} = {read}({v})")
                return v
            fits = f"type({v}) is int and {_LOWEST} <= {v} <= {_HIGHEST}"
            return self.let(f"float({v}) if {fits} else {read}({v})")
        v = self.value(column)
        return self.let(f"nan if {v} is None else {'' if self.kind(column) == 'float64' else 'float'}({v})")

    def function(self, outputs: Mapping[str, Iterable[str]]) -> RowFunction:
        """The compiled function; `outputs` are the expressions of each tensor's columns."""
        result = []
        for tensor, expressions in outputs.items():
            make = self.bind(TENSORS[tensor])
            result.append(f"{tensor!r}: {make}(({''.join(f'{e}, ' for e in expressions)}))")
        body = "\n    ".join(["get = record.get", *self._lines, f"return {{{', '.join(result)}}}"])
        scope = dict(self._names)
        exec(compile(f"def row(record):\n    {body}\n", "<row function>", "exec"), scope)  # made above, of names
        return cast("RowFunction", scope["row"])


class Door:
    """Reads one raw column of a record: natural Python values in, values of the row back end out."""

    def __init__(self, column: str, kind: Kind) -> None:
        self._column, self._kind = column, kind
        self._reader = _READERS[kind]

    def read(self, value: object) -> object:
        """The value in the row back end's form, None for null.

        Raises:
            FeatureError: when the value is not of the column's kind.
        """
        if value is None:
            return None
        try:
            return self._reader(value)
        except (TypeError, ValueError, OverflowError) as error:
            shown = repr(value)
            shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
            problem = f"{shown} is not a value of kind {self._kind}"
            raise FeatureError(self._column, problem, "pass values of the kind that was fitted") from error

    def number(self, value: object) -> float:
        """The value as float, NaN for null."""
        found = self.read(value)
        return math.nan if found is None else float(found)  # type: ignore[arg-type]  # float, int or bool


def _float(value: object) -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (float, int, np.floating, np.integer)):
        raise TypeError
    return float(_int(value) if isinstance(value, (int, np.integer)) else value)


def _int(value: object) -> int:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError
    if not _LOWEST <= value <= _HIGHEST:
        raise OverflowError
    return int(value)


def _bool(value: object) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError
    return bool(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    value.encode()  # a lone surrogate is not text: UnicodeEncodeError is a ValueError
    return str.__str__(value)  # of a member of a text enum, `str(value)` is its name


def _instant(value: object) -> int:
    if not isinstance(value, dt.datetime) or value.tzinfo is None:
        raise TypeError
    since = value - _EPOCH
    return since.days * 86_400_000_000 + since.seconds * 1_000_000 + since.microseconds


def _date(value: object) -> int:
    if not isinstance(value, dt.date) or isinstance(value, dt.datetime):
        raise TypeError
    return value.toordinal() - _EPOCH_DAY


def _duration(value: object) -> int:
    if not isinstance(value, dt.timedelta):
        raise TypeError
    return _int(value.days * 86_400_000_000 + value.seconds * 1_000_000 + value.microseconds)


def _items(value: object) -> list[object]:
    if not isinstance(value, (list, tuple, np.ndarray)):
        raise TypeError
    return list(value)


def _texts(value: object) -> list[object]:
    return [None if item is None else _text(item) for item in _items(value)]


def _ints(value: object) -> list[object]:
    return [None if item is None else _int(item) for item in _items(value)]


def _vector(value: object) -> list[object]:
    return [math.nan if item is None else _float(item) for item in _items(value)]


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError
    return value


_READERS: dict[Kind, Callable[[object], object]] = {
    "float64": _float,
    "int64": _int,
    "bool": _bool,
    "string": _text,
    "timestamp": _instant,
    "date": _date,
    "duration": _duration,
    "list<string>": _texts,
    "list<int64>": _ints,
    "vector": _vector,
    "binary": _bytes,
}


def _numbers_row(values: tuple[float, ...]) -> NDArray[np.float32]:
    """x_NF of one row; unlike NumPy's own conversion, C's rounds to infinity without a warning, as columns do."""
    return np.ndarray((1, len(values)), np.float32, array("f", values)) if values else np.empty((1, 0), np.float32)


def _categories_row(values: tuple[int, ...]) -> NDArray[np.int32]:
    return np.array((values,), np.int32) if values else np.empty((1, 0), np.int32)


TENSORS: Mapping[str, Callable[..., NDArray[Any]]] = {"numbers_NF": _numbers_row, "categories_NC": _categories_row}
