"""What a model goes by: permutation importance through the bundle, and Shapley values where the model gives its own.

Permutation importance (Breiman 2001): the values of raw columns are shuffled among the rows, the bundle answers again, and the
main metric is measured again on the same rows. Shapley values are the model's (`raypipe.models.Explained`).
Shapes: N rows, D inputs of the model, K classes.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from raypipe.bundle import Bundle
from raypipe.core.config import config
from raypipe.core.tensors import Tensors
from raypipe.evaluate._bootstrap import point
from raypipe.evaluate._costs import Costs
from raypipe.evaluate._looked import ContributionRow, Contributions, ImportanceRow, Importances, RawRows
from raypipe.evaluate._rows import Better
from raypipe.evaluate._samples import sample_of
from raypipe.models import Explained

_NUM_PLOTTED, _NUM_POINTS = 12, 160
_MOST_EXPLAINED = 1000


@config
class Importance:
    """How it is found out what a model goes by.

    Attributes:
        by: ``column`` shuffles one raw column at a time; ``feature`` the raw columns of a feature together.
        repeats: How often each is shuffled; the interval is over the repeats.
    """

    by: Literal["column", "feature"] = "column"
    repeats: Annotated[int, Field(ge=2, le=100)] = 5

    def groups(self, bundle: Bundle) -> dict[str, tuple[str, ...]]:
        """What is shuffled together, by name."""
        if self.by == "column":
            return {name: (name,) for name in bundle.input_columns}
        spec = bundle.features.features
        return {name: spec.raw_columns_of(name) for name in spec.features}


class Yardstick:
    """Measures one metric of a bundle on rows whose labels are known."""

    def __init__(self, bundle: Bundle, sample: RawRows, *, metric: str, better: Better, costs: Costs | None) -> None:
        self.bundle, self.sample, self.metric = bundle, sample, metric
        self._sign, self._costs = (1.0 if better == "higher" else -1.0), costs
        self.baseline = self.value(sample.rows)

    def value(self, rows: pa.Table) -> float:
        """The metric where the bundle sees `rows`; NaN where it is undefined."""
        target, threshold = self.bundle.target, self.bundle.threshold
        found = point(sample_of(target, self.sample.y_N, self.bundle.score(rows), threshold, self._costs), (self.metric,))
        value = found[self.metric]
        return float("nan") if value is None else value

    def loss(self, rows: pa.Table) -> float:
        """How much worse it is than on the rows as they are."""
        return self._sign * (self.baseline - self.value(rows))


def permute(
    name: str, columns: Sequence[str], *, yardstick: Yardstick, repeats: int, seed: int, confidence: float
) -> ImportanceRow:
    """The importance of `columns`: their values go to other rows, together, `repeats` times.

    The shuffles follow from `seed` alone, so that all columns are shuffled alike.
    """
    random = np.random.default_rng(seed)
    rows = yardstick.sample.rows
    losses_R = np.array([yardstick.loss(_shuffled(rows, columns, random)) for _ in range(repeats)])
    mean, half = float(losses_R.mean()), _half_width(losses_R, confidence)
    return ImportanceRow(name=name, columns=tuple(columns), value=mean, low=mean - half, high=mean + half)


def _shuffled(rows: pa.Table, columns: Sequence[str], random: np.random.Generator) -> pa.Table:
    order = pa.array(random.permutation(rows.num_rows))
    for column in columns:
        rows = rows.set_column(rows.column_names.index(column), column, rows.column(column).take(order))
    return rows


def _half_width(values_R: NDArray[np.float64], confidence: float) -> float:
    """Of the interval of the mean, by Student's t."""
    from scipy.stats import t  # type: ignore[import-untyped]  # comes with scikit-learn

    spread = float(values_R.std(ddof=1))
    return 0.0 if spread == 0 else float(t.ppf((1 + confidence) / 2, len(values_R) - 1)) * spread / len(values_R) ** 0.5


