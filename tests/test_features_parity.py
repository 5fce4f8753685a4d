"""The same row gives the same bits alone, in company, in a table of any form, as a record, and after being stored.

What one way to transform a row refuses, the others refuse too.
"""

import hashlib
import itertools
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import feature_cases as cases
import numpy as np
import pyarrow as pa
import pytest
from feature_forms import forms
from feature_parts import OWN, assert_same, feature_set, fit, fitted, joined
from feature_rows import HOSTILE, JUNK, KINDS, RECORD, training_table
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from raypipe.core.errors import FeatureError
from raypipe.features import FittedFeatures
from raypipe.features._fitted import _FEW_ROWS

FIXED = settings(
    max_examples=200,
    derandomize=True,
    database=None,
    deadline=None,  # conftest's profile is not there in the process without vector instructions
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
RECORDS = st.lists(RECORD, min_size=1, max_size=5)
DRAWN = given(cases.cases(), RECORDS, st.sampled_from([1, 2, 20]), st.data())
EXTRA = pa.field("extra", pa.string())


@FIXED
@DRAWN
def test_a_row_gives_the_same_bits_in_every_way_to_transform_it(
    case: cases.Case, records: list[dict[str, Any]], repeats: int, data: st.DataObject
) -> None:
    check(case, records, repeats, data)


@settings(FIXED, max_examples=20)
@given(cases.cases(), RECORDS)
def test_records_give_the_same_bits_up_to_where_rows_are_faster_and_beyond(
    case: cases.Case, records: list[dict[str, Any]]
) -> None:
    found = fitted_case(case)
    times = _FEW_ROWS // len(records) + 1
    many, want = records * times, joined([found.row(record) for record in records] * times)
    assert_same(found, want, found.transform_rows(many), many)
    few = {name: tensor[:_FEW_ROWS] for name, tensor in want.items()}
    assert_same(found, few, found.transform_rows(many[:_FEW_ROWS]), many)


def check(case: cases.Case, records: list[dict[str, Any]], repeats: int, data: st.DataObject) -> None:
    found = fitted_case(case)
    rows = [found.row(record) for record in records]
    records, want = records * repeats, joined(rows * repeats)  # many rows take other ways to the same bits
    table = found.table(records)
    assert_same(found, want, found.transform(table), records)
    for i, row in enumerate(rows):
        assert_same(found, row, found.transform(table.slice(i, 1)), records[i:])
    assert_same(found, want, found.transform(in_other_form(table, data)), records)
    assert_same(found, want, found.transform_rows(records), records)
    permuted = {key: records[0][key] for key in data.draw(st.permutations(list(records[0])))}
    assert_same(found, rows[0], found.row(permuted), records)
    for again in (FittedFeatures.from_files(found.to_files(), allowed=[OWN]), pickle.loads(pickle.dumps(found))):
        assert (again, again.digest, again.specs) == (found, found.digest, found.specs)
        assert_same(again, want, again.transform(table), records)
        assert_same(again, rows[0], again.row(records[0]), records)
    assert_same_columns(found, want, found.transform_table(table))


CANNOT_BE_FITTED = re.compile("null in all training rows|infinite value|too large to|no value occurs|two outputs|same value in")


def fitted_case(case: cases.Case) -> FittedFeatures:
    """Not every drawn feature can be fitted: a derived column may be null in all rows, or too large in some."""
    try:
        return fit(case.features, case.table, [3], case.labels).features
    except FeatureError as error:
        if CANNOT_BE_FITTED.search(str(error)) is None:
            raise
        assume(condition=False)
        raise


def in_other_form(table: pa.Table, data: st.DataObject) -> pa.Table | pa.RecordBatch:
    """The same rows in drawn types, chunks and order of columns, among rows and columns that do not matter."""
    columns = {}
    for name in data.draw(st.permutations(table.column_names)):
        found = forms(table.column(name).combine_chunks())
        columns[name] = found[data.draw(st.sampled_from(list(found)))]
    other = pa.table(columns).append_column(EXTRA, pa.array(["?"] * table.num_rows))
    how = data.draw(st.sampled_from(["slice", "chunks", "batch"]))
    if how == "slice":
        return pa.concat_tables([other] * 3).slice(table.num_rows, table.num_rows)
    if how == "chunks":
        cut = data.draw(st.integers(0, table.num_rows))
        return pa.concat_tables([other.slice(0, cut), other.slice(cut)])
    (batch,) = other.to_batches()
    return batch


def assert_same_columns(found: FittedFeatures, want: dict[str, Any], table: pa.Table) -> None:
    names = {"numbers_NF": found.specs.numbers, "categories_NC": found.specs.categories}
    assert table.column_names == [name for tensor in names for name in names[tensor]]
    for tensor, columns in names.items():
        for place, name in enumerate(columns):
            assert table[name].to_numpy().tobytes() == want[tensor][:, place].tobytes(), name


def digests(num_cases: int) -> dict[str, Any]:
    """Sha256 of the bytes that each back end gives for drawn rows, and the CPU features that NumPy uses."""
    features = np._core._multiarray_umath.__cpu_features__
    columns, rows = hashlib.sha256(), hashlib.sha256()

    @settings(FIXED, max_examples=num_cases)
    @given(cases.cases(), RECORDS)
    def collect(case: cases.Case, records: list[dict[str, Any]]) -> None:
        found = fitted_case(case)
        for tensor in found.transform(found.table(records)).values():
            columns.update(tensor.tobytes())
        for tensor in joined([found.row(record) for record in records]).values():
            rows.update(tensor.tobytes())

    collect()
    used = [name for name in np._core._multiarray_umath.__cpu_dispatch__ if features[name]]
    return {"columns": columns.hexdigest(), "rows": rows.hexdigest(), "used": used}


def test_columns_and_rows_agree_on_a_processor_without_vector_instructions() -> None:
    features = np._core._multiarray_umath.__cpu_features__
    dispatched = [name for name in np._core._multiarray_umath.__cpu_dispatch__ if features[name]]
    code = "import json, test_features_parity; print(json.dumps(test_features_parity.digests(40)))"
    environment = os.environ | {
        "NPY_DISABLE_CPU_FEATURES": " ".join(dispatched),
        "ARROW_USER_SIMD_LEVEL": "NONE",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["used"] == []
    assert found["columns"] == found["rows"] != hashlib.sha256().hexdigest()


NUMBER = {
    "number": {"kind": "number", "log1p": True, "clip": [0.1, 0.9], "impute": "median", "indicator": True},
    "plain": {"kind": "number", "impute": "none", "scale": "none"},
    "bucket": {"kind": "bucket", "num": 3, "by": "uniform"},
}
VALUE = {
    "category": {"kind": "category"},
    "one_hot": {"kind": "category", "encode": "one_hot", "max_size": 3},
    "hash": {"kind": "hash", "buckets": 7},
}
CLOCK = {
    "calendar": {"kind": "calendar", "zone": "America/New_York", "parts": ["hour", "day"]},
    "cyclic": {"kind": "calendar", "zone": "Europe/Paris", "parts": ["weekday"], "as": "cyclic"},
}
SEEN = {"seen": {"kind": "python", "function": f"{OWN}:seen", "scale": "none"}}
OF_KIND: dict[str, dict[str, Any]] = {
    "float64": NUMBER,
    "int64": NUMBER | VALUE,
    "bool": NUMBER | VALUE | {"boolean": {"kind": "boolean"}},
    "string": VALUE,
    "timestamp": CLOCK,
    "date": CLOCK,
    "duration": {},
    "list<string>": {"multi_hot": {"kind": "multi_hot"}},
    "list<int64>": {"multi_hot": {"kind": "multi_hot"}},
    "vector": {"vector": {"kind": "vector", "size": 3}},
}


def features_of(kind: str) -> FittedFeatures:
    """What a column of a kind can be made into, and a function that sees all of it."""
    column = KINDS[kind][0]
    specs = {n: s | ({"columns": [column]} if n == "seen" else {"column": column}) for n, s in (OF_KIND[kind] | SEEN).items()}
    return fitted(feature_set(**specs), training_table(3, 40))


def tried(way: Any, *given: Any) -> tuple[str, Any]:
    """What a way to transform answers, or the column that it refuses."""
    try:
        return "gave", way(*given)
    except FeatureError as error:
        return "refused", error.subject


@pytest.mark.parametrize(("kind", "held"), list(itertools.product(KINDS, [*HOSTILE, "junk"])))
def test_a_cell_is_taken_or_refused_alike_in_a_record_and_in_arrows_table_of_it(kind: str, held: str) -> None:
    found, (column, *_) = features_of(kind), KINDS[kind]
    for cell in JUNK if held == "junk" else HOSTILE[held]:
        answer, row = tried(found.row, {column: cell})
        many, rows = tried(lambda records: found.transform(found.table(records)), [{column: cell}] * 20)
        assert many == answer, repr(cell)
        try:
            table = pa.table({column: pa.array([cell])})
        except (pa.ArrowException, OverflowError, TypeError, ValueError):
            assert answer == "refused", repr(cell)  # Arrow has no such type
            continue
        alone, columns = tried(found.transform, table)
        assert alone == answer, repr(cell)
        if answer == "gave":
            assert_same(found, row, columns, [cell])
            assert_same(found, joined([row] * 20), rows, [cell])
        else:
            assert {row, rows, columns} <= {column, "vector"}, repr(cell)
