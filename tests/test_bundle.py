"""The model bundle as a value: it round trips, and answers the same in every company and form."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import bundle_parts
import numpy as np
import pyarrow as pa
import pytest
from bundle_parts import TARGETS, make_bundle, raw_rows

from raypipe.bundle import SCORE_TOLERANCE, Bundle, load_bundle, save_bundle

made = bundle_parts.made
binary = bundle_parts.binary
folder = bundle_parts.folder


def test_a_bundle_round_trips(made: Bundle, tmp_path: Path) -> None:
    digest = save_bundle(made, tmp_path / "b")
    loaded, rows = load_bundle(tmp_path / "b"), raw_rows(50, seed=9)
    assert loaded.digest == digest
    assert (loaded.target, loaded.threshold, loaded.profile, loaded.meta) == (
        made.target,
        made.threshold,
        made.profile,
        made.meta,
    )
    assert loaded.inputs == made.inputs
    assert loaded.features.digest == made.features.digest
    assert loaded.request_columns == ("carrier", "distance", "time_hour", "minute", "holiday")
    assert loaded.view_columns == ("planes_year", "weather_temp")
    assert loaded.input_columns == tuple(made.inputs.columns)
    before, after = made.predict(rows), loaded.predict(rows)
    np.testing.assert_array_equal(before.scores, after.scores)
    assert before.labels.tolist() == after.labels.tolist()
    assert len(set(map(str, after.labels))) > 1


def test_the_digest_names_the_parts_and_not_the_time_or_the_folder(binary: Bundle, tmp_path: Path) -> None:
    first = save_bundle(binary, tmp_path / "one")
    padding = pa.concat_tables([raw_rows(17, seed=5), binary.examples])
    same = replace(binary, examples=padding.slice(17), digest="what it was called before")
    assert save_bundle(same, tmp_path / "deep" / "two") == first
    assert save_bundle(make_bundle("binary"), tmp_path / "three") == first
    assert save_bundle(load_bundle(tmp_path / "one"), tmp_path / "four") == first
    others = [
        replace(binary, threshold=0.4),
        replace(binary, meta={}),
        replace(binary, profile={}),
        replace(binary, examples=raw_rows(9, seed=2)),
    ]
    others.append(replace(binary, sources={**binary.sources, "weather_temp": "request"}))
    digests = {save_bundle(other, tmp_path / "other") for other in others}
    assert len({*digests, first}) == 6


def test_a_row_scores_the_same_alone_in_company_and_with_columns_permuted(made: Bundle) -> None:
    rows = raw_rows(40, seed=3)
    together = made.score(rows)
    alone = np.concatenate([made.score(rows.slice(i, 1)) for i in range(len(rows))])
    np.testing.assert_allclose(alone, together, atol=SCORE_TOLERANCE * max(1, np.abs(together).max()), rtol=0)
    shuffled = rows.select(sorted(rows.column_names, reverse=True)).append_column("other", pa.array(range(40)))
    np.testing.assert_array_equal(made.score(shuffled), together)
    np.testing.assert_array_equal(made.score(rows.to_batches()[0]), together)


def test_many_threads_get_the_answers_of_one(made: Bundle) -> None:
    tables = [raw_rows(30, seed=s) for s in range(16)]
    expected = [made.score(t) for t in tables]
    with ThreadPoolExecutor(8) as pool:
        for wanted, got in zip(expected * 4, pool.map(made.score, tables * 4), strict=True):
            np.testing.assert_array_equal(got, wanted)


def test_no_rows_have_no_predictions(made: Bundle) -> None:
    answer = made.predict(raw_rows(5).slice(0, 0))
    assert len(answer) == 0
    assert answer.records() == []


def test_example_records_are_json_that_the_contract_takes_and_score_as_their_rows(folder: Path) -> None:
    bundle = load_bundle(folder)
    records = json.loads(json.dumps(bundle.example_records(4), allow_nan=False))
    checked = bundle.inputs.check_records(records)
    assert (len(checked.good), len(checked.bad)) == (4, 0)
    np.testing.assert_array_equal(bundle.score(checked.good), bundle.score(bundle.examples.slice(0, 4)))
    assert records[0]["time_hour"].endswith("Z")
    assert len(bundle.example_records(1000)) == len(bundle.examples) == 100


def test_the_record_schema_marks_types_nulls_and_sources(binary: Bundle) -> None:
    schema = binary.record_schema()
    assert schema["required"] == ["carrier", "distance", "time_hour", "minute"]
    assert schema["properties"]["carrier"] == {"type": "string", "enum": ["UA", "B6", "DL"], "x-source": "request"}
    assert schema["properties"]["distance"] == {"type": "number", "minimum": 0.0, "x-source": "request"}
    assert schema["properties"]["planes_year"] == {"type": ["integer", "null"], "x-source": "view:planes"}


@pytest.mark.parametrize(
    ("kind", "scores", "record", "columns"),
    [
        ("binary", [0.5], {"score": 0.5, "label": "true"}, ["score", "label"]),
        ("binary", [0.25], {"score": 0.25, "label": "false"}, ["score", "label"]),
        (
            "multiclass",
            [[0.25, 0.5, 0.25]],
            {"scores": {"Biscoe": 0.25, "Dream": 0.5, "Torgersen": 0.25}, "label": "Dream"},
            ["score_Biscoe", "score_Dream", "score_Torgersen", "label"],
        ),
        ("regression", [3.5], {"score": 3.5}, ["score"]),
    ],
)
def test_predictions_as_records_and_as_a_table(kind, scores, record, columns, binary: Bundle) -> None:
    class Fixed:
        kind = "fixed"

        def predict(self, inputs):  # noqa: ARG002
            return np.array(scores, np.float32)

    threshold = 0.5 if kind == "binary" else None
    answer = replace(binary, model=Fixed(), target=TARGETS[kind], threshold=threshold).predict(raw_rows(1))
    assert answer.records() == [record]
    assert answer.to_table().column_names == columns
    json.dumps(answer.records())


def test_a_binary_bundle_scores_without_a_threshold_but_does_not_label(binary: Bundle) -> None:
    unfinished = replace(binary, threshold=None)
    assert len(unfinished.score(raw_rows(3))) == 3
    with pytest.raises(ValueError, match="late has no threshold"):
        unfinished.predict(raw_rows(3))
