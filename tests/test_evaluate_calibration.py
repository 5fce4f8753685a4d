"""Calibrators: as scikit-learn fits them, never turning the order around, of the same bits alone and in company."""

import json
from dataclasses import replace

import numpy as np
import pytest
from bundle_parts import edit_json, raw_rows, reseal, trained
from evaluate_parts import BINARY, DELAY, SPECIES, multiclass_rows
from sklearn.calibration import _SigmoidCalibration
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import log_loss

from raypipe.bundle import (
    IsotonicCalibrator,
    PlattCalibrator,
    TemperatureCalibrator,
    load_bundle,
    log_odds,
    log_shares,
    save_bundle,
    softmax,
)
from raypipe.core.config import build
from raypipe.core.errors import BundleError, ConfigError
from raypipe.evaluate import Evaluation, Evaluator, Isotonic, Platt, ScoredRows, Temperature, decide, evaluate

KINDS = (Isotonic(), Platt(), Temperature())


def sigmoid(logit):
    return 1 / (1 + np.exp(-logit))


def too_sure(num=6000, *, times=2.5, seed=0):
    """Labels of a truth, and float32 scores whose log odds are `times` too far from 0."""
    random = np.random.default_rng(seed)
    logit_N = random.normal(-1, 1.2, num)
    y_N = (random.random(num) < sigmoid(logit_N)).astype(np.float32)
    return y_N, sigmoid(times * logit_N).astype(np.float32)


def rows_of(y_N, raw, calibrator):
    scores = calibrator.apply(raw)
    return ScoredRows(target=BINARY, split="test", y_N=y_N, scores=scores, threshold=0.5, raw=raw, calibrator=calibrator.kind)


def test_an_isotonic_calibrator_answers_as_scikit_learn():
    y_N, raw = too_sure()
    theirs = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(raw.astype(np.float64), y_N)
    asked = np.concatenate([raw, [0, 1, 0.5]]).astype(np.float32)
    np.testing.assert_allclose(Isotonic().fit(y_N, raw).apply(asked), theirs.predict(asked.astype(np.float64)), atol=1e-7)


def test_platts_line_is_that_of_scikit_learn():
    y_N, raw = too_sure()
    ours, theirs = Platt().fit(y_N, raw), _SigmoidCalibration().fit(log_odds(raw), y_N)
    assert (ours.slope, ours.intercept) == pytest.approx((-theirs.a_, -theirs.b_), abs=1e-4)
    np.testing.assert_allclose(ours.apply(raw), theirs.predict(log_odds(raw)), atol=1e-4)


def test_a_temperature_is_found_again_and_no_other_has_a_lower_loss():
    y_N, raw = too_sure(20_000)
    assert Temperature().fit(y_N, raw).temperature == pytest.approx(2.5, rel=0.05)
    rows = multiclass_rows(3000)
    sharp = softmax(3 * log_shares(rows.scores))
    found = Temperature().fit(rows.y_N, sharp)
    losses = {t: log_loss(rows.y_N, TemperatureCalibrator(temperature=t).apply(sharp)) for t in np.geomspace(0.3, 30, 60)}
    assert log_loss(rows.y_N, found.apply(sharp)) <= min(losses.values()) + 1e-9
    np.testing.assert_array_equal(found.apply(sharp).argmax(axis=1), sharp.argmax(axis=1))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_no_calibrator_turns_an_order_around(kind):
    y_N, raw = too_sure(800)
    grid = np.linspace(0, 1, 4001).astype(np.float32)
    for labels_N in (y_N, 1 - y_N):  # also where higher scores are less often right
        after = kind.fit(labels_N, raw).apply(grid)
        assert (np.diff(after) >= 0).all()
        assert after.dtype == np.float32
        assert 0 <= after.min() <= after.max() <= 1


