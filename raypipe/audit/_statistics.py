"""Statistics that touched other splits: columns that were scaled with all rows, and features that were fitted with others."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from raypipe.audit._check import Chunk, merge_columns
from raypipe.audit._report import CheckName, Measure

_SAME, _OTHER = 1e-5, 1e-4
_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Moments and range of a column in some rows."""

    rows: int
    total: float
    squares: float
    low: float
    high: float
    between: bool

    @classmethod
    def merge(cls, states: Sequence["Scale"]) -> "Scale":
        """Of all chunks."""
        return cls(
            rows=sum(s.rows for s in states),
            total=sum(s.total for s in states),
            squares=sum(s.squares for s in states),
            low=min(s.low for s in states),
            high=max(s.high for s in states),
            between=any(s.between for s in states),
        )

    @property
    def mean(self) -> float:
        """Their mean."""
        return self.total / self.rows

    def std(self, ddof: int) -> float:
        """Their standard deviation."""
        return float(max(0.0, (self.squares - self.rows * self.mean**2) / max(1, self.rows - ddof)) ** 0.5)

    def is_standard(self, tolerance: float) -> bool:
        """Whether the mean is 0 and the standard deviation 1, by either definition."""
        return abs(self.mean) <= tolerance and min(abs(self.std(ddof) - 1) for ddof in (0, 1)) <= tolerance

    @property
    def is_unit(self) -> bool:
        """Whether the range is 0 to 1, with something in between."""
        return self.low == 0.0 and self.high == 1.0 and self.between


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Columns of decimal numbers that are standardised, or scaled to 0 to 1, over all rows and not over train rows."""

    name: CheckName = "statistics"

    def look(self, chunk: Chunk) -> dict[tuple[str, str | None], Scale] | None:
        """Moments and range of each column, by column and split."""
        found = {(name, chunk.split): _scale(chunk.rows.column(name)) for name in chunk.features}
        return {key: scale for key, scale in found.items() if scale is not None}

    def merge(self, states: Sequence[dict[tuple[str, str | None], Scale]]) -> dict[tuple[str, str | None], Scale]:
        """Of all chunks."""
        return merge_columns(states, Scale.merge)

    def measure(self, state: dict[tuple[str, str | None], Scale]) -> Sequence[Measure]:
        """For each column that was scaled so."""
        out = []
        for name in dict.fromkeys(name for name, _ in state):
            parts = [scale for (column, _), scale in state.items() if column == name]
            train, whole = state.get((name, "train")), Scale.merge(parts)
            if train is None or len(parts) == 1:
                continue
            text = _told(train, whole)
            out.append(Measure(check=self.name, column=name, value=float(bool(text)), text=text or "not scaled over all rows"))
        return out


def fitted_again(*, fitted: int, train: int, differ: Sequence[str]) -> Measure:
    """Whether features are those that train rows give.

    Args:
        fitted: Rows that they were fitted on.
        train: Rows of train.
        differ: Outputs whose statistics are others when the rows of train are fitted again.
    """
    text = f"the features were fitted on {fitted:,} rows, and train has {train:,}"
    if differ:
        shown = ", ".join(differ[:_SHOWN]) + (f" and {len(differ) - _SHOWN} more" if len(differ) > _SHOWN else "")
        text += f"; fitted again on these, {len(differ)} outputs differ ({shown}): remove the prepared data, and train again"
    touched = float(fitted != train or bool(differ))
    return Measure(check="statistics", column=", ".join(differ[:1]), value=touched, text=text)


def _scale(column: pa.ChunkedArray) -> Scale | None:
    if not pt.is_floating(column.type):
        return None
    x_N = column.cast(pa.float64()).drop_null().to_numpy()
    x_M = x_N[np.isfinite(x_N)]
    if not len(x_M):
        return None
    low, high = float(x_M.min()), float(x_M.max())
    between = bool(((x_M > low) & (x_M < high)).any())
    with np.errstate(over="ignore"):
        return Scale(rows=len(x_M), total=float(x_M.sum()), squares=float(x_M @ x_M), low=low, high=high, between=between)


def _told(train: Scale, whole: Scale) -> str:
    advice = "it was scaled with rows of other splits; fit the scaling on train rows"
    if whole.is_standard(_SAME) and not train.is_standard(_OTHER):
        return (
            f"mean 0 and standard deviation 1 over all {whole.rows:,} rows, but {train.mean:.4f} and {train.std(0):.4f} over "
            f"train rows: {advice}"
        )
    if whole.is_unit and not train.is_unit and train.low >= 0:
        return f"0 to 1 over all {whole.rows:,} rows, but {train.low:.4g} to {train.high:.4g} over train rows: {advice}"
    return ""
