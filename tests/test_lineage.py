"""Lineage over a real MLflow store and real tables: back to files, forward to endpoints, and what is not there."""

import contextlib
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import registry_parts
from bundle_parts import trained
from lineage_parts import IDS, PREPARED, ingested, prepared, registered, scored, version

from raypipe import cli
from raypipe.core.errors import LineageError, TableNotFound
from raypipe.core.storage import Storage
from raypipe.registry import Lineage, ModelVersion, Registry, Tracking
from raypipe.serve import Limits
from raypipe.serve._model import Loaded, Served
from raypipe.serve._predict import Predict
from raypipe.serve._store import NullOnlineStore
from raypipe.tables import Tables

if TYPE_CHECKING:
    from mlflow import MlflowClient

storage = registry_parts.storage
tracking = registry_parts.tracking
client = registry_parts.client
registry = registry_parts.registry

SERVED = "0198f2a0c3d27abc8def012345678901"
OLD, NEW = "s3://bucket/2013-01.csv", "s3://bucket/2013-02.csv"


@pytest.fixture(scope="module")
def history(registry: Registry, client: "MlflowClient", tracking: Tracking, storage: Storage) -> Storage:
    """Two tables, one of them made of the other and replaced later; a model on the first versions, scored and deployed."""
    ingested(storage, "flights", {OLD: "a"})
    ingested(storage, "weather", {"s3://bucket/weather.csv": "d"})
    ingested(storage, "flights", {OLD: "b", NEW: "c"})
    ingested(storage, "daily", {}, source=None, inputs={"flights": ["flights", 0, "flights"]})
    prepared(storage, {"flights": 0, "weather": 0})
    first = registered(client, tracking, storage, "late", {"flights": 0, "weather": 0})
    second = registered(client, tracking, storage, "late", {"flights": 0, "weather": 0})
    registry.promote("late", 1)
    scored(storage, first, {"flights": ("flights", 0), "weather": ("weather", 0)}, "1" * 16, IDS[:1])
    scored(storage, first, {"flights": ("flights", 1), "weather": ("weather", 0)}, "2" * 16, IDS)
    registry.deployed(first, endpoint="late", url="http://host:8000")
    registry.deployed(first, endpoint="late", url="http://host:8000")
    registry.deployed(second, endpoint="late", url="http://host:8000")
    return storage


@pytest.fixture
def lineage(history: Storage, tracking: Tracking) -> Lineage:
    return Lineage(tracking, history)


