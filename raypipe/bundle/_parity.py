"""Train/serve parity: all ways to compute features give the same bytes, on real rows and on hostile ones.

Training computes columns, serving computes one row; a difference between them is a model that is right in tests and
wrong in service. So a bundle with a difference is not saved, and not registered.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raypipe.bundle._alike import check_refused_alike
from raypipe.bundle._golden import first_difference, sample_rows
from raypipe.bundle._hostile import hostile_rows
from raypipe.bundle._inputs import json_rows
from raypipe.bundle._show import show_row
from raypipe.contract import Contract
from raypipe.core.errors import BundleError
from raypipe.core.tensors import Tensors, TensorSpecs
from raypipe.features import FittedFeatures

BackEnd = Literal[
    "columns",
    "columns of one row",
    "columns of coded text",
    "columns of records",
    "columns as a table",
    "rows",
    "row function",
]
BACK_ENDS: tuple[BackEnd, ...] = get_args(BackEnd)
SEED = 0
_LEAST, _MOST, _CELLS = 128, 1024, 40_000  # hostile rows, and about how many cells of them: wide rows are fewer
_BESIDE = "a feature must come from its own row alone, whatever rows are beside it"
_TOO_FAR = "a row that keeps the input contract must have features: narrow the contract, or handle the value"


@dataclass(frozen=True, kw_only=True)
class Parity:
    """That the back ends gave the same bytes, and on how many rows.

    Attributes:
        num_real: Example rows.
        num_hostile: Generated rows.
        num_refused: Of the generated ones, those that break the contract: refused in a record as in a table.
        seed: Of the generated rows.
        back_ends: Ways to compute features that were compared.
        differences: 0, since a difference is an error.
    """

    num_real: int
    num_hostile: int
    num_refused: int
    seed: int
    back_ends: tuple[str, ...] = BACK_ENDS
    differences: Literal[0] = 0

    def to_dict(self) -> dict[str, Any]:
        """As stored in parity.json."""
        return {**asdict(self), "back_ends": list(self.back_ends)}

    def __str__(self) -> str:
        hostile = f"{self.num_hostile} hostile rows ({self.num_refused} of them refused alike)"
        return f"{self.num_real} real and {hostile}: {self.differences} differences between {', '.join(self.back_ends)}"


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Rows on which back ends are compared: all that keep the contract, real ones first, as a table, as values, and by name."""

    table: pa.Table
    rows: Sequence[Mapping[str, object]]
    names: Sequence[str]
    parity: Parity

    def describe(self, row: int) -> str:
        """How a row is named in a message, with its values."""
        return f"{self.names[row]} ({show_row(self.rows[row])})"


def check_parity(
    features: FittedFeatures, *, inputs: Contract, rows: pa.Table, uri: str, seed: int = SEED, num_hostile: int | None = None
) -> Parity:
    """Prove that features come out the same to the last bit in every way to compute them, and bad rows are refused alike.

    Compared are all rows together, each row alone as a table, text as dictionaries (how prepared tables are read), the table
    made of records (how many of them are served), the table of outputs (how they are written), rows as values (by whichever
    of the two is faster for so many), and the row function (how one record is served).

    Args:
        features: What is checked.
        inputs: Contract of the rows.
        rows: Real rows that keep it; up to 256 are taken, evenly spread. The hostile ones are made from them.
        uri: What an error names.
        seed: Of the hostile rows.
        num_hostile: About how many hostile rows; by default 1024, fewer but more hostile ones for a wide contract.

    Raises:
        BundleError: naming the feature and the row with its values, and both results.
    """
    probe = make_probe(inputs, rows, uri=uri, seed=seed, num_hostile=num_hostile)
    compare_back_ends(features, probe, uri=uri)
    return probe.parity


