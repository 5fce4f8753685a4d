"""FittedFeatures: the frozen value that a fit gives and that training, scoring and serving take."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Annotated, Any, Protocol, TypeVar, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from raypipe.core.config import build, config
from raypipe.core.errors import BundleError
from raypipe.core.kinds import ARROW, Kind
from raypipe.core.tensors import Tensors, TensorSpecs
from raypipe.features._bucket import FittedBucket
from raypipe.features._calendar import FittedCyclic, FittedPart
from raypipe.features._category_outputs import CategoryBlock, FittedCategory, FittedFrequency, FittedHash, FittedOneHot
from raypipe.features._cells import Cells, Layouts
from raypipe.features._encoder import FittedEncoder
from raypipe.features._feature_set import FeatureSet
from raypipe.features._lists import FittedMultiHot, FittedVector
from raypipe.features._number_outputs import FittedIndicator, FittedNumber, NumberBlock
from raypipe.features._plain import Packed, pack, unpack
from raypipe.features._protocols import TensorName
from raypipe.features._rowcode import Door, RowCode, RowFunction
from raypipe.features._target import FittedTarget
from raypipe.profiles import Vocabulary

FORMAT = 2
JSON_FILE, ARROW_FILE = "features.json", "features.arrow"
_FEW_ROWS = 512  # up to so many records one call of the row function each is faster than columns
_Vectors = FittedMultiHot | FittedVector | FittedEncoder
AnyOutput = (
    FittedNumber
    | FittedIndicator
    | FittedCyclic
    | FittedOneHot
    | FittedFrequency
    | _Vectors
    | FittedTarget
    | FittedCategory
    | FittedPart
    | FittedBucket
    | FittedHash
)


class MapBatches(Protocol):
    """What `transform` needs of a Ray Dataset."""

    def map_batches(self, fn: Any, *, batch_format: str) -> Any: ...


INDICES = (FittedCategory, FittedPart, FittedBucket, FittedHash)
_Dataset = TypeVar("_Dataset", bound=MapBatches)


@dataclass(frozen=True, kw_only=True)
class OutputDescription:
    """Outputs of a feature for a report: name, tensor, type, kind, the raw columns they come from, and formula as text."""

    name: str
    tensor: TensorName
    type: str
    kind: str
    sources: tuple[str, ...]
    statistics: str


@config
class FittedFeatures:
    """A feature set with the statistics of its training rows. Plain data, no code.

    Attributes:
        features: The spec.
        inputs: Kind of each raw column that it reads.
        outputs: Columns of the tensors, in the order of the spec.
        rows: Number of training rows.
    """

    features: FeatureSet
    inputs: dict[str, Kind]
    outputs: tuple[Annotated[AnyOutput, Field(discriminator="kind")], ...]
    rows: int

    def __getstate__(self) -> dict[str, Any]:
        """Without what is compiled from it."""
        return {f.name: vars(self)[f.name] for f in fields(self)}

    @cached_property
    def specs(self) -> TensorSpecs:
        """Names of the tensors' columns, and the number of indices of each category."""
        numbers, categories = self._of("numbers_NF"), self._of("categories_NC")
        return TensorSpecs(
            numbers=tuple(name for output in numbers for name in output.names),
            categories=tuple(name for output in categories for name in output.names),
            cardinalities=tuple(size for output in categories if isinstance(output, INDICES) for size in output.cardinalities),
        )

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Raw columns that `transform` needs."""
        return self.features.input_columns

    @property
    def modules(self) -> tuple[str, ...]:
        """The user's modules that features call."""
        return self.features.modules

    @overload
    def transform(self, rows: pa.Table | pa.RecordBatch) -> Tensors: ...
    @overload
    def transform(self, rows: _Dataset) -> _Dataset: ...  # type: ignore[overload-cannot-match]  # pyarrow has no types
    def transform(self, rows: Any) -> Any:
        """Named tensors of a table, new and C-contiguous; or, of a Ray Dataset, lazily the Dataset of output columns.

        A row gives the same bits alone and in company, in a table, in a block, and through `row`.

        Args:
            rows: Holds `input_columns`, in any order and chunking; other columns are ignored.

        Raises:
            FeatureError: when a column is missing or is of another kind than was fitted.
        """
        if not isinstance(rows, (pa.Table, pa.RecordBatch)):
            return rows.map_batches(self.transform_table, batch_format="pyarrow")
        numbers_NF = np.empty((rows.num_rows, len(self.specs.numbers)), np.float32)
        categories_NC = np.empty((rows.num_rows, len(self.specs.categories)), np.int32)
        self._compute(rows, {"numbers_NF": numbers_NF.T, "categories_NC": categories_NC.T})
        return {"numbers_NF": numbers_NF, "categories_NC": categories_NC}

    def transform_table(self, rows: pa.Table | pa.RecordBatch) -> pa.Table:
        """The same values as a table with one float32 or int32 column for each output, none of them with nulls."""
        numbers_FN = np.empty((len(self.specs.numbers), rows.num_rows), np.float32)
        categories_CN = np.empty((len(self.specs.categories), rows.num_rows), np.int32)
        self._compute(rows, {"numbers_NF": numbers_FN, "categories_NC": categories_CN})
        return pa.Table.from_arrays([pa.array(values) for values in (*numbers_FN, *categories_CN)], schema=self._schema)

    @cached_property
    def row(self) -> RowFunction:
        """The row back end: tensors of one record, compiled when first asked for.

        A record maps column names to str, int, float, bool, datetime (with a zone), date, timedelta, list or None; a missing
        key is None, other keys are ignored. It raises FeatureError for a value of another kind.
        """
        code = RowCode(self.features, self.inputs)
        tensors: dict[str, list[str]] = {n: [e for output in self._of(n) for e in output.emit(code)] for n in TENSOR_NAMES}
        return code.function(tensors)

    def transform_rows(self, records: Sequence[Mapping[str, object]]) -> Tensors:
        """Tensors of records, by the back end that is faster for so many; the bits are the same.

        Raises:
            FeatureError: for a value of another kind than was fitted.
        """
        if len(records) > _FEW_ROWS:
            return self.transform(self.table(records))
        row = self.row
        found = [row(record) for record in records]
        if len(found) == 1:
            return found[0]
        empty = np.empty((0, len(self.specs.numbers)), np.float32), np.empty((0, len(self.specs.categories)), np.int32)
        parts = zip(TENSOR_NAMES, empty, strict=True)
        return {name: np.concatenate([none, *(tensors[name] for tensors in found)]) for name, none in parts}

    def table(self, records: Sequence[Mapping[str, object]]) -> pa.Table:
        """The raw columns of records, read as `row` reads them.

        Raises:
            FeatureError: for a value of another kind than was fitted.
        """
        arrays = {}
        for name, kind in self.inputs.items():
            read = Door(name, kind).read
            arrays[name] = pa.array([read(record.get(name)) for record in records], ARROW[kind])
        return pa.table(arrays)

    def describe(self) -> list[OutputDescription]:
        """One entry for each output, for reports; neighbouring columns of one output are one entry."""
        sources = self.features.sources
        return [
            OutputDescription(
                name=output.names[0] if len(output.names) == 1 else f"{output.name}_* ({len(output.names)} columns)",
                tensor=output.tensor,
                type="float32" if output.tensor == "numbers_NF" else "int32",
                kind=output.kind,
                sources=tuple(dict.fromkeys(raw for column in output.columns for raw in sources.get(column, (column,)))),
                statistics=output.statistics,
            )
            for output in self.outputs
        ]

    @cached_property
    def digest(self) -> str:
        """Sha256 of spec and statistics."""
        return self._packed.digest

    def to_files(self) -> dict[str, bytes]:
        """``features.json`` to read, and ``features.arrow`` with the vocabularies; the same bytes for the same value."""
        packed = self._packed
        text = json.dumps(packed.json, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        return {JSON_FILE: text.encode(), ARROW_FILE: packed.arrow_bytes()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], *, allowed: Sequence[str] = ()) -> "FittedFeatures":
        """The inverse of `to_files`.

        Args:
            files: The two files.
            allowed: Modules whose functions the features may call.

        Raises:
            BundleError: when the format is newer than this code.
            ConfigError: when it calls a function that is not allowed.
        """
        data = json.loads(files[JSON_FILE])
        found = data.get("format")
        if not isinstance(found, int):
            raise BundleError("features", f"format {found!r} is none that features are stored in; restore the file")
        if found > FORMAT:
            raise BundleError("features", f"format {found} is newer than this code reads ({FORMAT}); upgrade raypipe")
        if found < FORMAT:
            raise BundleError("features", f"format {found} is older than this code reads ({FORMAT}); train again")
        plain = unpack(data, files[ARROW_FILE])
        outputs = [_output(output) for output in plain["outputs"]]
        settings = {"features": plain["spec"], "inputs": plain["inputs"], "outputs": outputs, "rows": plain["rows"]}
        return build(settings, cls, allowed=allowed)

    @cached_property
    def _packed(self) -> Packed:
        outputs = [
            {"says": output.statistics, **{f.name: _bare(vars(output)[f.name]) for f in fields(output)}}
            for output in self.outputs
        ]
        plain = {"rows": self.rows, "inputs": self.inputs, "outputs": outputs}
        return pack({"format": FORMAT, "spec": self.features.to_dict(), **plain})

    def _of(self, tensor: TensorName) -> list[AnyOutput]:
        return [output for output in self.outputs if output.tensor == tensor]

    def _compute(self, rows: pa.Table | pa.RecordBatch, out: Mapping[TensorName, NDArray[Any]]) -> None:
        """Fill the tensors, given as one row for each column."""
        table = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
        cells = Cells(self.features, self.inputs, table, self._layouts)
        self._numbers.compute(cells, out["numbers_NF"])
        self._categories.compute(cells, out["categories_NC"])
        for output, place in self._others:
            values = output.compute(cells)
            if values.ndim == 1:
                out[output.tensor][place] = values
            else:
                out[output.tensor][place : place + values.shape[1]] = values.T

    @cached_property
    def _schema(self) -> pa.Schema:
        """Of `transform_table`; not nullable, which makes Parquet of it in half the time."""
        numbers = [pa.field(name, pa.float32(), nullable=False) for name in self.specs.numbers]
        return pa.schema([*numbers, *(pa.field(name, pa.int32(), nullable=False) for name in self.specs.categories)])

    @cached_property
    def places(self) -> list[tuple[AnyOutput, int]]:
        """Each output and its first column in its tensor."""
        width = dict.fromkeys(TENSOR_NAMES, 0)
        places = []
        for output in self.outputs:
            places.append((output, width[output.tensor]))
            width[output.tensor] += len(output.names)
        return places

    @cached_property
    def _layouts(self) -> Layouts:
        return Layouts(self.features, self.inputs)

    @cached_property
    def _numbers(self) -> NumberBlock:
        return NumberBlock([(output, place) for output, place in self.places if isinstance(output, FittedNumber)])

    @cached_property
    def _categories(self) -> CategoryBlock:
        return CategoryBlock([(output, place) for output, place in self.places if isinstance(output, FittedCategory)])

    @cached_property
    def _others(self) -> list[tuple[AnyOutput, int]]:
        return [(o, place) for o, place in self.places if not isinstance(o, (FittedNumber, FittedCategory))]


TENSOR_NAMES: tuple[TensorName, ...] = ("numbers_NF", "categories_NC")


def _bare(value: Any) -> Any:
    return value.to_plain() if isinstance(value, Vocabulary) else value


def _output(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of an output: without what is for people, vocabularies made."""
    kept = {name: value for name, value in plain.items() if name != "says"}
    return kept | ({"vocabulary": Vocabulary.from_plain(kept["vocabulary"])} if "vocabulary" in kept else {})
