"""Cells of any Arrow type, against every declared type: no error, no row lost, and values of the declared type."""

from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from contract_parts import contract

KINDS = ("string", "int64", "float64", "bool", "timestamp", "date", "list<string>", "list<int64>", "vector")
CELLS = [
    pa.nulls(3),
    pa.array([b"a", None, b"\xff"]),
    pa.array([{"a": 1}, None, {"a": 2}]),
    pa.array([[1], None, [2, 3]]),
    pa.array([["a"], None, [None]]),
    pa.array([[[1]], None, [[2]]]),
    pa.array([[1.0, 2.0], None, [3.0, None]], pa.list_(pa.float32(), 2)),
    pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int64())),
    pa.array(["a", None, "1"], pa.string_view()),
    pa.array(["a", None, "1"], pa.large_string()),
    pa.array(["a", None, "1"]).dictionary_encode(),
    pa.DictionaryArray.from_arrays(pa.array([0, 1, None]), pa.array(["1", None])),
    pa.RunEndEncodedArray.from_arrays(pa.array([3], pa.int32()), pa.array(["1"])),
    pa.array([1, None, 2**63], pa.uint64()),
    pa.array(np.array([1.5, 0, np.nan], np.float16)),
    pa.array([Decimal("1.5"), None, Decimal("2")]),
    pa.array([time(1, 2), None, time(3, 4)]),
    pa.array([timedelta(1), None, timedelta(2)]),
    pa.array([datetime(2013, 1, 1), None, datetime(1, 1, 1)]),
    pa.array([datetime(2013, 1, 1, tzinfo=UTC), None, datetime(1970, 1, 1, tzinfo=UTC)], pa.timestamp("s", "Asia/Tokyo")),
    pa.array([1, None, 2**62], pa.timestamp("ns", "UTC")),
    pa.array([86_400_000, None, 0], pa.date64()),
    pa.array([True, None, False]),
    pa.array(["x", None, "1"])[1:],
]
CLEANED: dict[str, Any] = {
    "string": {"clean": ["trim", {"unicode": "NFKC"}, {"null_if": ["1"]}], "max_length": 2},
    "int64": {"clean": [{"null_if": ["NaN", 2]}, {"outliers": {"above": 1, "then": "cap"}}], "min": -1},
    "float64": {"clean": [{"null_if": ["NaN", 2]}, {"outliers": {"below": 1, "then": "quarantine"}}], "max": 5},
    "timestamp": {"zone": "UTC", "min": "2000-01-01T00:00:00Z"},
    "list<string>": {"max_length": 1, "clean": ["trim"]},
    "vector": {"min_length": 1, "nullable": False},
}


@pytest.mark.parametrize("cells", CELLS, ids=lambda cells: str(cells.type)[:30])
def test_no_row_is_lost_whatever_its_cells_are(cells: pa.Array) -> None:
    chunks = [pa.chunked_array([cells, cells]), pa.chunked_array([], cells.type)]
    for kind in KINDS:
        for settings in ({}, CLEANED.get(kind, {"nullable": False})):
            c = contract(x={"type": kind, **settings})
            for table in (pa.table({"x": column}) for column in chunks):
                checked = c.check(table)
                checked.good.validate(full=True)
                assert checked.good.schema == c.schema
                rows = [*checked.good_rows_M.tolist(), *checked.bad["row"].to_pylist()]
                assert sorted(rows) == list(range(table.num_rows))