def make_probe(inputs: Contract, rows: pa.Table, *, uri: str, seed: int = SEED, num_hostile: int | None = None) -> Probe:
    """The rows to compare on, after both checks of the contract gave the same verdicts.

    Raises:
        BundleError: naming the real row that the contract refuses, or the row and column judged in two ways.
    """
    real = sample_rows(rows, inputs.schema)
    known = _read_real(inputs, real, uri)
    num = num_hostile or min(_MOST, max(_LEAST, _CELLS // len(inputs.columns)))
    records = hostile_rows(inputs, real, seed=seed, num=num)
    read = inputs.read_records(records)
    check_refused_alike(inputs, records, read, uri=uri)
    refused = set(read.bad["row"].to_pylist())
    return Probe(
        table=pa.concat_tables([real, inputs.table(read.rows)]),
        rows=[*known, *read.rows],
        names=[
            *(f"real row {i}" for i in range(len(real))),
            *(f"hostile row {i}" for i in range(len(records)) if i not in refused),
        ],
        parity=Parity(num_real=len(real), num_hostile=len(records), num_refused=len(refused), seed=seed),
    )


def compare_back_ends(features: FittedFeatures, probe: Probe, *, uri: str) -> Tensors:
    """The tensors of the rows of `probe`, the same from all back ends.

    Raises:
        BundleError: naming the feature, the row with its values, and both results; or the row that has no features.
    """
    found: dict[BackEnd, Tensors] = {
        "columns of one row": _each(probe, "columns of one row", lambda i: features.transform(probe.table.slice(i, 1)), uri),
        "row function": _each(probe, "row function", lambda i: features.row(probe.rows[i]), uri),
    }
    together = _all("columns", lambda: features.transform(probe.table), uri)
    found["columns of coded text"] = _all("columns of coded text", lambda: features.transform(_coded(probe.table)), uri)
    of_records = _all("columns of records", lambda: features.transform(features.table(probe.rows)), uri)
    found["columns of records"] = of_records
    by_table = _all("columns as a table", lambda: _tensors(features.specs, features.transform_table(probe.table)), uri)
    found["columns as a table"] = by_table
    found["rows"] = _all("rows", lambda: features.transform_rows(probe.rows), uri)
    for back_end, tensors in found.items():
        _check(features, probe, together, tensors, name=back_end, uri=uri)
    return together


def compare_loaded(features: FittedFeatures, probe: Probe, tensors: Tensors, *, uri: str) -> None:
    """Refuse loaded features that give other bytes than those in memory gave.

    Raises:
        BundleError: naming the feature, the row with its values, and both results.
    """
    by_row = _each(probe, "loaded row function", lambda i: features.row(probe.rows[i]), uri)
    together = _all("loaded columns", lambda: features.transform(probe.table), uri)
    _check(features, probe, tensors, together, name="loaded columns", uri=uri)
    _check(features, probe, tensors, by_row, name="loaded row function", uri=uri)


def _read_real(inputs: Contract, real: pa.Table, uri: str) -> list[dict[str, object]]:
    """Real rows, cleaned as they are, as a client could send them; refused when they break the contract."""
    records, rules = json_rows(real), inputs.of_clean_rows
    for checked in (rules.check(real), read := rules.read_records(records)):
        for bad in checked.bad.slice(0, 1).to_pylist():
            said = f"real row {bad['row']} breaks the input contract, so no client could ask for it: column {bad['column']}"
            raise BundleError(uri, f"{said}: {bad['reason']}; the row is {show_row(records[bad['row']])}")
    return read.rows


def _each(probe: Probe, name: str, compute: Callable[[int], Tensors], uri: str) -> Tensors:
    """Tensors of all rows, computed one by one."""
    found: list[Tensors] = []
    with np.errstate(all="ignore"):
        for i in range(len(probe.rows)):
            try:
                found.append(compute(i))
            except Exception as error:
                problem = f"{probe.describe(i)} has no features by the {name} ({type(error).__name__}: {error}); {_TOO_FAR}"
                raise BundleError(uri, problem) from error
    return {tensor: np.concatenate([tensors[tensor] for tensors in found]) for tensor in found[0]}


def _all(name: str, compute: Callable[[], Tensors], uri: str) -> Tensors:
    """Tensors of all rows at once, each of which has features alone."""
    try:
        with np.errstate(all="ignore"):  # overflow is what hostile values are for
            return compute()
    except Exception as error:
        problem = f"all rows at once have no features by the {name} ({type(error).__name__}: {error}), but each alone has"
        raise BundleError(uri, f"{problem}; {_BESIDE}") from error


def _coded(table: pa.Table) -> pa.Table:
    """The same rows with text as dictionary-encoded columns."""
    return pa.table(
        {
            n: c.dictionary_encode() if pa.types.is_string(c.type) else c
            for n, c in zip(table.column_names, table.columns, strict=True)
        }
    )


def _tensors(specs: TensorSpecs, outputs: pa.Table) -> Tensors:
    """The tensors of a table of outputs."""

    def stacked(names: Sequence[str], dtype: type[np.generic]) -> NDArray[Any]:
        columns = [outputs[name].to_numpy() for name in names]
        return np.column_stack(columns) if columns else np.empty((len(outputs), 0), dtype)

    return {"numbers_NF": stacked(specs.numbers, np.float32), "categories_NC": stacked(specs.categories, np.int32)}


def _check(features: FittedFeatures, probe: Probe, expected: Tensors, found: Tensors, *, name: str, uri: str) -> None:
    differs = first_difference(uri, features.specs, expected, found)
    if differs is not None:
        problem = f"feature {differs.feature} is {differs.found} by the {name}, not {differs.expected} as by columns"
        way_out = f"; {_BESIDE}" if name == "columns of one row" else ""
        raise BundleError(uri, f"train/serve parity: {problem}, on {probe.describe(differs.row)}{way_out}")
