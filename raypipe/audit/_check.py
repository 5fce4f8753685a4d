"""What every check is: it looks at chunks of rows on workers, its states merge in the order of the chunks, and it measures.

N rows, V numbers of the label (see `Label.numbers`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raypipe.audit._keys import Coded, code
from raypipe.audit._report import CheckName, Measure

Key = TypeVar("Key")
State = TypeVar("State")
LATER_SPLITS = ("validation", "calibration", "test")


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Neighbouring rows of one split.

    Attributes:
        rows: The rows with all columns that checks read.
        split: Their split; None for rows in no split, because their label is unknown.
        features: Columns that a model would see.
        row_N: Place of each row in the table, or in its part: what does not depend on how rows are cut goes by it.
        label_NV: Numbers of the label; no rows where it is unknown.
        label_keys_N: A key of each label value, to compare labels with; as above.
        at: Column with the time of the prediction; None without.
    """

    rows: pa.Table
    split: str | None
    features: tuple[str, ...]
    row_N: NDArray[np.int64]
    label_NV: NDArray[np.float64]
    label_keys_N: NDArray[np.uint64]
    at: str | None = None

    @cached_property
    def coded(self) -> dict[str, Coded]:
        """The features as keys."""
        return {name: code(self.rows.column(name)) for name in self.features}


class Check(Protocol[State]):
    """One kind of leak."""

    @property
    def name(self) -> CheckName:
        """Which."""

    def look(self, chunk: Chunk) -> State | None:
        """Worker: what one chunk tells; None when it tells nothing."""

    def merge(self, states: Sequence[State]) -> State:
        """What all chunks tell; `states` are in their order."""

    def measure(self, state: State) -> Sequence[Measure]:
        """Driver: the measures of all chunks."""


@dataclass(frozen=True, kw_only=True)
class Checks:
    """Several checks that look at the same chunks; a state is one state of each, or None."""

    checks: tuple[Check[Any], ...]

    def look(self, chunk: Chunk) -> tuple[Any, ...]:
        """Worker: the states of one chunk."""
        return tuple(check.look(chunk) for check in self.checks)

    def merge(self, states: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
        """The states of all chunks, which come in their order."""
        columns = [[state[i] for state in states if state[i] is not None] for i in range(len(self.checks))]
        return tuple(check.merge(found) if found else None for check, found in zip(self.checks, columns, strict=True))

    def measure(self, states: tuple[Any, ...]) -> tuple[Measure, ...]:
        """All measures."""
        pairs = zip(self.checks, states, strict=True)
        return tuple(measure for check, state in pairs if state is not None for measure in check.measure(state))


def merge_columns(states: Sequence[dict[Key, State]], merge: Callable[[Sequence[State]], State]) -> dict[Key, State]:
    """States by column or split, each merged by `merge`; some chunks may lack some."""
    names = dict.fromkeys(name for state in states for name in state)
    return {name: merge([state[name] for state in states if name in state]) for name in names}
