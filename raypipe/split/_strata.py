"""Classes whose rows are cut into pieces of exact sizes: in the order of the rows' hashes, so that no order of theirs counts.

The first hash of a piece is an order statistic of the hashes of its class. It is found in two passes, without sorting anything
in one place: the rows of each class are counted, then the hashes near the wanted rank are kept (of n uniform hashes the r-th
lies within some 8 standard deviations of r/n, Floyd and Rivest 1975), and the hashes below them counted. A class of n rows
sends some 16 sqrt(n) hashes. Where a rank lies outside, which is as good as impossible, another pass looks there.
N rows, C classes, P pieces.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raypipe.core.digest import row_cells
from raypipe.core.errors import ConfigError
from raypipe.split._points import points
from raypipe.split._protocol import Ask

MAX_CLASSES = 100_000
_TOP = 2**64 - 1
_SIGMAS = 8.0


@dataclass(frozen=True, kw_only=True)
class Strata:
    """How rows fall into classes, and where the pieces of each class begin once they are known.

    Attributes:
        columns: Columns whose values name the class.
        key: The row key.
        seed: Changes which rows of a class are in which piece.
        cuts: Class -> first hash of each piece but the first; None: no row has one.
    """

    columns: tuple[str, ...]
    key: tuple[str, ...]
    seed: int
    cuts: Mapping[str, tuple[int | None, ...]]

    def pieces(self, rows: pa.Table) -> NDArray[np.int64]:
        """The piece of each row; -1 for a row of a class that is not known."""
        classes = _classes(rows, self.columns)
        hash_N = points(rows, self.key, seed=self.seed)
        place_N = np.full(rows.num_rows, -1, np.int64)
        for code, name in enumerate(classes.names):
            if name in self.cuts:
                its = classes.of(code)
                first_P = np.array([cut for cut in self.cuts[name] if cut is not None], np.uint64)
                place_N[its] = np.searchsorted(first_P, hash_N[its], side="right")
        return place_N

    def fit(self, ask: Ask, sizes: Callable[[str, int], Sequence[int]]) -> "Strata":
        """These strata with the cuts that give each class the pieces `sizes` of (class, rows).

        Raises:
            ConfigError: more than `MAX_CLASSES` classes.
        """
        rows_C: Counter[str] = Counter()
        for counts in ask(_Count(columns=self.columns)):
            rows_C.update(counts)
            if len(rows_C) > MAX_CLASSES:
                problem = f"split: {', '.join(self.columns)} has more than {MAX_CLASSES:,} classes; stratify by fewer"
                raise ConfigError([problem])
        ranks = {name: list(accumulate(sizes(name, num)))[:-1] for name, num in sorted(rows_C.items())}
        wanted = [_Rank(name, rank, rows_C[name]) for name in ranks for rank in dict.fromkeys(ranks[name])]
        found = {(one.name, one.rank): cut for one, cut in self._select(ask, [r for r in wanted if r.is_inside]).items()}
        found |= {(one.name, one.rank): 0 for one in wanted if one.rank == 0}
        return replace(self, cuts={n: tuple(found.get((n, rank)) for rank in ranks[n]) for n in ranks})

    def _select(self, ask: Ask, wanted: Sequence["_Rank"]) -> dict["_Rank", int]:
        """The hash at each rank."""
        windows = {one: one.window() for one in wanted}
        found: dict[_Rank, int] = {}
        while windows:
            near = _Near(columns=self.columns, key=self.key, seed=self.seed, windows=windows)
            for one, (below, inside_N) in _merged(ask(near)).items():
                low, high = windows[one]
                if below <= one.rank < below + len(inside_N):
                    found[one] = int(np.partition(inside_N, one.rank - below)[one.rank - below])
                else:
                    windows[one] = (0, low - 1) if one.rank < below else (high + 1, _TOP)
            windows = {one: window for one, window in windows.items() if one not in found}
        return found


@dataclass(frozen=True, order=True)
class _Rank:
    """The place of a hash among those of its class, from 0."""

    name: str
    rank: int
    num_rows: int

    @property
    def is_inside(self) -> bool:
        """Whether a row has it, and not all rows come after it."""
        return 0 < self.rank < self.num_rows

    def window(self) -> tuple[int, int]:
        """First and last hash between which it lies, as good as certainly."""
        share = self.rank / self.num_rows
        reach = _SIGMAS * (share * (1 - share) / self.num_rows) ** 0.5 + _SIGMAS / self.num_rows
        return int(max(0.0, share - reach) * _TOP), min(_TOP, int((share + reach) * 2**64))


@dataclass(frozen=True)
class _Classes:
    """The classes of some rows: their names, and the rows of each."""

    names: list[str]
    order_N: NDArray[np.int64]
    bounds: list[int]

    def of(self, code: int) -> NDArray[np.int64]:
        """The places of the rows of a class."""
        return self.order_N[self.bounds[code] : self.bounds[code + 1]]


def _classes(rows: pa.Table, columns: Sequence[str]) -> _Classes:
    encoded = row_cells(rows, columns).combine_chunks().dictionary_encode()
    code_N = encoded.indices.to_numpy()
    order_N = np.argsort(code_N, kind="stable")
    bounds = np.searchsorted(code_N[order_N], np.arange(len(encoded.dictionary) + 1)).tolist()
    return _Classes(encoded.dictionary.to_pylist(), order_N, bounds)


@dataclass(frozen=True, kw_only=True)
class _Count:
    """Worker: how many rows each class has."""

    columns: tuple[str, ...]

    def __call__(self, rows: pa.Table) -> dict[str, int]:
        classes = _classes(rows, self.columns)
        return {name: len(classes.of(code)) for code, name in enumerate(classes.names)}


@dataclass(frozen=True, kw_only=True)
class _Near:
    """Worker: of each rank, how many hashes of its class are below its window, and those inside."""

    columns: tuple[str, ...]
    key: tuple[str, ...]
    seed: int
    windows: Mapping[_Rank, tuple[int, int]]

    def __call__(self, rows: pa.Table) -> dict[_Rank, tuple[int, NDArray[np.uint64]]]:
        hash_N, classes = points(rows, self.key, seed=self.seed), _classes(rows, self.columns)
        codes = {name: code for code, name in enumerate(classes.names)}
        out = {}
        for one, (low, high) in self.windows.items():
            if one.name in codes:
                its_N = hash_N[classes.of(codes[one.name])]
                inside = (its_N >= np.uint64(low)) & (its_N <= np.uint64(high))
                out[one] = int((its_N < np.uint64(low)).sum()), its_N[inside]
        return out


def _merged(
    answers: Iterable[dict[_Rank, tuple[int, NDArray[np.uint64]]]],
) -> dict[_Rank, tuple[int, NDArray[np.uint64]]]:
    below: Counter[_Rank] = Counter()
    inside: dict[_Rank, list[NDArray[np.uint64]]] = {}
    for answer in answers:
        for one, (num, its_N) in answer.items():
            below[one] += num
            inside.setdefault(one, []).append(its_N)
    return {one: (below[one], np.concatenate(found)) for one, found in inside.items()}


def apportion(num_rows: int, shares: Sequence[float], *, name: str, seed: int, first: int | None = None) -> list[int]:
    """`num_rows` in whole parts, each less than one row from its share: the largest remainders get what is left over.

    Parts that would stay empty come before those that have rows, part `first` before all; equal remainders go by a hash of
    `name` and part, so that over many classes no part is favoured.

    Args:
        num_rows: At least 0.
        shares: Positive, summing to 1.
        name: The class.
        seed: Changes how equal remainders go.
        first: A part that gets a row when there is one.
    """
    quotas = [num_rows * share for share in shares]
    sizes = [int(quota + 1e-9) for quota in quotas]
    drawn = [hashlib.blake2b(f"{seed}|{part}|{name}".encode(), digest_size=8).digest() for part in range(len(shares))]

    def rank(part: int) -> tuple[bool, bool, float, bytes]:
        empty = sizes[part] == 0
        return not (empty and part == first), not empty, round(sizes[part] - quotas[part], 9), drawn[part]

    for part in sorted(range(len(shares)), key=rank)[: num_rows - sum(sizes)]:
        sizes[part] += 1
    return sizes
