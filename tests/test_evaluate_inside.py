"""What a model goes by and how it behaves, through real bundles: planted columns are found, planted violations are caught."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from bundle_parts import contract, raw_rows, trained

from raypipe.core.config import build
from raypipe.core.errors import ConfigError
from raypipe.evaluate import (
    Evaluation,
    Evaluator,
    Gate,
    GateReport,
    Hold,
    Importance,
    Promote,
    RawRows,
    ScoredRows,
    Yardstick,
    contributions_of,
    evaluate,
    label_problems,
    permute,
    ranked,
    run_behaviour,
)
from raypipe.models import Explained

METRICS = {"binary": ("roc_auc", "higher"), "multiclass": ("accuracy", "higher"), "regression": ("rmse", "lower")}


def sample_of(kind, num=300, seed=5):
    """Rows whose label is made of `distance` alone, as those that the bundles were trained on."""
    rows = raw_rows(num, seed=seed)
    distance = np.asarray(rows["distance"].to_pylist())
    labels = {"binary": distance > 1200, "multiclass": np.digitize(distance, [900, 1700]), "regression": distance * 100}
    return RawRows(rows=rows, y_N=labels[kind].astype(np.float32), split="validation")


def importances(kind, importance, **more):
    bundle, (metric, better) = trained(kind), METRICS[kind]
    yardstick = Yardstick(bundle, sample_of(kind), metric=metric, better=better, costs=None)
    how = {"repeats": importance.repeats, "seed": 0, "confidence": 0.95, **more}
    rows = [permute(name, columns, yardstick=yardstick, **how) for name, columns in importance.groups(bundle).items()]
    return ranked(yardstick, rows, repeats=importance.repeats, confidence=0.95)


@pytest.mark.parametrize("kind", list(METRICS))
def test_importance_finds_the_planted_column_and_gives_nothing_to_one_that_is_not_read(kind):
    found = importances(kind, Importance(repeats=4))
    assert found.rows[0].name == "distance"
    first = found.rows[0]
    assert 0 < first.low < first.value < first.high
    assert {row.name for row in found.rows} == {*trained(kind).input_columns}
    unread = [row for row in found.rows if row.value == 0]
    assert unread, "five shallow trees of one column read hardly another"
    assert all((row.low, row.high) == (0, 0) for row in unread)


def test_the_same_seed_gives_the_same_importances_and_another_does_not():
    one, same, other = (importances("binary", Importance(repeats=3), seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one.rows[0].value != other.rows[0].value


def test_where_the_metric_is_undefined_there_is_no_importance():
    bundle, rows = trained("binary"), replace(sample_of("binary"), y_N=np.zeros(300, np.float32))
    yardstick = Yardstick(bundle, rows, metric="roc_auc", better="higher", costs=None)
    row = permute("distance", ("distance",), yardstick=yardstick, repeats=2, seed=0, confidence=0.95)
    assert ranked(yardstick, [row], repeats=2, confidence=0.95) is None


def test_columns_of_a_feature_are_shuffled_together():
    found = importances("binary", Importance(by="feature", repeats=2))
    assert {row.name: row.columns for row in found.rows}["views"] == ("planes_year", "weather_temp")
    assert {row.name for row in found.rows} == {*trained("binary").features.features.features}


@pytest.mark.parametrize("kind", list(METRICS))
def test_contributions_are_those_of_the_model_and_name_the_planted_input(kind):
    bundle = trained(kind)
    assert isinstance(bundle.model, Explained)
    found = contributions_of(bundle, sample_of(kind, 2500))
    assert found.num_rows == 1000
    assert found.rows[0].name == "distance"
    assert [row.mean_abs for row in found.rows] == sorted((row.mean_abs for row in found.rows), reverse=True)
    if kind == "multiclass":
        assert found.rows[0].direction is None
        return
    assert found.rows[0].direction > 0.8
    assert len(found.rows[0].values) == len(found.rows[0].places)
    assert all(0 <= place <= 1 for place in found.rows[0].places)


class _Silent:
    """A model without contributions."""

    kind = "silent"

    def predict(self, inputs):
        return np.zeros(len(inputs["numbers_NF"]), np.float32)


def test_a_model_without_contributions_has_none():
    assert contributions_of(replace(trained("binary"), model=_Silent()), sample_of("binary")) is None


def behaviour(**settings):
    return build({"behaviours": {"mine": settings}}, Evaluator).declared["mine"]


def test_a_planted_violation_is_caught_with_its_worst_rows():
    wanted = behaviour(kind="invariance", column="distance", values=[100, 2400], tolerance=0.2, share=0.9)
    found = run_behaviour("mine", wanted, bundle=trained("binary"), sample=sample_of("binary"))
    assert not found.passed
    assert found.num_rows == 300
    assert found.num_violations == 300, "each row is far from one of the two"
    worst = found.examples[0]
    assert abs(worst.changed_score - worst.score) == max(abs(e.changed_score - e.score) for e in found.examples) > 0.2
    assert worst.changed in ("100.0", "2400.0")
    assert "300 of 300 rows of validation break it, 30 may" in found.outcome


@pytest.mark.parametrize("kind", list(METRICS))
def test_what_a_model_does_not_go_by_passes(kind):
    wanted = behaviour(kind="invariance", column="carrier", values=["UA", "DL"], tolerance=0.3 if kind != "regression" else 1e5)
    found = run_behaviour("mine", wanted, bundle=trained(kind), sample=sample_of(kind))
    assert (found.passed, found.num_violations, found.examples) == (True, 0, ())


@pytest.mark.parametrize(
    ("score", "share", "passes"), [("not_lower", 1.0, True), ("not_higher", 1.0, False), ("not_higher", 0.0, True)]
)
def test_a_direction_holds_or_not(score, share, passes):
    wanted = behaviour(kind="direction", column="distance", change=1000, score=score, share=share)
    found = run_behaviour("mine", wanted, bundle=trained("binary"), sample=sample_of("binary"))
    assert found.passed is passes
    assert (found.num_violations > 50) == (score == "not_higher")
    assert all(example.changed_score > example.score for example in found.examples)


def test_over_classes_a_direction_is_about_one_of_them():
    for label, fewest in (("Torgersen", 0), ("Biscoe", 60)):  # the farthest, and the nearest
        wanted = behaviour(kind="direction", column="distance", change=900, score="not_lower", tolerance=0.01, label=label)
        found = run_behaviour("mine", wanted, bundle=trained("multiclass"), sample=sample_of("multiclass"))
        assert found.num_violations >= fewest
        assert found.passed == (fewest == 0)


def test_rows_that_cannot_be_changed_are_not_tried():
    sample = sample_of("binary")
    known = len(sample.rows) - sample.rows["planes_year"].null_count
    wanted = behaviour(kind="direction", column="planes_year", change=1, score="not_lower", tolerance=1)
    assert run_behaviour("mine", wanted, bundle=trained("binary"), sample=sample).num_rows == known
    below = int(np.sum(np.asarray(sample.rows["distance"].to_pylist()) >= 500))
    wanted = behaviour(kind="direction", column="distance", change=-500, score="not_higher", tolerance=1)
    assert run_behaviour("mine", wanted, bundle=trained("binary"), sample=sample).num_rows == below, "none is negative"
    wanted = behaviour(kind="direction", column="distance", change=-5000, score="not_higher")
    found = run_behaviour("mine", wanted, bundle=trained("binary"), sample=sample)
    assert (found.passed, found.outcome) == (False, "no row of validation could be tried")


def test_personal_values_are_not_shown():
    bundle = trained("binary")
    columns = {**bundle.inputs.columns, "distance": replace(bundle.inputs.columns["distance"], pii=True)}
    hidden = replace(bundle, inputs=replace(bundle.inputs, columns=columns))
    wanted = behaviour(kind="invariance", column="distance", values=[100], tolerance=0)
    found = run_behaviour("mine", wanted, bundle=hidden, sample=sample_of("binary"))
    assert {(e.value, e.changed) for e in found.examples} == {("(personal)", "(personal)")}


STAYS = {"kind": "invariance", "tolerance": 0}
RISES = {"kind": "direction", "change": 1, "score": "not_lower"}


@pytest.mark.parametrize(
    ("settings", "kind", "words"),
    [
        (STAYS | {"column": "carier", "values": ["UA"]}, "binary", "no feature reads.*did you mean carrier"),
        (STAYS | {"column": "carrier", "values": ["UA", "XX"]}, "binary", "contract of carrier refuses 'XX'"),
        (STAYS | {"column": "distance", "values": [-1]}, "binary", "contract of distance refuses -1"),
        (STAYS | {"column": "carrier", "values": [None]}, "binary", "contract of carrier refuses None"),
        (RISES | {"column": "carrier"}, "binary", "needs a column of numbers"),
        (RISES | {"column": "minute", "change": 0.5}, "binary", "whole for int64"),
        (RISES | {"column": "distance", "change": 0}, "binary", "other than 0"),
        (RISES | {"column": "distance"}, "multiclass", "label is missing"),
        (RISES | {"column": "distance", "label": "x"}, "binary", "take it out"),
    ],
)
def test_bad_declarations_are_refused_before_any_work(settings, kind, words):
    evaluator = build({"behaviours": {"mine": settings}}, Evaluator)
    (problem,) = evaluator.problems(kind, inputs=contract(), splits=("train", "validation", "test"))
    assert problem.startswith("evaluator.behaviours.mine.")
    assert re.search(words, problem)


def test_a_class_that_the_data_do_not_have_is_named():
    wanted = behaviour(kind="direction", column="distance", change=1, score="not_lower", label="Torgerson")
    (problem,) = label_problems({"mine": wanted}, trained("multiclass").target)
    assert "did you mean Torgersen" in problem


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "invariance", "column": "a", "values": [], "tolerance": 0}, "values"),
        ({"kind": "invariance", "column": "a", "values": [1], "tolerance": -1}, "tolerance"),
        ({"kind": "direction", "column": "a", "change": 1, "score": "higher"}, "score"),
        ({"kind": "monotone", "column": "a"}, "invariance"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(settings, words):
    with pytest.raises(ConfigError, match=words):
        build({"behaviours": {"mine": settings}}, Evaluator)


@pytest.mark.parametrize(("required", "verdict"), [(True, Hold), (False, Promote)])
def test_the_gate_holds_for_a_required_behaviour_that_failed(required, verdict):
    wanted = behaviour(kind="invariance", column="distance", values=[100], tolerance=0.1, required=required)
    bundle, sample = trained("binary"), sample_of("binary")
    failed = run_behaviour("mine", wanted, bundle=bundle, sample=sample)
    rows = ScoredRows(target=bundle.target, split="test", y_N=sample.y_N, scores=bundle.score(sample.rows), threshold=0.5)
    evaluation = replace(evaluate(rows, evaluator=Evaluator(num_resamples=20)), behaviours=(failed,))
    for champion in (None, "a"):  # also when it is the champion already
        decision = Gate().decide(GateReport(evaluation=evaluation, candidate_digest="a", champion_digest=champion))
        assert isinstance(decision, verdict)
        assert ("behaviour mine failed" in decision.reason) is required
    assert Evaluation.from_dict(json.loads(json.dumps(evaluation.to_dict()))) == evaluation


def test_an_earlier_model_that_does_not_read_the_column_behaves():
    wanted = behaviour(kind="invariance", column="tail", values=["y"], tolerance=0)
    found = run_behaviour("mine", wanted, bundle=trained("binary"), sample=sample_of("binary", 30))
    assert (found.passed, found.num_rows) == (True, 30)
