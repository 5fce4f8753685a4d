"""Functions of tables, as users write them for transforms."""

import pyarrow as pa
import pyarrow.compute as pc


def doubled(table: pa.Table) -> pa.Table:
    return table.set_column(1, "x", pc.multiply(table["x"], 2))


def first_of_each(table: pa.Table) -> pa.Table:
    """The row with the smallest x of each id; it needs all rows of an id together."""
    return table.group_by("id").aggregate([("x", "min")]).select(["id", "x_min"])


def a_list(table: pa.Table) -> object:
    return table.to_pylist()


def unsteady(table: pa.Table) -> pa.Table:
    """Another type from piece to piece."""
    return table.select(["id"]) if table["id"][0].as_py() == 1 else table.select(["x"])


def a_struct(table: pa.Table) -> pa.Table:
    return pa.table({"s": pa.array([{"a": 1}] * table.num_rows)})


def fails(table: pa.Table) -> pa.Table:
    raise KeyError("x")
