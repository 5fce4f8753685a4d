"""The label of an audit: what kind it is, and the numbers of each row that are summed up.

A first pass counts the labels (`LabelCounts`), `Label` is made of it, and a second pass over all columns uses that.
N rows, V numbers: (1, one of each class or 0), or for a regression (1, rank, rank squared); the one class of a binary
label is its last.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from raypipe.audit._keys import code, kind_of
from raypipe.audit._sums import Sums
from raypipe.core.errors import LabelError
from raypipe.core.tensors import TargetKind

MAX_CLASSES = 100
_FEW_INTEGERS = 20
_PAIR = 2


@dataclass(frozen=True, kw_only=True)
class LabelCounts:
    """The labels of some rows.

    Attributes:
        found: Their type.
        rows: Rows.
        unknown: Those whose label is null, or not finite.
        classes: Rows of each value as text; None when there are too many values for classes.
        order: Rows by ordered key; None unless the label is a number.
    """

    found: pa.DataType
    rows: int
    unknown: int
    classes: Mapping[str, int] | None
    order: Sums | None

    @classmethod
    def of(cls, cells: pa.ChunkedArray) -> "LabelCounts":
        """The labels of one chunk."""
        known = cells.filter(is_known(cells))
        counts = pc.value_counts(_texts(known))
        few = len(counts) <= MAX_CLASSES and kind_of(cells.type) != "other"
        classes = {c["values"].as_py(): c["counts"].as_py() for c in counts} if few else None
        order = None
        if _is_number(cells.type):
            keys_N = code(known.cast(pa.float64())).keys_N
            order = Sums.of(keys_N, np.ones((len(known), 1)), np.zeros(len(known), np.int64), 1)
        return cls(found=cells.type, rows=len(cells), unknown=len(cells) - len(known), classes=classes, order=order)

    @classmethod
    def merge(cls, states: Sequence["LabelCounts"]) -> "LabelCounts":
        """The labels of all chunks."""
        orders = [state.order for state in states if state.order is not None]
        return cls(
            found=states[0].found,
            rows=sum(state.rows for state in states),
            unknown=sum(state.unknown for state in states),
            classes=_together([state.classes for state in states]),
            order=Sums.merge(orders) if orders else None,
        )


@dataclass(frozen=True, kw_only=True)
class Label:
    """What is predicted.

    Attributes:
        name: Its name.
        kind: Classes or a number.
        classes: Values as text, in order; none of a regression.
        order: Rows by label, of a regression.
    """

    name: str
    kind: TargetKind
    classes: tuple[str, ...] = ()
    order: Sums | None = None

    def numbers(self, known: pa.ChunkedArray) -> NDArray[np.float64]:
        """What is summed up of each row, from labels that are known."""
        ones_N = np.ones(len(known))
        if self.order is not None:
            rank_N = self._ranks(known)
            return np.stack([ones_N, rank_N, rank_N**2], axis=1)
        place_N = pc.index_in(_texts(known), pa.array(self.classes)).to_numpy()
        first = 1 if self.kind == "binary" else 0
        return np.stack([ones_N, *(place_N == k for k in range(first, len(self.classes)))], axis=1).astype(np.float64)

    def _ranks(self, known: pa.ChunkedArray) -> NDArray[np.float64]:
        """Middle ranks among the labels that were counted, in (0, 1), less a half."""
        if self.order is None:
            raise AssertionError("only a regression has ranks")
        rows_D = self.order.sums_DFV[:, 0, 0]
        rank_D = (np.cumsum(rows_D) - rows_D / 2) / rows_D.sum() - 0.5
        keys_N = code(known.cast(pa.float64())).keys_N >> np.uint64(self.order.shift)
        place_N = np.minimum(np.searchsorted(self.order.keys_D, keys_N), len(rank_D) - 1)
        ranks: NDArray[np.float64] = rank_D[place_N]
        return ranks


def label_from(counts: LabelCounts, *, name: str, kind: TargetKind | None = None) -> Label:
    """The label that the counts tell of.

    Args:
        counts: Of all rows.
        name: The column.
        kind: What it is; None takes two values for binary, text and up to 20 whole numbers for classes, else a number.

    Raises:
        LabelError: nothing known, one value only, too many classes, a type that is no label.
    """
    known = counts.rows - counts.unknown
    if not known:
        raise LabelError(name, f"null in all {counts.rows:,} rows", "name another column with --label")
    if kind_of(counts.found) == "other" or not (_is_number(counts.found) or _is_class(counts.found)):
        raise LabelError(name, f"is {counts.found}", "name a column of numbers, text, or true and false")
    if counts.classes is not None and len(counts.classes) < _PAIR:
        only = next(iter(counts.classes))
        raise LabelError(name, f"{only} in all {known:,} rows where it is known", "name a column with two values at least")
    kind = kind or _kind(counts)
    if kind == "regression":
        if counts.order is None:
            raise LabelError(name, f"is {counts.found}, and a regression needs numbers", "use --task multiclass")
        return Label(name=name, kind=kind, order=counts.order)
    if counts.classes is None:
        way_out = "group rare classes" if counts.order is None else "use --task regression, or group rare classes"
        raise LabelError(name, f"more than {MAX_CLASSES} classes", way_out)
    if kind == "binary" and len(counts.classes) > _PAIR:
        raise LabelError(name, f"{len(counts.classes)} values, and binary is two", "use --task multiclass or regression")
    return Label(name=name, kind=kind, classes=tuple(sorted(counts.classes)))


def is_known(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Where a label is neither null nor NaN nor infinite."""
    return pc.fill_null(pc.is_finite(cells), False) if pt.is_floating(cells.type) else pc.is_valid(cells)


def _kind(counts: LabelCounts) -> TargetKind:
    if counts.classes is not None and len(counts.classes) == _PAIR:
        return "binary"
    few = counts.classes is not None and len(counts.classes) <= _FEW_INTEGERS
    return "multiclass" if _is_class(counts.found) or (few and pt.is_integer(counts.found)) else "regression"


def _is_number(found: pa.DataType) -> bool:
    return bool(pt.is_integer(found) or pt.is_floating(found) or pt.is_decimal(found))


def _is_class(found: pa.DataType) -> bool:
    return bool(pt.is_boolean(found) or kind_of(found) == "category")


def _texts(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    if kind_of(cells.type) == "other":
        return pa.chunked_array([pa.nulls(0, pa.string())])
    cells = cells.cast(cells.type.value_type) if pt.is_dictionary(cells.type) else cells
    return cells.cast(pa.string())


def _together(parts: Sequence[Mapping[str, int] | None]) -> Mapping[str, int] | None:
    known = [Counter(part) for part in parts if part is not None]
    counts: Counter[str] = reduce(add, known, Counter())
    return dict(counts) if len(known) == len(parts) and len(counts) <= MAX_CLASSES else None
