"""Bytes as a column, an encoder of one's own as a feature, and the example that scores images."""

import base64
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_data import MemoryLoop
from serve_parts import call, make_spec

from raypipe.bundle import Bundle, save_bundle
from raypipe.bundle._hostile import hostile_rows
from raypipe.bundle._inputs import json_rows, json_schema
from raypipe.bundle.pyfunc import _load_pyfunc
from raypipe.contract import Contract
from raypipe.core import cluster
from raypipe.core.compose import packaged
from raypipe.core.config import build
from raypipe.core.errors import ConfigError, FeatureError, RequestError
from raypipe.core.tensors import LabelledTensors, Target, TrainingData
from raypipe.features import FeatureSet, FittedFeatures, fit_chunk, solve
from raypipe.models import Linear
from raypipe.profiles import merge_profiles, profile_chunk
from raypipe.serve import Endpoint
from raypipe.tables import payload_text

EXAMPLE = packaged("conf").parent / "docs" / "examples" / "images"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAALElEQVR4nGNkEIAAxgZ+KOM/I5RRIAARYnwvABFiTBCACDHeF4AI"
    "MQYIQIQAGlMHxSNRG9cAAAAASUVORK5CYII="
)


def contract(**image: Any) -> Contract:
    return build({"key": ["id"], "columns": {"id": "int64", "image": {"type": "binary", **image}}}, Contract)


# --- the contract ---

TEXTS = st.one_of(
    st.binary(max_size=20).map(lambda data: base64.b64encode(data).decode()),
    st.text(alphabet="AB+/=_- \n\u0430", max_size=8),
    st.sampled_from(["AA==", "AB==", "AA=", ""]),
)


@given(st.lists(TEXTS, min_size=1, max_size=20))
def test_bytes_in_text_mean_the_same_in_a_record_and_in_a_column(texts: list[str]) -> None:
    rules = contract()
    records = [{"id": i, "image": text} for i, text in enumerate(texts)]
    read = rules.read_records(records)
    checked = rules.check(pa.table({"id": range(len(texts)), "image": pa.array(texts, pa.string())}))
    assert read.bad["row"].to_pylist() == checked.bad["row"].to_pylist()
    assert [row["image"] for row in read.rows] == checked.good["image"].to_pylist()
    for row in read.rows:
        assert base64.b64encode(row["image"]).decode() == texts[row["id"]]  # type: ignore[arg-type]  # bytes


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary(3), pa.binary_view()])
def test_columns_of_bytes_are_taken_as_they_are_and_judged_by_their_length(kind: pa.DataType) -> None:
    rows = pa.table({"id": [1, 2, 3], "image": pa.array([b"\x00\xff\n", None, b"abc"], kind)})
    checked = contract(max_length=3).check(rows)
    assert checked.good["image"].to_pylist() == [b"\x00\xff\n", None, b"abc"]
    assert checked.good.schema.field("image").type == pa.binary()
    short = contract(min_length=4).check(rows)
    assert short.good["id"].to_pylist() == [2]
    assert short.bad["rule"].to_pylist() == ["min_length", "min_length"]