def ask(history: Storage, tracking: Tracking, *overrides: str) -> tuple[int, Mapping[str, Any]]:
    """Exit code and last line of the job."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = cli.main(["lineage", f"storage.root={history.root}", f"tracking.experiment={tracking.experiment}", *overrides])
    return code, json.loads(out.getvalue().splitlines()[-1])


def test_a_prediction_leads_back_to_its_row_model_run_code_split_tables_and_files(history, tracking, capsys) -> None:
    code, found = ask(history, tracking, f"prediction={IDS[1]}")
    assert code == 0
    made_of = found["made_of"]
    assert made_of["predictions"] == ["late@1"]
    assert made_of["model"] == ["late@1"]
    assert len(made_of["run"]) == 1
    assert made_of["config"] == ["c0" * 6]
    assert made_of["prepared"] == [PREPARED[:24]]
    assert len(made_of["code"]) == len(made_of["split"]) == 1
    assert made_of["table"] == ["flights@1", "weather@0", "flights@0"]
    assert made_of["file"] == [
        f"{OLD}#{'b' * 12}",
        f"{NEW}#{'c' * 12}",
        f"s3://bucket/weather.csv#{'d' * 12}",
        f"{OLD}#{'a' * 12}",
    ]
    facts = {node["id"]: node.get("facts", {}) for node in found["nodes"]}
    assert facts[f"prediction:{IDS[1]}"]["key"] == {"carrier": "UA", "flight": 1}
    assert facts[f"split:{made_of['split'][0]}"]["rows"] == {"train": 6, "test": 4}
    assert facts[f"config:{'c0' * 6}"]["settings"]["split"]["train"] == 0.6
    assert ["file:" + made_of["file"][0], "table:flights@1"] in found["edges"]
    shown = capsys.readouterr().err
    assert "carrier=UA, flight=1 -> false" in shown
    assert "(see above)" in shown


def test_a_row_that_was_scored_twice_keeps_its_id_and_shows_both_scorings(lineage) -> None:
    graph = lineage.walk(lineage.prediction(IDS[0]), "back")
    assert set(graph.of("predictions")) == {"late@0", "late@1"}
    assert set(graph.of("table")) == {"flights@0", "flights@1", "weather@0"}


def test_a_file_leads_forward_to_tables_models_predictions_and_endpoints(lineage) -> None:
    graph = lineage.walk(lineage.file("2013-02.csv"), "forward")
    assert graph.by_kind() == {"table": ["flights@1"], "predictions": ["late@1"]}
    graph = lineage.walk(lineage.file("s3://bucket/weather.csv"), "forward")
    assert graph.of("table") == ("weather@0",)
    assert graph.of("prepared") == (PREPARED[:24],)
    assert set(graph.of("model")) == {"late@1", "late@2"}
    assert set(graph.of("predictions")) == {"late@0", "late@1"}
    assert graph.of("endpoint") == ("late <- late@1", "late <- late@2")


def test_contents_of_a_replaced_file_are_told_apart(lineage) -> None:
    both = lineage.walk(lineage.file(OLD), "forward")
    assert both.of("file") == (f"{OLD}#{'a' * 12}", f"{OLD}#{'b' * 12}")
    assert set(both.of("table")) == {"flights@0", "flights@1", "daily@0"}
    assert lineage.walk(lineage.file("b" * 64), "forward").of("table") == ("flights@1",)


def test_a_table_version_leads_to_what_it_was_made_of_and_what_used_it(history, tracking) -> None:
    code, found = ask(history, tracking, "table=flights@0")
    assert code == 0
    assert found["made_of"] == {"file": [f"{OLD}#{'a' * 12}"]}
    assert found["used_by"]["table"] == ["daily@0"]
    assert set(found["used_by"]["model"]) == {"late@1", "late@2"}
    assert set(found["used_by"]["predictions"]) == {"late@0", "late@1"}  # the second by way of the model
    assert ask(history, tracking, "table=flights")[1]["used_by"] == {"predictions": ["late@1"]}
    assert ask(history, tracking, "table=daily", "direction=back")[1]["made_of"]["table"] == ["flights@0"]


@pytest.mark.parametrize(("label", "number"), [("late", 2), ("late@latest", 2), ("late@champion", 1), ("late@1", 1)])
def test_a_model_version_is_found_by_number_and_alias(lineage, label, number) -> None:
    assert lineage.model(label).name == f"late@{number}"


def test_an_endpoint_says_which_version_it_had_until_when(lineage) -> None:
    (first,) = [n for n in lineage.walk(lineage.model("late@1"), "forward").nodes.values() if n.kind == "endpoint"]
    (second,) = [n for n in lineage.walk(lineage.model("late@2"), "forward").nodes.values() if n.kind == "endpoint"]
    assert first.facts["url"] == second.facts["url"] == "http://host:8000"
    assert "until" in first.facts
    assert "until" not in second.facts


def test_the_answer_of_an_endpoint_leads_to_its_model(history, tracking, lineage, tmp_path) -> None:
    """The answer is made by the code of the endpoint itself."""
    bundle = replace(trained("binary"), digest=lineage.model("late@1").facts["digest"])
    served = Served(name="late", version=1, scorer=bundle, key=("carrier", "minute"))
    predict = Predict(loaded=Loaded, limits=Limits, store=NullOnlineStore())
    body = json.loads(predict.answer(served, bundle.example_records(2)))
    first, second = body["predictions"]
    answer = tmp_path / "answer.json"
    answer.write_text(json.dumps(body))
    code, found = ask(history, tracking, f"answer={answer}", f"prediction='{second['prediction_id']}'")
    assert code == 0
    assert found["start"] == f"prediction:{second['prediction_id']}"
    assert found["made_of"]["model"] == ["late@1"]
    assert found["made_of"]["table"] == ["flights@0", "weather@0"]
    assert lineage.answer(body).facts["key"] == first["key"]
    other = {**body, "model": {**body["model"], "digest": "0" * 64}}
    for wrong, said in [(other, "the answer names bundle 000000000000"), ({}, "lacks 'model'"), ([], "another form")]:
        with pytest.raises(LineageError, match=said):
            lineage.answer(wrong)
    with pytest.raises(LineageError, match="the answer has 2 others"):
        lineage.answer(body, "y")
    code, found = ask(history, tracking, f"prediction='{first['prediction_id']}'")
    assert code == 2
    assert "and answers are not stored" in found["error"]["message"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["prediction=abc"], "prediction abc: is no prediction id"),
        ([f"prediction={IDS[0][:-1]}9"], "has it; set storage.root to where the predictions were written"),
        (
            [f"prediction='{SERVED}'"],
            "was served at 2025-08-28T21:41:18+00:00, and answers are not stored; the answer names its",
        ),
        (["version=late@7"], "model late@7: is not registered (known: late@1 (champion), late@2)"),
        (["version=on_time"], "model on_time: is not registered (known: late)"),
        (["run=0123"], "run 0123: is not known in this store"),
        (["table=flights@9"], "table flights@9 does not exist (versions 0 to 1"),
        (["file=other.csv"], "was made of it; give the URI"),
        (["file=csv"], "was made of it"),
        (["answer=/no/such.json"], "answer /no/such.json: does not exist"),
        ([], "expected one of prediction, answer, version, run, table and file, got nothing"),
        (["run=a", "file=b"], "got run, file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_not_recorded_is_one_clear_line_and_exit_code_2(history, tracking, overrides, said) -> None:
    code, found = ask(history, tracking, *overrides)
    assert code == 2
    assert said in found["error"]["message"]
    assert "\n" not in found["error"]["message"].strip()


def test_another_root_knows_nothing_and_gets_nothing(tracking, tmp_path) -> None:
    other = Storage(root=str(tmp_path / "other"))
    empty = Lineage(tracking, other)
    for ask_for, error in [(empty.model, LineageError), (empty.run, LineageError), (empty.table, TableNotFound)]:
        with pytest.raises(error, match=r"nothing was ever recorded here|nothing at"):
            ask_for("late")
    with pytest.raises(LineageError, match="no table below"):
        empty.prediction(IDS[0])
    assert not Path(other.root).exists()


def test_tables_alone_have_a_lineage_before_anything_is_trained(tracking, tmp_path) -> None:
    alone = Storage(root=str(tmp_path / "alone"))
    ingested(alone, "flights", {OLD: "a"})
    lineage = Lineage(tracking, alone)
    assert lineage.walk(lineage.file(OLD), "forward").by_kind() == {"table": ["flights@0"]}


def test_a_model_whose_run_is_gone_is_led_back_by_its_own_tags(tracking, client, storage, history) -> None:
    made = registered(client, tracking, storage, "orphan", {"flights": 0, "weather": 0})
    client.delete_run(made.run_id)
    lineage = Lineage(tracking, storage)
    start = lineage.model("orphan")
    assert start.says.endswith("was deleted")
    graph = lineage.walk(start, "back")
    assert graph.of("run") == (made.run_id,)
    assert set(graph.of("table")) == {"flights@0", "weather@0"}
    assert "orphan@1" in lineage.walk(lineage.table("flights@0"), "forward").of("model")


def test_a_version_without_tags_says_so_and_one_that_is_gone_too(client, tracking, storage, history) -> None:
    version(client, "plain")
    lineage = Lineage(tracking, storage)
    assert lineage.walk(lineage.model("plain"), "back").by_kind() == {}
    registered(client, tracking, storage, "lost", {"flights": 7}, prepared="ef" * 32)
    graph = lineage_again(tracking, storage).walk(lineage_again(tracking, storage).model("lost"), "back")
    (gone,) = [node for node in graph.nodes.values() if node.kind == "table"]
    assert (gone.name, gone.says) == ("flights@7", "not below this root, or no longer in its log")


def lineage_again(tracking: Tracking, storage: Storage) -> Lineage:
    """A new one: what was read once is kept."""
    return Lineage(tracking, storage)


def test_predictions_whose_files_are_gone_say_so(tracking, tmp_path) -> None:
    alone = Storage(root=str(tmp_path / "alone"))
    lineage = Lineage(tracking, alone)
    scored(alone, ModelVersion(name="m", version=1, digest="d", run_id="", bundle_uri=""), {}, "3" * 16, IDS)
    (part,) = Path(alone.root, "predictions", "m").glob("*.parquet")
    part.unlink()
    with pytest.raises(LineageError, match="predictions of m: files of version 0 are gone"):
        lineage.prediction(IDS[0])
    assert Tables(alone, "predictions").open("m").num_rows == 2


def test_lineage_of_a_root_in_a_bucket(s3: str, tmp_path: Path) -> None:
    root, none = Storage(root=f"{s3}/lineage"), Tracking(uri=f"sqlite:///{tmp_path}/mlflow.db")
    ingested(root, "flights", {OLD: "a"})
    scored(root, ModelVersion(name="m", version=1, digest="d", run_id="", bundle_uri=""), {"e": ("flights", 0)}, "4" * 16, IDS)
    lineage = Lineage(none, root)
    assert lineage.prediction(IDS[1]).facts["key"] == {"carrier": "UA", "flight": 1}
    graph = lineage.walk(lineage.file(OLD), "forward")
    assert graph.by_kind() == {"table": ["flights@0"], "predictions": ["m@0"]}
    assert not (tmp_path / "mlflow.db").exists()
