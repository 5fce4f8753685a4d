"""Known later: columns that the contract declares so, and columns whose nulls tell when they were filled in.

What is written down after the fact, such as the delay of a flight, is null where the fact is not known, or did not happen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raypipe.audit._check import Chunk, merge_columns
from raypipe.audit._report import CheckName, Measure
from raypipe.audit._strength import Strength, by_order
from raypipe.core.tensors import TargetKind

_DECLARED_LATER = "is declared as known later than the prediction"
_CERTAIN = -1.0
"""Margin of what is declared and not measured: it is above every bound, also one of 1."""


@dataclass(frozen=True, kw_only=True)
class Nulls:
    """Where one column is null.

    Attributes:
        label_GV: Numbers of the label, summed over train rows with a value, and over those without.
        unknown_G: Rows without a label, with a value and without; all splits.
        known_G: Rows with a label; all splits.
    """

    label_GV: NDArray[np.float64]
    unknown_G: NDArray[np.int64]
    known_G: NDArray[np.int64]

    @classmethod
    def merge(cls, states: Sequence["Nulls"]) -> "Nulls":
        """Of all chunks."""
        added = {name: np.sum([vars(state)[name] for state in states], axis=0) for name in vars(states[0])}
        return cls(**added)


@dataclass(frozen=True, kw_only=True)
class KnownLater:
    """Columns that are filled in later.

    Attributes:
        kind: Of the label.
        num_values: Numbers of the label.
        declared: Features on columns that are declared as known later.
    """

    kind: TargetKind
    num_values: int
    declared: tuple[str, ...] = ()
    name: CheckName = "known_later"

    def look(self, chunk: Chunk) -> dict[str, Nulls] | None:
        """Where the features are null."""
        return {name: self._nulls(one.valid_N, chunk) for name, one in chunk.coded.items()}

    def merge(self, states: Sequence[dict[str, Nulls]]) -> dict[str, Nulls]:
        """Of all chunks."""
        return merge_columns(states, Nulls.merge)

    def measure(self, state: dict[str, Nulls]) -> Sequence[Measure]:
        """For each column that has nulls: how well knowing where they are tells that the label is unknown, and its value."""
        told = [
            Measure(check=self.name, column=name, value=1.0, margin=_CERTAIN, text=_DECLARED_LATER) for name in self.declared
        ]
        return [*told, *(measure for name, nulls in state.items() for measure in self._of_column(name, nulls))]

    def _nulls(self, valid_N: NDArray[np.bool_], chunk: Chunk) -> Nulls:
        nulls = int(np.count_nonzero(~valid_N))
        rows_G, none_G = np.array([len(valid_N) - nulls, nulls]), np.zeros(2, np.int64)
        label_GV = np.zeros((2, self.num_values))
        if chunk.split == "train":
            label_GV[1] = chunk.label_NV[~valid_N].sum(axis=0) if nulls else 0.0
            label_GV[0] = chunk.label_NV.sum(axis=0) - label_GV[1]
        unlabelled = chunk.split is None
        return Nulls(label_GV=label_GV, unknown_G=rows_G if unlabelled else none_G, known_G=none_G if unlabelled else rows_G)

    def _of_column(self, name: str, nulls: Nulls) -> Sequence[Measure]:
        found = []
        if nulls.unknown_G.sum() and nulls.unknown_G[1] + nulls.known_G[1]:
            rows_G = nulls.unknown_G + nulls.known_G
            tells = by_order("binary", np.stack([rows_G, nulls.unknown_G], axis=1).astype(np.float64))
            text = (
                f"null in {_share(nulls.unknown_G)} of {int(nulls.unknown_G.sum()):,} rows whose label is unknown and in "
                f"{_share(nulls.known_G)} of the others (AUC {tells.value:.3f})"
            )
            found.append(self._measure(name, tells, text))
        if nulls.label_GV[1, 0]:
            tells = by_order(self.kind, nulls.label_GV)
            word = "rank correlation" if self.kind == "regression" else "AUC"
            share = nulls.label_GV[1, 0] / nulls.label_GV[:, 0].sum()
            text = f"null in {share:.1%} of train rows; where it is null tells the label with {word} {tells.value:.3f}"
            found.append(self._measure(name, tells, text))
        return found

    def _measure(self, name: str, tells: Strength, text: str) -> Measure:
        return Measure(check=self.name, column=name, value=tells.value, noise=tells.noise, margin=tells.margin, text=text)


def _share(rows_G: NDArray[np.int64]) -> str:
    return f"{rows_G[1] / max(1, rows_G.sum()):.1%}"