@pytest.mark.parametrize("num", [1, 2, 3, 7, 64, 1000])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_a_row_has_the_same_bits_alone_and_in_company(kind, num):
    y_N, raw = too_sure(3000)
    calibrator = kind.fit(y_N, raw)
    together = calibrator.apply(raw)[:num]
    assert calibrator.apply(raw[:num]).tobytes() == together.tobytes()
    assert b"".join(calibrator.apply(raw[i : i + 1]).tobytes() for i in range(num)) == together.tobytes()
    assert calibrator.apply(np.repeat(raw, 2)[::2])[:num].tobytes() == together.tobytes(), "rows that are apart in memory"
    if kind.kind == "temperature":
        scores = multiclass_rows(1000).scores.astype(np.float32)
        all_of_them = calibrator.apply(scores)
        assert b"".join(calibrator.apply(scores[i : i + 1]).tobytes() for i in range(num)) == all_of_them[:num].tobytes()
        np.testing.assert_allclose(all_of_them.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_errors_fall_on_scores_that_were_too_sure(kind):
    calibrator = kind.fit(*too_sure(seed=1))
    found = evaluate(rows_of(*too_sure(seed=2), calibrator), evaluator=Evaluator(num_resamples=40)).recalibration
    assert found.kind == kind.kind
    assert found.before.ece > 0.05
    assert found.after.ece < 0.3 * found.before.ece
    for name in ("log_loss", "brier"):
        assert found.after.metrics[name].high < found.before.metrics[name].value
        assert found.after.metrics[name].split == "test"


def test_what_calibration_changed_is_stored_and_read_again():
    found = evaluate(rows_of(*too_sure(500), Platt().fit(*too_sure(500))), evaluator=Evaluator(num_resamples=20))
    assert Evaluation.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_the_threshold_is_chosen_on_calibrated_scores_and_says_where():
    y_N, raw = too_sure()
    found = decide(y_N, raw, target=BINARY, split="calibration", calibration=Temperature(), costs=None)
    assert found.facts["threshold"] == {"split": "calibration", "by": "f1"}
    assert found.facts["calibration"] == {"kind": "temperature", "split": "calibration", "rows": len(y_N)}
    plain = decide(y_N, raw, target=BINARY, split="validation", calibration=None, costs=None)
    assert found.threshold > plain.threshold + 0.03, "log odds nearer to 0"
    assert ((raw >= plain.threshold) == (found.calibrator.apply(raw) >= found.threshold)).mean() > 0.999


@pytest.mark.parametrize(
    ("kind", "calibrator"),
    [
        ("binary", IsotonicCalibrator(scores=(0.2, 0.21, 0.8), probabilities=(0.05, 0.5, 0.9))),
        ("binary", PlattCalibrator(slope=0.4, intercept=-0.3)),
        ("multiclass", TemperatureCalibrator(temperature=1.7)),
    ],
    ids=["isotonic", "platt", "temperature"],
)
def test_a_bundle_keeps_its_calibrator_and_answers_by_it(kind, calibrator, tmp_path):
    plain = trained(kind)
    rows = raw_rows(40, seed=3)
    digest = save_bundle(replace(plain, calibrator=calibrator), tmp_path / "b")
    loaded = load_bundle(tmp_path / "b")
    assert digest != save_bundle(plain, tmp_path / "plain")
    assert not (tmp_path / "plain" / "calibrator.json").exists(), "bundles that do not calibrate are as they were"
    assert loaded.calibrator == calibrator
    found = loaded.predict(rows)
    np.testing.assert_array_equal(found.raw, plain.score(rows))
    np.testing.assert_array_equal(found.scores, calibrator.apply(plain.score(rows)))
    np.testing.assert_array_equal(loaded.score(rows), found.scores)
    records = rows.to_pylist()
    alone = [loaded.predict_rows([record]).scores[0] for record in records]
    assert np.asarray(alone).tobytes() == found.scores.tobytes()
    assert plain.predict(rows).raw is None
    if kind == "binary":
        assert (found.labels == "true").tolist() == (found.scores >= loaded.threshold).tolist()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data.update(slope=0.5), "the score is"),
        (lambda data: data.update(kind="spline"), "calibrator 'spline' is not known to this version of raypipe"),
        (lambda data: data.pop("slope"), "calibrator.json is damaged"),
    ],
)
def test_a_calibrator_that_was_changed_is_refused(change, words, tmp_path):
    save_bundle(replace(trained("binary"), calibrator=PlattCalibrator(slope=0.4, intercept=0.0)), tmp_path / "b")
    edit_json(tmp_path / "b" / "calibrator.json", change)
    with pytest.raises(BundleError, match=r"calibrator\.json"):
        load_bundle(tmp_path / "b")
    reseal(tmp_path / "b")
    with pytest.raises(BundleError, match=words):
        load_bundle(tmp_path / "b")


def test_a_calibrator_that_was_taken_away_is_refused(tmp_path):
    save_bundle(replace(trained("binary"), calibrator=PlattCalibrator(slope=0.4, intercept=0.0)), tmp_path / "b")
    (tmp_path / "b" / "calibrator.json").unlink()
    reseal(tmp_path / "b")
    with pytest.raises(BundleError, match="calibrated and it has no calibrator"):
        load_bundle(tmp_path / "b")


def test_a_calibrator_of_another_kind_of_target_is_refused(tmp_path):
    calibrator = PlattCalibrator(slope=1, intercept=0)
    with pytest.raises(BundleError, match="a platt calibrator is for binary, not multiclass"):
        save_bundle(replace(trained("multiclass"), calibrator=calibrator), tmp_path / "b")


SPLITS = ("train", "validation", "test")


@pytest.mark.parametrize(
    ("settings", "kind", "splits", "words"),
    [
        ({"calibration": {"kind": "platt"}}, "binary", SPLITS, "needs rows that nothing else saw: set split.calibration"),
        ({"calibration": {"kind": "isotonic"}}, "multiclass", (*SPLITS, "calibration"), "temperature is for both"),
        ({"calibration": {"kind": "temperature"}}, "regression", (*SPLITS, "calibration"), "take evaluator.calibration out"),
        ({"costs": {"false_positive": 1, "false_negative": 2}}, "multiclass", SPLITS, "evaluator.costs are of the four"),
    ],
)
def test_what_does_not_fit_the_task_is_refused_by_name(settings, kind, splits, words):
    problems = [*build(settings, Evaluator).problems(kind, inputs=trained("binary").inputs, splits=splits)]
    assert len(problems) == 1
    assert words in problems[0]


def test_an_unknown_calibration_names_those_that_exist():
    with pytest.raises(ConfigError, match=r"evaluator|calibration.*isotonic"):
        build({"calibration": {"kind": "beta"}}, Evaluator)
    assert build({"calibration": {"kind": "platt"}}, Evaluator).calibration == Platt()
    assert {SPECIES.kind, DELAY.kind, BINARY.kind} >= {*Temperature.targets}
