"""Kind bucket: numbers as categories, by quantiles, equal widths or given edges."""

from bisect import bisect_right
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat, model_validator

from raypipe.core.config import config
from raypipe.core.errors import FeatureError
from raypipe.core.kinds import NUMERIC, Kind
from raypipe.features._cells import Cells
from raypipe.features._columns import Columns, Names
from raypipe.features._kinds import need_kind
from raypipe.features._protocols import FittedOutput, Labels, OfSource, State, TensorName
from raypipe.features._rowcode import RowCode
from raypipe.features._sources import ColumnSource, NumberSource
from raypipe.features._treatment import NumberState, Treatment, check_moments


@config
class Bucket(Columns):
    """Numbers as an index: 1 below the first edge, 2 from the first edge to below the second, and so on; 0 for missing.

    Attributes:
        column: The column; by default the feature's name.
        columns: Several columns with the same treatment; their features have the columns' names.
        by: `quantile` buckets hold the same number of training rows, `uniform` ones are equally wide from the least to the
            largest training value, `edges` are given. Equal edges become one.
        num: Number of buckets for `quantile` and `uniform`.
        edges: Ascending, for `edges`.
    """

    needs_labels: ClassVar[bool] = False
    kind: Literal["bucket"] = "bucket"
    column: str | None = None
    columns: Names | None = None
    by: Literal["quantile", "uniform", "edges"] = "quantile"
    num: Annotated[int, Field(ge=2, le=10_000)] | None = None
    edges: Annotated[tuple[FiniteFloat, ...], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _settings_have_effect(self) -> "Bucket":
        if self.by == "edges" and (self.edges is None or self.num is not None):
            raise ValueError("by: edges needs edges, and no num")
        if self.by != "edges" and (self.num is None or self.edges is not None):
            raise ValueError(f"by: {self.by} needs num, and no edges")
        if self.edges is not None and any(a >= b for a, b in zip(self.edges[:-1], self.edges[1:], strict=True)):
            raise ValueError("edges must ascend")
        return self

    def check(self, feature: str, kinds: Mapping[str, Kind]) -> None:
        """Numbers or booleans only."""
        for column in self.columns_of(feature):
            need_kind(feature, column, kinds[column], NUMERIC, self.kind)

    def fit(self, feature: str, cells: Cells, labels: Labels | None) -> dict[str, State]:  # noqa: ARG002  # protocol
        """Moments, and the distribution for quantiles."""
        if self.by == "edges":
            return {}
        treatment = Treatment(impute="median" if self.by == "quantile" else "mean")
        pairs = zip(self.names_of(feature), self.columns_of(feature), strict=True)
        return {name: NumberState.of(cells.numbers(column), treatment) for name, column in pairs}

    def solve(self, feature: str, states: Mapping[str, Any]) -> tuple[FittedOutput, ...]:
        """The fitted outputs.

        Raises:
            FeatureError: no value, infinities, or values that are all the same.
        """
        out: list[FittedOutput] = []
        for name, column in zip(self.names_of(feature), self.columns_of(feature), strict=True):
            edges = self.edges or self._solved(name, column, states[name])
            out.append(FittedBucket(name=name, source=ColumnSource(column=column), edges=edges))
        return tuple(out)

    def _solved(self, name: str, column: str, state: NumberState) -> tuple[float, ...]:
        check_moments(name, column, state.moments)
        low, high, num = float(state.moments.min or 0.0), float(state.moments.max or 0.0), self.num or 2
        shares = [i / num for i in range(1, num)]
        if self.by == "quantile" and state.values is not None:
            found = [state.values.quantile(share) for share in shares]
        else:
            found = [low * (1 - share) + high * share for share in shares]
        edges = tuple(sorted({edge + 0.0 for edge in found if edge > low}))
        if not edges:
            raise FeatureError(name, f"column {column} has the same value in (nearly) all training rows", "remove the feature")
        return edges


@config
class FittedBucket(OfSource):
    """A column of ``categories_NC``: 1 + the number of edges that are not above the value; 0 for missing."""

    kind: Literal["bucket"] = "bucket"
    tensor: ClassVar[TensorName] = "categories_NC"
    name: str
    source: NumberSource
    edges: tuple[float, ...]

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of indices, 0 included."""
        return (len(self.edges) + 2,)

    @property
    def statistics(self) -> str:
        """For a report."""
        shown = ", ".join(f"{edge:g}" for edge in self.edges[:5]) + (", ..." if len(self.edges) > 5 else "")
        return f"bucket of {self.source} by edges {shown}; missing -> 0"

    def compute(self, cells: Cells) -> NDArray[np.int32]:
        """int32 index of each row."""
        x_N = self.source.numbers(cells)
        index_N = np.searchsorted(np.array(self.edges), x_N, side="right") + 1
        return np.where(np.isnan(x_N), 0, index_N).astype(np.int32)

    def emit(self, code: RowCode) -> list[str]:
        """The same of one row."""
        x = self.source.number(code)
        return [f"(1 + {code.bind(bisect_right)}({code.bind(list(self.edges))}, {x}) if {x} == {x} else 0)"]
