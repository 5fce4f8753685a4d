"""FittedFeatures: the frozen value that a fit gives and that training, scoring and serving take."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import TypeAdapter

from raypipe.core.config import build, config
from raypipe.core.digest import digest_json
from raypipe.core.errors import BundleError
from raypipe.core.tensors import Tensors, TensorSpecs
from raypipe.features._outputs import (
    CATEGORIES,
    NUMBERS,
    FittedCalendarCategory,
    FittedCalendarNumber,
    FittedCategory,
    FittedNumber,
    FittedOutput,
    OutputDescription,
)
from raypipe.features._specs import FeatureSet

FORMAT = 1


@config
class FittedFeatures:
    """A feature set with the statistics of its training rows. Plain data: JSON in and out, no code.

    Attributes:
        features: The spec.
        outputs: One for each column of the tensors, in the order of the spec.
        rows: Number of training rows.
    """

    features: FeatureSet
    outputs: tuple[FittedOutput, ...]
    rows: int

    @cached_property
    def numbers(self) -> tuple[FittedNumber | FittedCalendarNumber, ...]:
        """Outputs in ``numbers_NF``."""
        return tuple(output for output in self.outputs if isinstance(output, NUMBERS))

    @cached_property
    def categories(self) -> tuple[FittedCategory | FittedCalendarCategory, ...]:
        """Outputs in ``categories_NC``."""
        return tuple(output for output in self.outputs if isinstance(output, CATEGORIES))

    @cached_property
    def specs(self) -> TensorSpecs:
        """Names of the tensors' columns, and the number of indices of each category."""
        return TensorSpecs(
            numbers=tuple(output.name for output in self.numbers),
            categories=tuple(output.name for output in self.categories),
            cardinalities=tuple(output.cardinality for output in self.categories),
        )

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Raw columns that `transform` needs."""
        return self.features.input_columns

    def transform(self, table: pa.Table) -> Tensors:
        """Named tensors of the rows: new, C-contiguous, and the same bits for a row alone and in company.

        Args:
            table: Holds `input_columns`, in any order and chunking; other columns are ignored.

        Raises:
            FeatureError: when a column is missing or is of another type than was fitted.
        """
        known = self.features.derived(table)
        cells = {name: known.column(name).combine_chunks() for name in known.column_names}
        numbers_NF = np.empty((table.num_rows, len(self.numbers)), np.float32)
        for f, number in enumerate(self.numbers):
            numbers_NF[:, f] = number.compute(cells[number.column])
        categories_NC = np.empty((table.num_rows, len(self.categories)), np.int32)
        for c, category in enumerate(self.categories):
            categories_NC[:, c] = category.compute(cells[category.column])
        return {"numbers_NF": numbers_NF, "categories_NC": categories_NC}

    def describe(self) -> list[OutputDescription]:
        """One row for each output, for reports."""
        sources = self.features.sources
        return [
            OutputDescription(
                name=output.name,
                tensor="numbers_NF" if isinstance(output, NUMBERS) else "categories_NC",
                kind=output.kind.partition("_")[0],
                sources=sources.get(output.column, (output.column,)),
                statistics=output.statistics,
            )
            for output in self.outputs
        ]

    @cached_property
    def digest(self) -> str:
        """Sha256 of spec and statistics."""
        return digest_json(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """JSON-able and readable; floats are exact."""
        outputs = TypeAdapter(tuple[FittedOutput, ...]).dump_python(self.outputs, mode="json")
        return {"format": FORMAT, "rows": self.rows, "spec": self.features.to_dict(), "outputs": outputs}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "FittedFeatures":
        """The inverse of `to_dict`.

        Raises:
            BundleError: when the format is newer than this code.
        """
        found = data.get("format")
        if not isinstance(found, int) or found > FORMAT:
            raise BundleError("features", f"format {found!r} is newer than this code reads ({FORMAT}); upgrade raypipe")
        return build({"features": data["spec"], "outputs": data["outputs"], "rows": data["rows"]}, cls)
