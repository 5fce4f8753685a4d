"""The columns back end's view of a table: each raw and derived column decoded once, in the form that features need."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from raypipe.core.errors import FeatureError
from raypipe.core.kinds import ARROW, LISTS, Kind, kind_of, to_numbers
from raypipe.expressions import Expression

T = TypeVar("T")
_TAKEN_FOR = {("int64", "float64"), ("list<int64>", "vector")}
"""Kinds of columns that are taken for another kind: whole numbers for decimal ones."""


class Derivations(Protocol):
    """What `Cells` needs of a feature set: its derived columns."""

    @property
    def derived(self) -> Mapping[str, Expression]: ...


@dataclass(frozen=True)
class Layout:
    """Where columns are in tables of one schema.

    Attributes:
        schema: Of the tables.
        places: The place of each column; -1 for a name that several columns have.
        ready: Names and places of raw columns that have the Arrow type of their kind.
    """

    schema: pa.Schema
    places: Mapping[str, int]
    ready: tuple[tuple[str, int], ...]


class Layouts:
    """The layout of the latest schema: to find it takes as long as to transform ten rows."""

    def __init__(self, features: Derivations, inputs: Mapping[str, Kind]) -> None:
        self._kinds = {name: kind for name, kind in inputs.items() if name not in features.derived}
        self._latest = Layout(pa.schema([]), {}, ())

    def of(self, schema: pa.Schema) -> Layout:
        """The layout of tables with this schema."""
        latest = self._latest
        if not schema.equals(latest.schema):
            places = {name: schema.get_field_index(name) for name in schema.names}
            named = [(name, place) for name, place in places.items() if place >= 0 and name in self._kinds]
            ready = tuple(pair for pair in named if schema.field(pair[1]).type == ARROW[self._kinds[pair[0]]])
            latest = self._latest = Layout(schema, places, ready)
        return latest


class Cells:
    """Columns of one table by name; what several features share is computed once.

    Args:
        features: Knows the derived columns.
        inputs: Kind of each raw column, as fitted.
        table: Holds the raw columns; others are ignored.
        layouts: Kept by the caller from table to table.
    """

    def __init__(
        self, features: Derivations, inputs: Mapping[str, Kind], table: pa.Table, layouts: Layouts | None = None
    ) -> None:
        self.num_rows = table.num_rows
        self._features, self._inputs, self._table = features, inputs, table
        layout = (layouts or Layouts(features, inputs)).of(table.schema)
        self._places = layout.places
        self._columns: dict[str, pa.Array] = {}
        batches = table.to_batches() if table.num_columns and table.column(0).num_chunks == 1 else []
        if len(batches) == 1:
            arrays = batches[0].columns
            self._columns = {name: arrays[place] for name, place in layout.ready}
        self._numbers: dict[str, NDArray[np.float64]] = {}
        self._shared: dict[object, object] = {}

    def column(self, name: str) -> pa.Array:
        """A raw or derived column as one array of its kind's Arrow type; text may stay dictionary-encoded.

        Raises:
            FeatureError: when the column is missing, is of another kind than was fitted, or cannot be derived.
        """
        if name not in self._columns:
            expression = self._features.derived.get(name)
            self._columns[name] = self._raw(name) if expression is None else self._derive(name, expression)
        return self._columns[name]

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A numeric or boolean column as float64, NaN for null. Not to be written to: it may be the table's memory."""
        if name not in self._numbers:
            self._numbers[name] = to_numbers(self.column(name))
        return self._numbers[name]

    def shared(self, key: object, make: Callable[[], T]) -> T:
        """What `make` gives, computed once for `key`."""
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]  # type: ignore[return-value]  # one key, one type

    def _raw(self, name: str) -> pa.Array:
        place = self._places.get(name, -1)
        if place < 0:
            raise FeatureError(name, "is not a column of the rows to transform", "pass all of `input_columns`")
        return normal(_joined(self._table.column(place)), name, self._inputs[name])

    def _derive(self, name: str, expression: Expression) -> pa.Array:
        operands = pa.table({column: self.column(column) for column in expression.columns})
        if not expression.columns:  # a constant has a value for each row, too
            operands = self._table
        try:
            return expression.evaluate(operands)
        except FeatureError as error:
            raise FeatureError(name, error.problem, f"it is derived as {error.subject}; {error.way_out}") from error


