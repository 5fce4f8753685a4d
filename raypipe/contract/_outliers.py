"""Outliers by quantiles: bounds from the rows of one ingest, then the rows within them."""

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa

from raypipe.contract._check import Checked, bad_table
from raypipe.contract._cleaning import CleaningLog, bools, outlier_mask, without_outliers
from raypipe.contract._column import Column
from raypipe.contract._reasons import explain
from raypipe.contract._steps import OutlierBounds, Outliers
from raypipe.profiles import ColumnState


def steps_by_quantiles(columns: Mapping[str, Column]) -> Iterator[tuple[str, Outliers]]:
    """Columns with outliers by quantiles, each with its step."""
    for name, column in columns.items():
        for step in column.clean:
            if isinstance(step, Outliers) and step.outliers.quantiles is not None:
                yield name, step


def bounds_of(columns: Mapping[str, Column], states: Mapping[str, ColumnState]) -> dict[str, OutlierBounds]:
    """The bounds that the quantiles of these rows make; none for a column without values."""
    found = {}
    for name, step in steps_by_quantiles(columns):
        if step.outliers.quantiles is not None and (quantiles := states[name].quantiles(step.outliers.quantiles)):
            low, high = quantiles
            if low < high:  # a column of one value has no outliers
                found[name] = OutlierBounds(below=low, above=high, then=step.outliers.then)
    return found


def any_outside(table: pa.Table, bounds: Mapping[str, OutlierBounds]) -> bool:
    """Whether a checked table holds outliers."""
    return any(bools(outlier_mask(table.column(name).combine_chunks(), bound)).any() for name, bound in bounds.items())


def within(table: pa.Table, columns: Mapping[str, Column], bounds: Mapping[str, OutlierBounds]) -> Checked:
    """A checked table with outliers capped, null, or their rows set aside."""
    log, bad, bad_N = CleaningLog(), [], np.zeros(table.num_rows, np.bool_)
    broken: dict[str, int] = {}
    for name, step in steps_by_quantiles(columns):
        if name not in bounds:
            continue
        values = table.column(name).combine_chunks()
        if bounds[name].then != "quarantine":
            after = log.add(step, name, columns[name], values, without_outliers(values, bounds[name]))
            table = table.set_column(table.column_names.index(name), table.schema.field(name), after)
            continue
        outside_N = bools(outlier_mask(values, bounds[name]))
        row_M = np.flatnonzero(outside_N & ~bad_N)
        bad_N |= outside_N
        broken |= {f"outliers of {name}": int(outside_N.sum())} if outside_N.any() else {}
        cells = values.take(pa.array(row_M)).to_pylist()
        bad += [
            (r, name, "outliers", explain("outliers", columns[name], c)) for r, c in zip(row_M.tolist(), cells, strict=True)
        ]
    good_N = np.flatnonzero(~bad_N)
    good = table.filter(pa.array(~bad_N)) if bad else table
    return Checked(good=good, good_rows_M=good_N, bad=bad_table(bad), broken=broken, cleaned=log.by_step)
