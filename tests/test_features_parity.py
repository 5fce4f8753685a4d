"""The same row gives the same bits alone, in company, in a table of any form, as a record, and after being stored."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import feature_cases as cases
import numpy as np
import pyarrow as pa
from feature_forms import forms
from feature_parts import OWN, assert_same, fit, joined
from hypothesis import HealthCheck, Phase, assume, event, given, settings
from hypothesis import strategies as st

from raypipe.core.errors import FeatureError
from raypipe.features import FittedFeatures

PHASES = [Phase.generate, Phase.shrink]
FIXED = settings(max_examples=350, derandomize=True, database=None, phases=PHASES, suppress_health_check=list(HealthCheck))
RECORDS = st.lists(cases.RECORD, min_size=1, max_size=5)
DRAWN = given(cases.cases(), RECORDS, st.sampled_from([1, 2, 20]), st.data())
EXTRA = pa.field("extra", pa.string())


@FIXED
@DRAWN
def test_a_row_gives_the_same_bits_in_every_way_to_transform_it(
    case: cases.Case, records: list[dict[str, Any]], repeats: int, data: st.DataObject
) -> None:
    check(case, records, repeats, data)


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


def fitted_case(case: cases.Case) -> FittedFeatures:
    """Not every drawn feature can be fitted: a derived column may be null in all rows, or too large in some."""
    try:
        return fit(case.features, case.table, [3], case.labels).features
    except FeatureError as error:
        event(error.problem)
        assume(False)
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
    code = "import json, test_features_parity; print(json.dumps(test_features_parity.digests(60)))"
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
