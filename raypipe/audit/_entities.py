"""Entity overlap: a customer of whom train rows tell, and whom a later row of the same customer is judged on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raypipe.audit._check import LATER_SPLITS, Chunk, merge_columns
from raypipe.audit._keys import code, row_hashes
from raypipe.audit._report import CheckName, Measure
from raypipe.audit._sample import HashSample


@dataclass(frozen=True, kw_only=True)
class EntityOverlap:
    """Rows of another split whose entity is in train.

    Attributes:
        entity: Columns that together name an entity; a row in which all are null has none.
    """

    entity: tuple[str, ...]
    name: CheckName = "entity_overlap"

    def look(self, chunk: Chunk) -> dict[str, HashSample] | None:
        """The entities of the rows."""
        if chunk.split is None:
            return None
        coded = [code(chunk.rows.column(name)) for name in self.entity]
        named_N = np.logical_or.reduce([one.valid_N for one in coded])
        hash_N = row_hashes(coded, chunk.rows.num_rows)[named_N]
        return {chunk.split: HashSample.of(hash_N, np.zeros(len(hash_N), np.uint64))}

    def merge(self, states: Sequence[dict[str, HashSample]]) -> dict[str, HashSample]:
        """The entities of all rows."""
        return merge_columns(states, HashSample.merge)

    def measure(self, state: dict[str, HashSample]) -> Sequence[Measure]:
        """For validation and test: the share of rows, and how many entities."""
        found = []
        for split in [split for split in LATER_SPLITS if split in state and "train" in state]:
            below = min(state["train"].below, state[split].below)
            train, other = state["train"].under(below), state[split].under(below)
            shared_D = is_in(other.hash_D, train.hash_D)
            rows, entities = int(other.count_D.sum()), len(other.hash_D)
            share = float(other.count_D[shared_D].sum()) / max(1, rows)
            text = (
                f"{share:.2%} of {other.rows:,} {split} rows are of {int(shared_D.sum()):,} entities that train has, too "
                f"(of {entities:,}{'' if other.rows == rows else ' in the sample'}); split by a hash of {_columns(self.entity)}"
            )
            found.append(Measure(check=self.name, column=", ".join(self.entity), value=share, text=text))
        return found


def is_in(hash_A: NDArray[np.uint64], hash_B: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Whether each of `hash_A` is among the sorted `hash_B`."""
    if not len(hash_B):
        return np.zeros(len(hash_A), np.bool_)
    place_A = np.minimum(np.searchsorted(hash_B, hash_A), len(hash_B) - 1)
    found: NDArray[np.bool_] = hash_B[place_A] == hash_A
    return found


def _columns(names: Sequence[str]) -> str:
    return " and ".join(names)
