"""What tests of states share: rows cut into pieces, and columns in other encodings."""

import itertools
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

CUTS = st.lists(st.integers(0, 60), max_size=4)


def pieces(values: Any, cuts: list[int]) -> list[Any]:
    bounds = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    return [values[start:stop] for start, stop in itertools.pairwise(bounds)]


def disguised(cells: pa.Array, how: str) -> pa.Array:
    """The same column with another encoding."""
    if how == "plain" or not len(cells):
        return cells
    if how == "wide" and cells.type == pa.string():
        return cells.cast(pa.large_string())
    coded = cells.dictionary_encode()
    if how == "unused, twice and null":  # a dictionary as other writers make it
        values = pa.concat_arrays([coded.dictionary, cells.slice(0, 1), coded.dictionary, pa.nulls(1, cells.type)])
        shift = len(coded.dictionary) + 1
        codes = [
            len(values) - 1 if c is None and i % 2 else c if c is None or i % 3 else c + shift
            for i, c in enumerate(coded.indices.to_pylist())
        ]
        return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), values)
    return coded


DISGUISES = st.sampled_from(["plain", "dictionary", "wide", "unused, twice and null"])