def ranked(yardstick: Yardstick, rows: Sequence[ImportanceRow], *, repeats: int, confidence: float) -> Importances | None:
    """The importances together, the largest first; None where the metric is undefined, as AUC is on rows of one class."""
    measured = [row for row in rows if np.isfinite(row.value)]
    if not measured:
        return None
    return Importances(
        metric=yardstick.metric,
        baseline=yardstick.baseline,
        split=yardstick.sample.split,
        num_rows=len(yardstick.sample.y_N),
        repeats=repeats,
        confidence=confidence,
        rows=tuple(sorted(measured, key=lambda row: (-row.value, row.name))),
    )


def contributions_of(bundle: Bundle, sample: RawRows) -> Contributions | None:
    """Shapley values of up to 1,000 rows; None when the model has none."""
    model = bundle.model
    if not isinstance(model, Explained):
        return None
    num = min(_MOST_EXPLAINED, sample.rows.num_rows)
    index = np.arange(num, dtype=np.int64) * sample.rows.num_rows // num
    inputs = bundle.transform(sample.rows.take(pa.array(index)))
    values = model.contributions(inputs).astype(np.float64)[..., :-1]  # the last is the base
    columns = _columns(bundle, inputs)
    rows = [_row(name, values[..., d], columns[name]) for d, name in enumerate(columns)]
    rows.sort(key=lambda row: (-row.mean_abs, row.name))
    few = [row if i < _NUM_PLOTTED else _unplotted(row) for i, row in enumerate(rows)]
    unit = bundle.target.name if bundle.target.kind == "regression" else "log odds"
    return Contributions(unit=unit, split=sample.split, num_rows=num, rows=tuple(few))


def _columns(bundle: Bundle, inputs: Tensors) -> Mapping[str, tuple[NDArray[Any], bool]]:
    """Values of each input of the model, and whether they have an order."""
    specs = bundle.features.specs
    numbers = {name: (inputs["numbers_NF"][:, i], True) for i, name in enumerate(specs.numbers)}
    return {**numbers, **{name: (inputs["categories_NC"][:, i], False) for i, name in enumerate(specs.categories)}}


def _row(name: str, value_NK: NDArray[np.float64], column: tuple[NDArray[Any], bool]) -> ContributionRow:
    if value_NK.ndim == 2:  # over classes
        return ContributionRow(name=name, mean_abs=float(np.abs(value_NK).mean(axis=0).sum()), direction=None)
    values_N, has_order = column
    places_N = _places(values_N.astype(np.float64)) if has_order else np.full(len(values_N), np.nan)
    pick = np.linspace(0, len(values_N) - 1, min(_NUM_POINTS, len(values_N))).astype(np.int64)
    return ContributionRow(
        name=name,
        mean_abs=float(np.abs(value_NK).mean()),
        direction=_correlation(places_N, value_NK),
        values=tuple(value_NK[pick].tolist()),
        places=tuple(None if np.isnan(place) else float(place) for place in places_N[pick]),
    )


def _places(values_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where each value lies among all, from 0 to 1, equals at their middle; NaN stays."""
    known_N = np.isfinite(values_N)
    out_N = np.full(len(values_N), np.nan)
    _, group_M, counts = np.unique(values_N[known_N], return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts + 1) / 2
    out_N[known_N] = (middle / max(1, int(known_N.sum()) - 1))[group_M]
    return out_N


def _correlation(places_N: NDArray[np.float64], value_N: NDArray[np.float64]) -> float | None:
    known_N = np.isfinite(places_N)
    if known_N.sum() < 2 or places_N[known_N].std() == 0 or value_N[known_N].std() == 0:
        return None
    return float(np.corrcoef(places_N[known_N], value_N[known_N])[0, 1])


def _unplotted(row: ContributionRow) -> ContributionRow:
    return ContributionRow(name=row.name, mean_abs=row.mean_abs, direction=row.direction)