@pytest.mark.parametrize("cell", [65, 6.5, True, [65], "not base64", {"a": 1}])
def test_what_is_no_bytes_is_refused_with_what_is_expected(cell: object) -> None:
    (bad,) = contract().read_records([{"id": 1, "image": cell}]).bad.to_pylist()
    assert (bad["rule"], bad["column"]) == ("type", "image")
    assert "is not bytes, in text as base64 such as iVBORw==" in bad["reason"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"min": 1}, "min and max are for int64 and float64"),
        ({"one_of": ["a"]}, "one_of is not for binary columns"),
        ({"regex": "a"}, "regex is for string columns, not binary"),
        ({"clean": ["trim"]}, "clean has no steps for binary columns"),
    ],
)
def test_rules_that_bytes_cannot_have_are_refused(settings: Mapping[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        contract(**settings)


def test_bytes_are_shown_and_kept_as_base64_and_profiled_by_their_lengths() -> None:
    rows = contract().check(pa.table({"id": [1, 2], "image": [PNG, None]})).good
    shown = json_rows(rows)
    assert base64.b64decode(shown[0]["image"]) == PNG
    assert json.loads(payload_text(rows.to_pylist()[0]))["image"] == shown[0]["image"]
    assert contract().read_records(shown).rows == rows.to_pylist()
    schema = json_schema(contract(), {"id": "request", "image": "request"})
    assert schema["properties"]["image"] == {
        "type": ["string", "null"],
        "contentEncoding": "base64",
        "x-source": "request",
    }
    profile = merge_profiles([profile_chunk(rows, {"image": "binary"})] * 2)["image"].profile()
    assert (profile.rows, profile.nulls) == (4, 2)
    assert (profile.to_dict()["min_length"], profile.to_dict()["elements"]) == (len(PNG), 2 * len(PNG))


# --- the encoder ---


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of the example."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    return importlib.import_module("digit_images")


def fitted(**spec: Any) -> FittedFeatures:
    settings = {"kind": "encoder", "function": "digit_images:pixels", "columns": ["image"], "size": 64, **spec}
    features = build({"derive": {}, "features": {"pixels": settings}}, FeatureSet, allowed=("digit_images.",))
    rows = pa.table({"image": pa.array([PNG], pa.binary())})
    return solve(features, fit_chunk(features, rows), rows.schema).features


@pytest.mark.usefixtures("images")
def test_columns_and_rows_of_an_encoder_agree_to_the_bit_also_for_what_is_no_image() -> None:
    features = fitted()
    damaged = [PNG, PNG[:40], b"", None, PNG[::-1], bytes(100)]
    table = pa.table({"image": pa.array(damaged, pa.binary())})
    by_columns = features.transform(table)["numbers_NF"]
    assert by_columns.shape == (6, 64)
    assert np.isnan(by_columns[1:]).all()
    assert not np.isnan(by_columns[0]).any()
    for i, row in enumerate(table.to_pylist()):
        assert features.transform_rows([row])["numbers_NF"].tobytes() == by_columns[i : i + 1].tobytes()
    assert fitted(fill=0.5).transform(table)["numbers_NF"][1:].tolist() == [[0.5] * 64] * 5
    assert features.modules == ("digit_images",)
    assert features.transform(table.slice(0, 0))["numbers_NF"].shape == (0, 64)
    assert features.specs.numbers[:2] == ("pixels_0", "pixels_1")


@pytest.mark.usefixtures("images")
def test_an_encoder_that_gives_another_shape_or_cannot_be_found_is_refused() -> None:
    with pytest.raises(FeatureError, match=r"gave shape \[1, 64\] for 1 row\(s\); return 63 numbers for each row"):
        fitted(size=63).transform(pa.table({"image": pa.array([PNG], pa.binary())}))
    with pytest.raises(FeatureError, match="has no such function"):
        fitted(function="digit_images:nothing")
    with pytest.raises(ConfigError, match="is not allowed"):
        fitted(function="os:system")


@pytest.mark.parametrize("spec", [{"kind": "number"}, {"kind": "category"}, {"kind": "vector", "size": 3}])
def test_other_features_refuse_a_column_of_bytes(spec: Mapping[str, Any]) -> None:
    features = build({"derive": {}, "features": {"image": spec}}, FeatureSet)
    with pytest.raises(FeatureError, match=f"kind {spec['kind']} takes .*, and column image is binary"):
        features.check(pa.schema([("image", pa.binary())]))


def test_damaged_bytes_are_among_what_every_bundle_with_bytes_is_tried_with() -> None:
    rows = contract().check(pa.table({"id": [1], "image": [PNG]})).good
    tried = [record["image"] for record in hostile_rows(contract(), rows, seed=0, num=200) if "image" in record]
    assert {"", "AB==", base64.b64encode(PNG[: len(PNG) // 2]).decode(), None} <= {
        t for t in tried if t is None or isinstance(t, str)
    }


def image_bundle() -> Bundle:
    features, labels = fitted(fill=0.0), np.array([0, 1] * 4, np.float32)
    rows = pa.table({"image": pa.array([PNG, None] * 4, pa.binary())})
    tensors = LabelledTensors(inputs=features.transform(rows), y_N=labels)
    target = Target(kind="regression", name="dark")
    data = TrainingData(train=tensors, validation=tensors, specs=features.specs, target=target)
    return Bundle(
        inputs=Contract(columns={"image": contract().columns["image"]}),
        sources={"image": "request"},
        features=features,
        model=Linear().train(data, MemoryLoop()),
        target=target,
        examples=rows,
    )


@pytest.mark.usefixtures("images")
def test_an_endpoint_takes_bytes_as_base64_and_refuses_what_is_none(tmp_path: Path) -> None:
    bundle = image_bundle()
    digest = save_bundle(bundle, tmp_path / "bundle")
    app = Endpoint(make_spec(tmp_path / "bundle", digest=digest, key=())).app()
    text = base64.b64encode(PNG).decode()
    answers = call(app, body={"records": [{"image": text}, {"image": None}]}).json["predictions"]
    assert [one["score"] for one in answers] == pytest.approx(bundle.score(bundle.examples.slice(0, 2)).tolist(), abs=1e-5)
    for wrong in (text[:-1], "not base64", [1, 2], 7):
        refused = call(app, body={"image": wrong})
        assert (refused.status, "is not bytes, in text as base64" in refused.body.decode()) == (422, True)


@pytest.mark.usefixtures("images")
def test_mlflow_answers_the_input_example_of_a_model_on_bytes_and_bytes_as_they_are(tmp_path: Path) -> None:
    bundle = image_bundle()
    save_bundle(bundle, tmp_path / "bundle")
    model, expected = _load_pyfunc(str(tmp_path / "bundle")), bundle.score(bundle.examples.slice(0, 3)).astype(np.float64)
    for rows in (bundle.example_records(3), [{"image": PNG}, {"image": None}, {"image": PNG}]):
        answer = model.predict(pd.DataFrame(rows, columns=["image"]))
        np.testing.assert_array_equal(answer["score"], expected)
    with pytest.raises(RequestError, match="row 0: column image: 'not base64' is not bytes"):
        model.predict(pd.DataFrame({"image": ["not base64"]}))


# --- the example ---


@pytest.mark.long
@pytest.mark.cluster
def test_the_example_learns_images_and_scores_them_into_folders_on_a_pool_of_actors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: ModuleType
) -> None:
    from raypipe.cli import main

    cluster.stop()  # the jobs start their own
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLE), prepend=":")
    (tmp_path / "conf").symlink_to(EXAMPLE / "conf")
    images.main(tmp_path / "images")
    common = ("experiment=digits", f"storage.root={tmp_path / 'root'}", "ray.num_cpus=2", "model.max_epochs=8")
    for job in ("ingest", "train", "evaluate", "score"):
        assert main([job, *common]) == 0
    predictions = tmp_path / "root" / "predictions" / "digits"
    assert {path.name for path in predictions.glob("label=*")} == {f"label={digit}" for digit in range(10)}
    scored = pl.read_delta(str(predictions)).join(pl.read_parquet(tmp_path / "images" / "*.parquet"), on="id")
    assert scored.height == 1797
    assert scored.select((pl.col("label") == pl.col("digit")).mean()).item() > 0.9