def normal(cells: pa.Array, name: str, kind: Kind) -> pa.Array:
    """`cells` as the Arrow type of `kind`, dictionaries of text kept.

    Whole numbers are taken for decimal ones, and nothing else for anything else; an untyped column is all null, and untyped
    lists are empty or hold nulls. Instants finer than a microsecond are rounded down.

    Raises:
        FeatureError: for a column of another kind, or with a value out of the range of its kind.
    """
    if cells.type == ARROW[kind]:
        return cells
    found = kind_of(cells.type)
    if pt.is_null(cells.type) or (_is_untyped_list(cells.type) and kind in LISTS):
        return pc.cast(cells, ARROW[kind])
    if found != kind and (found, kind) not in _TAKEN_FOR:
        problem = f"was fitted on {kind}, and column {name} now is {cells.type}"
        raise FeatureError(name, problem, "pass rows of the kind that was fitted")
    if pt.is_dictionary(cells.type):
        if kind == "string" and cells.type.value_type == pa.string():
            return cells
        cells = cells.dictionary_decode()
    try:
        return _converted(cells, kind)
    except pa.ArrowInvalid as error:
        problem = f"column {name} is {cells.type}, and holds a value out of the range of {kind}"
        raise FeatureError(name, problem, "pass rows of the kind that was fitted") from error


def _converted(cells: pa.Array, kind: Kind) -> pa.Array:
    if pt.is_uint64(cells.type):  # a record's whole numbers are int64 in any case
        cells = pc.cast(cells, pa.int64())
    if pt.is_date64(cells.type):
        return _rounded_down(cells, 86_400_000).cast(pa.int32()).cast(ARROW[kind])
    if kind in ("timestamp", "duration") and cells.type.unit == "ns":
        return _rounded_down(cells, 1000).cast(ARROW[kind])
    return pc.cast(cells, ARROW[kind], safe=kind not in ("float64", "vector"))  # 2**53 + 1 is rounded, as Python's float is


def _rounded_down(cells: pa.Array, divisor: int) -> pa.Array:
    return pa.array(to_int64(cells, 0) // divisor, mask=is_null(cells))


def _is_untyped_list(found: pa.DataType) -> bool:
    is_list = pt.is_list(found) or pt.is_large_list(found) or pt.is_fixed_size_list(found)
    return bool(is_list and pt.is_null(found.value_type))


def to_int64(cells: pa.Array, null: int) -> NDArray[np.int64]:
    """int64 of whole numbers, dates or instants; `null` for null."""
    values: NDArray[np.int64] = pc.fill_null(cells.cast(pa.int64()), null).to_numpy(zero_copy_only=False)
    return values


def is_null(cells: pa.Array) -> NDArray[np.bool_]:
    """Where cells are null, through the dictionary of a dictionary-encoded column."""
    if pt.is_dictionary(cells.type) and cells.dictionary.null_count:
        cells = cells.dictionary_decode()
    mask: NDArray[np.bool_] = cells.is_null().to_numpy(zero_copy_only=False)
    return mask


def _joined(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks < 2:
        return column.chunk(0) if column.num_chunks else pa.array([], column.type)
    if pt.is_dictionary(column.type):
        if any(chunk.dictionary.null_count for chunk in column.chunks):  # Arrow does not unify these
            column = pa.chunked_array([chunk.dictionary_decode() for chunk in column.chunks])
        else:
            column = column.unify_dictionaries()
    found = column.combine_chunks()
    return found if isinstance(found, pa.Array) else pa.concat_arrays(found.chunks)
