"""docs/evaluation.md: every YAML block builds into the experiment that it would change."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from raypipe.core.compose import compose, packaged, to_plain
from raypipe.core.config import build
from raypipe.evaluate import Card, Evaluator, Gate, Isotonic
from raypipe.pipeline import Experiment
from raypipe.split import ALL_SPLITS, HashSplit, splits_of

PAGE = (packaged("conf").parent / "docs" / "evaluation.md").read_text(encoding="utf-8")
BLOCKS = [(kind, yaml.safe_load(text)) for kind, text in re.findall(r"^```yaml (\w+)\n(.*?)^```", PAGE, re.M | re.S)]
PARTS: dict[str, type[Any]] = {"evaluator": Evaluator, "gate": Gate, "card": Card, "split": HashSplit}


def test_every_block_says_what_it_is() -> None:
    assert [kind for kind, _ in BLOCKS] == ["experiment"] * 5
    assert PAGE.count("```yaml") == len(BLOCKS) + 1, "the overlay at the end is built below"


def test_the_example_at_the_end_is_an_experiment(tmp_path: Path) -> None:
    (overlay,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S)
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "late_flights.yaml").write_text(overlay)
    run = build(to_plain(compose("train", ["experiment=late_flights"], conf_dir=str(tmp_path))), Experiment)
    assert splits_of(run.plan().split) == ALL_SPLITS


@pytest.mark.parametrize(("name", "settings"), [part for _, block in BLOCKS for part in block.items()])
def test_every_part_builds(name: str, settings: dict[str, Any]) -> None:
    target = settings.pop("_target_", None)
    part = build(settings, PARTS[name])
    assert target in (None, f"raypipe.split.{type(part).__name__}")
    if isinstance(part, HashSplit):
        assert splits_of(part) == ALL_SPLITS


def test_what_the_page_says_of_defaults_is_so() -> None:
    plain = Evaluator()
    assert (plain.costs, plain.calibration, plain.declared) == (None, None, {})
    assert plain.importance is not None
    assert (plain.importance.by, plain.importance.repeats, plain.sample_rows) == ("column", 5, 2000)
    assert build({"calibration": {"kind": "isotonic"}}, Evaluator).calibration == Isotonic()
