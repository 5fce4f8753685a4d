"""The parity gate: nothing is saved whose features depend on how they are computed, or whose refusals do."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import bundle_parts
import numpy as np
import pyarrow as pa
import pytest
from bundle_parts import With, contract, fitted_features, raw_rows

from raypipe.bundle import Bundle, check_parity, load_bundle, read_manifest, save_bundle
from raypipe.bundle._golden import Difference, first_difference
from raypipe.contract import Contract, Records
from raypipe.core.config import build
from raypipe.core.errors import BundleError
from raypipe.core.tensors import Tensors, TensorSpecs
from raypipe.features import FeatureSet, FittedFeatures, fit_chunk, solve
from raypipe.features._fitted import _FEW_ROWS

binary = bundle_parts.binary
folder = bundle_parts.folder


def one_bit_off(tensors: Tensors, tensor: str, column: int, row: int = 0) -> Tensors:
    """The tensors with the last bit of one value turned."""
    changed = tensors[tensor].copy()
    changed.view("u4")[row, column] ^= 1
    return {**tensors, tensor: changed}


def bytes_of(tensors: Tensors) -> dict[str, bytes]:
    return {name: tensor.tobytes() for name, tensor in tensors.items()}


def refuse(bundle: Bundle, folder: Path, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        save_bundle(bundle, folder / "b")
    assert [p for p in folder.iterdir() if p.name.startswith((".b", "b"))] == []


# --- what is proved, and stored ---


def test_parity_is_stored_with_the_bundle_and_names_no_time_or_machine(binary: Bundle, folder: Path) -> None:
    said = json.loads((folder / "parity.json").read_text())
    assert said.pop("num_refused") > 100
    assert said.pop("num_hostile") >= 1024
    assert said.pop("back_ends")[-1] == "row function"
    assert said == {"num_real": 100, "seed": 0, "differences": 0}
    assert "parity.json" in {entry.path for entry in read_manifest(folder).files}


def test_the_loaded_bundle_proves_the_same_again(binary: Bundle, folder: Path) -> None:
    loaded = load_bundle(folder)
    parity = check_parity(loaded.features, inputs=loaded.inputs, rows=loaded.examples, uri="again")
    assert parity.to_dict() == json.loads((folder / "parity.json").read_text())
    assert str(parity).startswith("100 real and ")
    assert "0 differences between columns, " in str(parity)


def test_many_examples_are_sampled_and_few_of_them_are_golden(binary: Bundle, tmp_path: Path) -> None:
    save_bundle(replace(binary, examples=raw_rows(1000)), tmp_path / "b")
    loaded = load_bundle(tmp_path / "b")
    assert len(loaded.examples) == 256
    assert loaded.examples.slice(255).equals(raw_rows(1000).slice(999).combine_chunks())
    assert json.loads((tmp_path / "b" / "parity.json").read_text())["num_real"] == 256


def test_features_of_many_kinds_are_the_same_in_every_way_and_named_by_output() -> None:
    kinds = {
        "year": {"kind": "number", "column": "planes_year", "impute": "median", "scale": "robust"},
        "temp": {"kind": "number", "column": "weather_temp", "impute": "mean", "scale": "min_max"},
        "far": {"kind": "number", "column": "log_distance", "scale": "standard"},
        "who": {"kind": "category", "columns": ["carrier", "holiday"]},
        "airline": {"kind": "category", "column": "carrier", "encode": "one_hot"},
        "when": {"kind": "calendar", "column": "time_hour", "zone": "America/New_York", "parts": ["hour", "week", "year"]},
    }
    spec = {"derive": {"log_distance": "log1p(distance) * coalesce(weather_temp, 1.0)"}, "features": kinds}
    features, rows = build(spec, FeatureSet), raw_rows()
    fitted = solve(features, fit_chunk(features, rows), rows.schema).features
    assert check_parity(fitted, inputs=contract(), rows=rows, uri="kinds").differences == 0
    at = fitted.specs.numbers.index("airline_DL")
    wrong = With(fitted, row=lambda record: one_bit_off(fitted.row(record), "numbers_NF", at))
    with pytest.raises(BundleError, match=r"feature airline_DL is .* by the row function, not .* on real row 0"):
        check_parity(wrong, inputs=contract(), rows=rows, uri="kinds")


def test_rows_and_tables_are_answered_with_the_same_bits(binary: Bundle) -> None:
    features: FittedFeatures = binary.features
    records = binary.example_records(20) * (_FEW_ROWS // 20 + 1)  # so many are transformed as columns
    read = binary.inputs.read_records(records)
    table = binary.inputs.check_records(records).good
    for num in (1, 2, 20, len(records)):
        by_column = bytes_of(features.transform(table.slice(0, num)))
        assert bytes_of(features.transform_rows(read.rows[:num])) == by_column
        assert bytes_of(features.transform(features.table(read.rows[:num]))) == by_column
        rows, columns = binary.predict_rows(read.rows[:num]), binary.predict(table.slice(0, num))
        assert rows.scores.tobytes() == columns.scores.tobytes()
        assert rows.labels.tolist() == columns.labels.tolist()


# --- differences between back ends ---


@pytest.mark.parametrize(
    ("tensor", "column", "named"),
    [("numbers_NF", 0, "distance"), ("numbers_NF", 2, "weather_temp"), ("categories_NC", 1, "holiday")],
)
def test_a_row_function_that_differs_in_one_bit_is_refused_by_feature_and_row(
    binary: Bundle, tmp_path: Path, tensor: str, column: int, named: str
) -> None:
    def row(record: Mapping[str, object]) -> Tensors:
        tensors = binary.features.row(record)
        return one_bit_off(tensors, tensor, column) if record["minute"] == 7 else tensors

    wrong = replace(binary, features=With(binary.features, row=row), examples=raw_rows(300))
    said = rf"train/serve parity: feature {named} is .* by the row function, not .* as by columns, on real row \d+ \(carrier="
    refuse(wrong, tmp_path, said + r".*minute=7, ")


def test_a_difference_that_only_a_hostile_row_shows_is_refused_with_the_row(binary: Bundle, tmp_path: Path) -> None:
    def row(record: Mapping[str, object]) -> Tensors:
        tensors = binary.features.row(record)
        return one_bit_off(tensors, "numbers_NF", 1) if record["planes_year"] == 2**53 + 1 else tensors

    wrong = replace(binary, features=With(binary.features, row=row))
    refuse(wrong, tmp_path, r"feature planes_year is .* on hostile row \d+ \(.*planes_year=9007199254740993, ")


def test_values_that_look_the_same_are_shown_with_their_bits() -> None:
    specs = TensorSpecs(numbers=("a", "b"))
    one = {"numbers_NF": np.array([[1, 2], [3, np.nan]], np.float32)}
    other = {"numbers_NF": one["numbers_NF"].copy()}
    other["numbers_NF"].view("u4")[1, 1] ^= 1
    found = first_difference("x", specs, one, other)
    assert found == Difference(row=1, feature="b", expected="nan (bits 0000c07f)", found="nan (bits 0100c07f)")
    zero = {"numbers_NF": np.array([[-0.0, 0]], np.float32)}
    assert first_difference("x", specs, zero, {"numbers_NF": zero["numbers_NF"] + 0}).found == "0.0"
    assert first_difference("x", specs, one, one) is None


def test_the_first_row_that_differs_is_named_whatever_the_tensor() -> None:
    specs = TensorSpecs(numbers=("a",), categories=("c",), cardinalities=(9,))
    one = {"numbers_NF": np.zeros((5, 1), np.float32), "categories_NC": np.zeros((5, 1), np.int32)}
    other = one_bit_off(one_bit_off(one, "numbers_NF", 0, row=2), "categories_NC", 0, row=3)
    assert (found := first_difference("x", specs, one, other)) is not None
    assert (found.row, found.feature) == (2, "a")


def test_features_that_depend_on_the_rows_beside_are_refused(binary: Bundle, tmp_path: Path) -> None:
    def centred(table: pa.Table) -> Tensors:
        tensors = binary.features.transform(table)
        return {**tensors, "numbers_NF": tensors["numbers_NF"] - tensors["numbers_NF"].mean(axis=0)}

    refuse(
        replace(binary, features=With(binary.features, transform=centred)), tmp_path, "by the columns of one row, not .* as by"
    )


@pytest.mark.parametrize(
    ("way", "named"),
    [
        ("transform_rows", "carrier is .* by the rows,"),
        ("transform_table", "distance is .* by the columns as a table,"),
        ("table", "weather_temp is .* by the columns of records,"),
    ],
)
def test_the_other_ways_to_compute_are_compared_too(binary: Bundle, tmp_path: Path, way: str, named: str) -> None:
    def rows(records: Sequence[Mapping[str, object]]) -> Tensors:
        return one_bit_off(binary.features.transform_rows(records), "categories_NC", 0, row=3)

    def table(rows: pa.Table) -> pa.Table:
        outputs = binary.features.transform_table(rows)
        return outputs.set_column(0, outputs.column_names[0], pa.array(np.zeros(len(outputs), np.float32)))

    def of_records(records: Sequence[Mapping[str, object]]) -> pa.Table:
        return binary.features.table([{**record, "weather_temp": 5.0} for record in records])

    wrong = {"transform_rows": rows, "transform_table": table, "table": of_records}[way]
    refuse(replace(binary, features=With(binary.features, **{way: wrong})), tmp_path, f"feature {named} not .* as by columns")


def test_a_row_without_features_is_refused_with_its_values(binary: Bundle, tmp_path: Path) -> None:
    def row(record: Mapping[str, object]) -> Tensors:
        if record["holiday"] is None and record["carrier"] == "DL":
            raise OverflowError("too far")
        return binary.features.row(record)

    said = r"real row \d+ \(carrier='DL'.*holiday=None.*\) has no features by the row function \(OverflowError: too far\)"
    refuse(replace(binary, features=With(binary.features, row=row)), tmp_path, said)


def test_loaded_features_that_differ_from_those_in_memory_are_not_saved(binary: Bundle, tmp_path: Path) -> None:
    other = fitted_features(raw_rows(300, seed=5))
    features = With(binary.features, to_files=other.to_files)
    refuse(
        replace(binary, features=features),
        tmp_path,
        r"feature \w+ is .* by the loaded columns, not .* as by columns, on real row 0",
    )


# --- refused alike ---


class Loose(Contract):
    """Takes true for a whole number in records, which tables do not."""

    def read_records(self, records: Sequence[Mapping[str, object]]) -> Records:
        return super().read_records([{k: 1 if v is True and k == "minute" else v for k, v in r.items()} for r in records])


class Parsing(Contract):
    """Reads text of digits in records as whole numbers, where tables hold numbers."""

    def read_records(self, records: Sequence[Mapping[str, object]]) -> Records:
        return super().read_records([{**r, "minute": int(m)} if (m := r.get("minute")) == "3" else r for r in records])


class Rounding(Contract):
    """Reads numbers of records less exactly than those of tables."""

    def read_records(self, records: Sequence[Mapping[str, object]]) -> Records:
        read = super().read_records(records)
        rows = [{k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()} for row in read.rows]
        return replace(read, rows=rows)


def test_a_cell_that_a_record_may_hold_and_a_table_may_not_is_refused_by_column(binary: Bundle, tmp_path: Path) -> None:
    loose = Loose(columns=contract().columns)
    said = r"hostile row \d+: column minute is taken as 1 in a record, and refused \(type\) in a table; the row is "
    refuse(replace(binary, inputs=loose), tmp_path, said)


def test_a_cell_that_no_table_holds_must_be_refused_in_a_record(binary: Bundle, tmp_path: Path) -> None:
    said = r"hostile row \d+: column minute is taken as 3 in a record, and has to be refused \(type\), as no table holds it; "
    refuse(replace(binary, inputs=Parsing(columns=contract().columns)), tmp_path, said + r"the row is .*minute='3'")


def test_a_cell_of_two_values_is_refused(binary: Bundle, tmp_path: Path) -> None:
    rounding = Rounding(columns=contract().columns)
    with pytest.raises(
        BundleError, match=r"column distance is taken as .* in a record, and taken as .* in a table|parity: feature"
    ):
        save_bundle(replace(binary, inputs=rounding), tmp_path / "b")


def test_a_real_row_that_no_client_could_send_is_refused(binary: Bundle, tmp_path: Path) -> None:
    rows = raw_rows(5)
    far = rows.set_column(1, "distance", pa.array([5.0, -1.0, float("nan"), 0.0, 1.0]))
    said = "real row 1 breaks the input contract, so no client could ask for it: column distance: -1.0 is less than 0"
    refuse(replace(binary, examples=far), tmp_path, said)
