"""A model answers only for rows that were joined as those were that it was trained on."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import score_parts
from score_parts import NUM, Ready, saved
from shops import SPLIT, TASK, Shop

from raypipe.core.errors import ConfigError
from raypipe.core.storage import Storage
from raypipe.evaluate import Decision
from raypipe.pipeline._finish import _bundle
from raypipe.pipeline._judge import unseen_problem
from raypipe.prepare import Plan, Prepared
from raypipe.score import ModelId, loaded
from raypipe.tables import Tables

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]
binary = score_parts.binary
PRICES, SHOPS = TASK["views"]["prices"], TASK["views"]["shops"]
OTHER = {
    "ttl": (
        {"views": {"shops": SHOPS, "prices": {**PRICES, "ttl": "24h"}}},
        "task.views.prices.ttl was 6:00:00, is 1 day, 0:00:00",
    ),
    "entity": (
        {
            "derive": {**TASK["derive"], "at": "coalesce(shop, 'north')"},
            "views": {"shops": {**SHOPS, "entity": {"at": "name"}}, "prices": PRICES},
        },
        "task.derive.at was null, is coalesce(shop, 'north'), task.views.shops.entity was {'shop': 'name'}, is {'at': 'name'}",
    ),
    "time": (
        {"prediction_time": "placed"},
        "task.derive.noticed was placed - hours(1), is null, task.prediction_time was noticed, is placed",
    ),
    "derived": (
        {"derive": {"noticed": "placed - hours(2)"}},
        "task.derive.noticed was placed - hours(1), is placed - hours(2)",
    ),
}
SAME = {
    "more columns, derived ones and views": {
        "derive": {**TASK["derive"], "twice": "amount * 2"},
        "views": {"prices": PRICES, "shops": SHOPS, "others": {**SHOPS, "columns": ["name"]}},
    },
    "label": {"label": "delay > 7"},
}


@pytest.fixture(scope="module")
def trained(binary: Ready, tmp_path_factory: pytest.TempPathFactory) -> ModelId:
    """The model as the pipeline registers it, with what it says of its joins."""
    decision = Decision(calibrator=None, threshold=0.5, facts={})
    run: Any = SimpleNamespace(split=SPLIT)
    made = _bundle(run, binary.plan, binary.prepared, model=binary.bundle.model, decision=decision)
    return saved(made, tmp_path_factory.mktemp("trained") / "bundle")


@pytest.mark.parametrize(("task", "words"), OTHER.values(), ids=OTHER)
def test_rows_that_would_be_joined_in_another_way_are_not_scored(
    task: Mapping[str, Any], words: str, binary: Ready, trained: ModelId, kept: tuple[Shop, Prepared], storage: Storage
) -> None:
    with pytest.raises(ConfigError, match="was trained on other joins") as caught:
        binary.score(storage, plan=kept[0].plan(task), model=trained)
    assert words in str(caught.value)
    assert Tables(storage, "predictions").find("m") is None


@pytest.mark.parametrize("task", SAME.values(), ids=SAME)
def test_what_the_inputs_of_a_model_do_not_depend_on_may_change(
    task: Mapping[str, Any], binary: Ready, trained: ModelId, kept: tuple[Shop, Prepared], storage: Storage
) -> None:
    assert binary.score(storage, plan=kept[0].plan(task), model=trained).rows.rows_out == NUM


def judged(plan: Plan, prepared: Prepared, model: ModelId) -> str | None:
    run: Any = SimpleNamespace(task=plan.task, split=SPLIT)
    return unseen_problem(run, prepared, loaded(model.bundle_uri, model.digest))


def test_the_gate_compares_with_no_champion_of_other_joins(
    binary: Ready, trained: ModelId, kept: tuple[Shop, Prepared]
) -> None:
    for task, words in OTHER.values():
        found = judged(kept[0].plan(task), binary.prepared, trained)
        assert found == f"it was trained on other joins: {words}"
    for task in SAME.values():
        assert judged(kept[0].plan(task), binary.prepared, trained) is None
