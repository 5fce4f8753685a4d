"""Features as tests write them, fitted on small tables, and tensors compared by their bytes."""

import hashlib
import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from raypipe.core.config import build
from raypipe.core.errors import RaypipeError
from raypipe.core.tensors import Tensors
from raypipe.features import FeatureSet, FitState, Fitted, FittedFeatures, Labels, fit_chunk, merge_states, solve

US = pa.timestamp("us", "UTC")
NEW_YORK = "America/New_York"
OWN = "own_features"


def feature_set(derive: dict[str, str] | None = None, **features: Any) -> FeatureSet:
    """As from a configuration that allows the module `OWN`."""
    return build({"derive": derive or {}, "features": features}, FeatureSet, allowed=[OWN])


def labels(y: Sequence[float], fold: Sequence[int], *, past_only: bool = False) -> Labels:
    fold_N = np.array(fold, np.int64)
    return Labels(y_N=np.array(y, np.float64), fold_N=fold_N, num_folds=int(fold_N.max()) + 1, past_only=past_only)


def part(found: Labels | None, start: int, stop: int) -> Labels | None:
    """Labels of some rows."""
    if found is None:
        return None
    rows = slice(start, stop)
    return Labels(y_N=found.y_N[rows], fold_N=found.fold_N[rows], num_folds=found.num_folds, past_only=found.past_only)


def states(features: FeatureSet, table: pa.Table, cuts: Sequence[int] = (), known: Labels | None = None) -> list[FitState]:
    """States of the chunks between `cuts`."""
    bounds = [0, *cuts, table.num_rows]
    return [
        fit_chunk(features, table.slice(start, stop - start), part(known, start, stop))
        for start, stop in itertools.pairwise(bounds)
    ]


def fit(features: FeatureSet, table: pa.Table, cuts: Sequence[int] = (), known: Labels | None = None) -> Fitted:
    return solve(features, merge_states(states(features, table, cuts, known)), table.schema)


def fitted(features: FeatureSet, table: pa.Table, cuts: Sequence[int] = (), known: Labels | None = None) -> FittedFeatures:
    return fit(features, table, cuts, known).features


def output(found: FittedFeatures, tensors: Tensors, name: str) -> NDArray[Any]:
    """The column of a tensor that has this name."""
    if name in found.specs.numbers:
        return tensors["numbers_NF"][:, found.specs.numbers.index(name)]
    return tensors["categories_NC"][:, found.specs.categories.index(name)]


def values(found: FittedFeatures, table: pa.Table) -> dict[str, list[Any]]:
    """Every output as a list by name, of both back ends, which agree."""
    tensors = found.transform(table)
    assert_same(found, tensors, joined([found.row(record) for record in table.to_pylist()]))
    return {name: output(found, tensors, name).tolist() for name in (*found.specs.numbers, *found.specs.categories)}


def joined(parts: Sequence[Tensors]) -> Tensors:
    return {name: np.concatenate([tensors[name] for tensors in parts]) for name in parts[0]}


def assert_same(found: FittedFeatures, expected: Tensors, tensors: Tensors, rows: Sequence[object] = ()) -> None:
    """Equal in every bit; else the first difference is named by output and row."""
    assert list(tensors) == list(expected) == ["numbers_NF", "categories_NC"]
    names = {"numbers_NF": found.specs.numbers, "categories_NC": found.specs.categories}
    for tensor, want in expected.items():
        got = tensors[tensor]
        assert (got.dtype, got.shape) == (want.dtype, want.shape), tensor
        assert got.flags.c_contiguous
        different = np.argwhere(np.ascontiguousarray(got).view(np.uint32) != np.ascontiguousarray(want).view(np.uint32))
        for row, column in different[:1].tolist():
            shown = f"{names[tensor][column]}: {want[row, column]!r} became {got[row, column]!r} in row {row}"
            raise AssertionError(f"{shown} {rows[row] if rows else ''}")


def bytes_digest(tensors: Tensors) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(tensors[name]).tobytes() for name in sorted(tensors))).hexdigest()


def own_function(name: str, *columns: str) -> dict[str, Any]:
    """A feature by a function of the module `OWN`."""
    return {"kind": "python", "function": f"{OWN}:{name}", "columns": columns or ["x"]}


def refused(error: type[RaypipeError], call: Callable[..., Any], *given: Any, **named: Any) -> str:
    """The message, which is one line but for the caret under an expression."""
    with pytest.raises(error) as caught:
        call(*given, **named)
    said = str(caught.value)
    first, *shown = said.split("\n")
    assert not shown or (len(shown) == 2 and re.fullmatch(" *\\^", shown[1])), said
    return f"{first}\n{shown[1]}" if shown else said
