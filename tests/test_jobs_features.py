"""The jobs that look and tidy: what features will cost, what they are, and what of prepared data goes."""

import contextlib
import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from raypipe import cli
from raypipe.core.console import console
from raypipe.core.storage import write_json

OTHER = "features.measures.scale=min_max"
LONG_AGO = "2020-01-01T00:00:00+00:00"


def run(*words: str) -> tuple[int, Mapping[str, Any], str]:
    """Exit code, result line and story of a job run in this process."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), console.capture() as story:
        code = cli.main(words)
    return code, json.loads(out.getvalue().splitlines()[-1]), story.get()


@pytest.fixture(autouse=True)
def own_environment() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def settings(tmp_path: Path) -> tuple[str, ...]:
    return ("experiment=penguins", f"storage.root={tmp_path / 'root'}", "model.num_rounds=5")


def folders(settings: tuple[str, ...], kind: str) -> set[str]:
    return {path.name for path in (root_of(settings) / kind).glob("*")}


def root_of(settings: tuple[str, ...]) -> Path:
    return Path(next(s for s in settings if s.startswith("storage.root=")).partition("=")[2])


def age(settings: tuple[str, ...]) -> None:
    """Let all prepared data have been used long ago."""
    for used in root_of(settings).glob("*/*/used.json"):
        write_json(str(used), {"at": LONG_AGO})


def test_the_plan_is_told_before_anything_is_ingested_and_makes_nothing(settings: tuple[str, ...]) -> None:
    code, plan, story = run("features", "plan", *settings)
    assert (code, plan["pending"], len(plan["passes"])) == (0, "ingest first", 2)
    assert not root_of(settings).exists()
    for words in (
        "pass 1 over penguins",
        "pass 2 over joined rows",
        "reads of penguins: ",
        "a worker takes up to",
        "to do now",
    ):
        assert words in story
    assert len(story.splitlines()) < 40, "one screen"
    assert max(map(len, story.splitlines())) <= 160


def test_features_are_described_only_when_they_are_there(settings: tuple[str, ...]) -> None:
    code, refused, _ = run("features", "describe", *settings)
    assert (code, refused["error"]["type"]) == (2, "TableNotFound")
    assert "python jobs/ingest.py" in refused["error"]["message"]


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_change_of_one_feature_is_planned_done_and_said_and_the_old_data_collected(settings: tuple[str, ...]) -> None:
    assert run("ingest", *settings)[0] == 0
    code, refused, _ = run("features", "describe", *settings)
    assert code == 2
    assert "python jobs/train.py" in refused["error"]["message"]
    code, trained, story = run("train", *settings)
    features = len(run("features", "plan", *settings)[1]["features"])
    assert code == 0
    assert f"joined the events; fitted all {features} features in the same pass; transformed all" in story
    assert run("features", "plan", *settings)[1]["pending"] == "nothing: all is prepared"
    _, described, table = run("features", "describe", *settings)
    assert {row["type"] for row in described["outputs"]} <= {"float32", "int32"}
    assert all(row["sources"] and row["name"] in table for row in described["outputs"])
    one = folders(settings, "prepared")

    todo = f"fit 1 of {features} features (measures)"
    assert todo in run("features", "plan", *settings, OTHER)[1]["pending"]
    code, _, story = run("train", *settings, OTHER)
    assert (code, len(folders(settings, "prepared")), len(folders(settings, "joined"))) == (0, 2, 1)
    assert f"joined rows reused; fitted 1 of {features} features (measures); transformed all" in story
    assert "runs because: changed: features.measures.scale standard -> min_max\n" in story

    age(settings)
    _, kept, story = run("gc", *settings, "gc.spare=0s")
    assert kept["collected"] == [], "registered models were made of it"
    assert 0 < kept["num_bytes_registered"] == kept["num_bytes_kept"]
    assert "of it for registered models" in story
    loose = (*settings, "gc.spare=0s", "gc.registered=collect", "gc.max_age=3650d", "gc.max_bytes=0")
    _, looked, story = run("gc", *loose, "gc.dry_run=true")
    assert [(Path(found["uri"]).name, found["reason"]) for found in looked["collected"]] == [(*one, "size")]
    assert "would go" in story
    assert re.search(r"more than gc.max_bytes=0 is kept: ", story)
    assert len(folders(settings, "prepared")) == 2
    _, done, _ = run("gc", *loose)
    assert done["collected"] == looked["collected"]
    assert folders(settings, "prepared") & one == set()
    code, again, story = run("train", *settings)
    assert (code, again["model"]) == (0, trained["model"])
    assert "joined rows reused; no feature fitted again; transformed all" in story


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("features", "plan", "gc.max_agee=3d"), "gc.max_agee; did you mean max_age"),
        (("features", "plan", "features.x={kind: numbr}"), "features.x.kind: unknown kind 'numbr'; did you mean number"),
        (("features", "describe", "features.measures.imputte=mean"), "features.measures.imputte; did you mean impute"),
        (("gc", "gc.dry_rn=true"), "gc.dry_rn; did you mean dry_run"),
        (("gc", "gc.max_age=soon"), "gc.max_age: expected a number and a unit"),
        (("gc", "gc.max_bytes=-1"), "gc.max_bytes: .*greater than or equal to 0"),
        (("gc", "gc.registered=delete"), "gc.registered"),
    ],
)
def test_a_wrong_setting_ends_in_one_line_with_a_way_out(words: tuple[str, ...], expected: str) -> None:
    code, refused, _ = run(*words, "experiment=penguins")
    assert (code, refused["error"]["type"]) == (2, "ConfigError")
    assert re.search(expected, refused["error"]["message"])
    assert "\n" not in refused["error"]["message"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["features"], "no job 'features'; did you mean features plan"),
        (["features", "pln"], "no job 'features pln'; did you mean features plan"),
        (["feature", "plan"], "no job 'feature'"),
    ],
)
def test_a_job_of_two_words_that_does_not_exist_is_said_with_those_that_do(words: list[str], expected: str) -> None:
    with console.capture() as story:
        assert cli.main(words) == 2
    assert expected in story.get()
    assert "features describe, features plan, gc" in story.get()
