"""Features over plain Parquet files: the bits are those of the files, whatever does the work, and outputs are whole."""

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray.data

from raypipe.core.errors import FeatureError, SourceError, StorageError
from raypipe.core.storage import read_bytes
from raypipe.features import FeatureSet, fit_chunk, merge_states, solve
from raypipe.prepare import fit_files, transform_files
from raypipe.prepare._parquet import CHUNK_ROWS, chunks_of, list_fragments, read_fragment
from raypipe.prepare.preprocessor import FeaturePreprocessor

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

FEATURES = FeatureSet(
    derive={"per_day": "amount / 7"},
    features={
        "numbers": {"kind": "number", "columns": ["amount", "per_day"], "impute": "median"},
        "shop": {"kind": "category"},
        "tags": {"kind": "multi_hot"},
        "at": {"kind": "calendar", "zone": "Europe/Berlin", "parts": ["hour"]},
        "took": {"kind": "elapsed", "column": "at", "since": "since", "unit": "hours"},
    },
)
START = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


def table(seed: int, num: int = 500) -> pa.Table:
    rng = np.random.default_rng(seed)
    at = [START + dt.timedelta(minutes=int(m)) for m in rng.integers(0, 10**6, num)]
    return pa.table(
        {
            "unused": ["x" * 100] * num,
            "amount": pa.array(rng.lognormal(size=num), mask=rng.random(num) < 0.1),
            "shop": pa.array([f"shop {i}" for i in rng.zipf(1.5, num) % 50], mask=rng.random(num) < 0.1),
            "tags": [[f"t{i}" for i in rng.integers(0, 5, rng.integers(0, 3))] for _ in range(num)],
            "at": pa.array(at, pa.timestamp("us", "UTC")),
            "since": pa.array([START] * num, pa.timestamp("us", "UTC")),
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three files; the second has row groups."""
    made = tmp_path / "in"
    made.mkdir()
    for i in range(3):
        pq.write_table(table(i), made / f"{i}.parquet", row_group_size=200 if i == 1 else 1000)
    (made / "notes.txt").write_text("not a Parquet file")
    return made


def test_a_fit_is_that_of_the_chunks_in_the_order_of_files_and_rows(folder: Path) -> None:
    fitted = fit_files(FEATURES, [str(folder)])
    by_hand = solve(FEATURES, merge_states([fit_chunk(FEATURES, table(i)) for i in range(3)]), table(0).schema).features
    assert fitted.to_files() == by_hand.to_files()
    one_by_one = fit_files(FEATURES, [str(folder / f"{i}.parquet") for i in range(3)])
    assert one_by_one.to_files() == fitted.to_files()


def test_outputs_are_what_the_features_give_of_the_rows_in_their_order(folder: Path, tmp_path: Path) -> None:
    fitted = fit_files(FEATURES, [str(folder)])
    uris = transform_files(fitted, [str(folder)], str(tmp_path / "out"))
    assert [Path(uri).name for uri in uris] == ["00000.parquet", "00001.parquet", "00002.parquet"]
    written = pa.concat_tables([pq.read_table(uri) for uri in uris])
    expected = pa.concat_tables([fitted.transform_table(table(i)) for i in range(3)])
    assert written.schema.names == expected.schema.names
    for name in expected.column_names:
        assert written.column(name).to_numpy().tobytes() == expected.column(name).to_numpy().tobytes(), name
    assert fitted.digest.encode() in read_bytes(str(tmp_path / "out" / "transformed.json"))


def test_an_earlier_result_is_replaced_and_other_files_are_left_alone(folder: Path, tmp_path: Path) -> None:
    fitted, out = fit_files(FEATURES, [str(folder)]), tmp_path / "out"
    transform_files(fitted, [str(folder)], str(out))
    (out / ".00000.parquet.abc.partial").write_bytes(b"half")
    transform_files(fitted, [str(folder / "0.parquet")], str(out))
    assert sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) == ["00000.parquet", "transformed.json"]
    (out / "mine.csv").write_text("a")
    with pytest.raises(StorageError, match=r"holds files that are no features, such as .*mine.csv; choose a folder of its own"):
        transform_files(fitted, [str(folder)], str(out))
    assert (out / "transformed.json").exists()


def test_the_rows_themselves_are_never_written_over(folder: Path, tmp_path: Path) -> None:
    fitted = fit_files(FEATURES, [str(folder)])
    for out in (folder, folder / "out", tmp_path):
        with pytest.raises(StorageError, match=r"overlaps the rows to transform at .*; choose a folder of its own"):
            transform_files(fitted, [str(folder)], str(out))
    others = tmp_path / "others"
    others.mkdir()
    pq.write_table(table(1), others / "00000.parquet")
    before = (others / "00000.parquet").read_bytes()
    with pytest.raises(StorageError, match=r"holds files that are no features, such as .*00000.parquet"):
        transform_files(fitted, [str(folder)], str(others))
    assert (others / "00000.parquet").read_bytes() == before


def test_a_result_that_was_begun_is_finished_by_the_next_call(folder: Path, tmp_path: Path) -> None:
    fitted, out = fit_files(FEATURES, [str(folder)]), tmp_path / "out"
    transform_files(fitted, [str(folder)], str(out))
    whole = {path.name: path.read_bytes() for path in out.iterdir()}
    (out / "transformed.json").rename(out / "transforming.json")  # as a kill leaves it
    (out / "00001.parquet").unlink(missing_ok=True)
    transform_files(fitted, [str(folder)], str(out))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == whole


def test_a_result_without_its_last_file_is_not_there(folder: Path, tmp_path: Path) -> None:
    fitted, out = fit_files(FEATURES, [str(folder)]), tmp_path / "out"
    transform_files(fitted, [str(folder)], str(out))
    pq.write_table(table(9).drop_columns(["amount"]).append_column("amount", pa.array(["x"] * 500)), folder / "3.parquet")
    with pytest.raises(SourceError, match=r"3.parquet: column amount is string, and double in .*0.parquet"):
        transform_files(fitted, [str(folder)], str(out))
    assert (out / "transformed.json").exists(), "refused before any work"
    (folder / "3.parquet").write_bytes((folder / "0.parquet").read_bytes()[:-100])
    with pytest.raises(SourceError, match=r"3.parquet: is not a whole Parquet file"):
        fit_files(FEATURES, [str(folder)])


@pytest.mark.parametrize(
    ("spec", "error", "words"),
    [
        ({"amout": {"kind": "number"}}, FeatureError, "unknown column amout.*did you mean amount"),
        ({"shop": {"kind": "number"}}, FeatureError, "feature shop"),
        ({"shop": {"kind": "target"}}, FeatureError, "kind target is fitted with the label.*prepare a task with it"),
        ({"shop": {"kind": "category", "partitions": 4}}, FeatureError, "pass scratch=URI"),
    ],
)
def test_what_cannot_be_fitted_is_refused_in_one_line(spec: object, error: type[Exception], words: str, folder: Path) -> None:
    with pytest.raises(error, match=words) as caught:
        fit_files(FeatureSet(features=spec), [str(folder)])  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_no_files_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere: no Parquet file is there; name a file, or a folder"):
        fit_files(FEATURES, [str(tmp_path / "nowhere")])


def test_partitions_give_what_one_pass_gives_and_leave_nothing_behind(folder: Path, tmp_path: Path) -> None:
    one = {"kind": "category", "columns": ["shop"], "max_size": 20}
    plain = fit_files(FeatureSet(features={"shop": one}), [str(folder)])
    scratch = tmp_path / "scratch"
    parted = fit_files(FeatureSet(features={"shop": {**one, "partitions": 3}}), [str(folder)], scratch=str(scratch))
    assert parted.outputs == plain.outputs
    assert not list(scratch.rglob("*.*"))


def test_a_fit_that_fails_leaves_nothing_behind(folder: Path, tmp_path: Path) -> None:
    data, scratch = tmp_path / "data", tmp_path / "scratch"
    data.mkdir()
    rows = pq.read_table(folder / "0.parquet")
    for name, value in (("0", 1), ("1", 2**63)):
        pq.write_table(rows.append_column("big", pa.array([value] * rows.num_rows, pa.uint64())), data / f"{name}.parquet")
    shop = {"kind": "category", "columns": ["shop"], "partitions": 3}
    features = FeatureSet(features={"shop": shop, "big": {"kind": "number"}})
    with pytest.raises(FeatureError, match="holds a value out of the range of int64"):
        fit_files(features, [str(data)], scratch=str(scratch))
    assert not list(scratch.rglob("*"))


def test_pieces_are_runs_of_row_groups_and_a_chunk_is_never_larger_than_its_bound(tmp_path: Path) -> None:
    path, num = tmp_path / "a.parquet", 2 * CHUNK_ROWS + 10
    pq.write_table(pa.table({"x": np.arange(num)}), path, row_group_size=100_000)
    pieces = list_fragments([str(path)]).pieces
    assert [piece.row_groups for piece in pieces] == [(0, 1), (2, 3), (4, 5)]
    assert [piece.num_rows for piece in pieces] == [200_000, 200_000, num - 400_000]
    pq.write_table(pa.table({"x": np.arange(num)}), path, row_group_size=num)
    (piece,) = list_fragments([str(path)]).pieces
    chunks = list(chunks_of(read_fragment(piece, ["x"])))
    assert [chunk.num_rows for chunk in chunks] == [CHUNK_ROWS, CHUNK_ROWS, 10]
    assert chunks[2].column("x").to_pylist()[-1] == num - 1


def test_text_is_read_as_dictionaries_and_lists_as_they_are(folder: Path) -> None:
    piece = list_fragments([str(folder)]).pieces[1]
    rows = read_fragment(piece, ["tags", "shop", "amount"])
    assert rows.column_names == ["tags", "shop", "amount"]
    assert rows.schema.field("shop").type == pa.dictionary(pa.int32(), pa.string())
    assert rows.column("tags").to_pylist() == table(1).column("tags").to_pylist()


def test_a_file_of_many_small_row_groups_and_an_empty_one_are_read_whole(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    pq.write_table(table(0), folder / "0.parquet", row_group_size=7)
    pq.write_table(table(1).slice(0, 0), folder / "1.parquet")
    fitted = fit_files(FEATURES, [str(folder)])
    assert fitted.rows == 500
    assert len(transform_files(fitted, [str(folder)], str(tmp_path / "out"))) == 1


def test_a_preprocessor_with_partitions_takes_the_folder_that_its_refusal_asks_for(tmp_path: Path) -> None:
    rows, one = table(0).select(["shop"]), {"kind": "category"}
    dataset = ray.data.from_arrow(rows)
    parted = FeatureSet(features={"shop": {**one, "partitions": 3}})
    with pytest.raises(FeatureError, match="pass scratch=URI"):
        FeaturePreprocessor(parted).fit(dataset)
    fitted = FeaturePreprocessor(parted, scratch=str(tmp_path / "scratch")).fit(dataset)
    again = FeaturePreprocessor.deserialize(fitted.serialize())
    whole = FeaturePreprocessor(FeatureSet(features={"shop": one})).fit(dataset)
    expected = whole.fitted.transform(rows)["categories_NC"]
    np.testing.assert_array_equal(again.fitted.transform(rows)["categories_NC"], expected)
    with pytest.warns(UserWarning, match="already been called"):
        again.fit(dataset)
    np.testing.assert_array_equal(again.fitted.transform(rows)["categories_NC"], expected)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
