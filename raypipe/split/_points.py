"""Where a row's hash falls: a function of its values and a seed, the same on every machine and for ever.

BLAKE2b (RFC 7693) of ``SEED|TEXT`` with a digest of 8 bytes, read as a big-endian number; TEXT is that of
`core.digest.row_texts`. N rows.
"""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raypipe.core.digest import row_cells


def points(rows: pa.Table, columns: Sequence[str], *, seed: int) -> NDArray[np.uint64]:
    """The hash of each row's values in `columns`."""
    return hash_texts(row_cells(rows, columns).cast(pa.binary()).to_pylist(), seed=seed)


def group_points(rows: pa.Table, columns: Sequence[str], *, seed: int) -> NDArray[np.uint64]:
    """The same, each group hashed once."""
    groups = row_cells(rows, columns).combine_chunks().dictionary_encode()
    hash_G = hash_texts(groups.dictionary.cast(pa.binary()).to_pylist(), seed=seed)
    hash_N: NDArray[np.uint64] = hash_G[groups.indices.to_numpy()]
    return hash_N


def hash_texts(texts: Iterable[bytes], *, seed: int) -> NDArray[np.uint64]:
    """The hash of each text. A copy of what has taken the seed is faster than a new one."""
    begun = hashlib.blake2b(f"{seed}|".encode(), digest_size=8)

    def digest(text: bytes) -> bytes:
        hasher = begun.copy()
        hasher.update(text)
        return hasher.digest()

    return np.frombuffer(b"".join(map(digest, texts)), ">u8").astype(np.uint64)


def unit(hash_N: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Hashes as points in [0, 1), up to rounding."""
    return hash_N / np.float64(2**64)
