"""docs/data.md: every YAML block builds as what it says, and every command is one that exists."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from raypipe.contract import Contract
from raypipe.core.compose import packaged
from raypipe.core.config import build, import_target
from raypipe.sources import Source

PAGE = (packaged("conf").parent / "docs" / "data.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml (\w+)\n(.*?)^```", PAGE, re.M | re.S)


def parts(kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for found, text in BLOCKS:
        if found == kind:
            yield from yaml.safe_load(text).items()


def test_every_block_says_what_it_is() -> None:
    assert [kind for kind, _ in BLOCKS] == ["source", "contract", "transform"]


@pytest.mark.parametrize(("name", "settings"), [*parts("source"), *parts("transform")])
def test_every_part_builds(name: str, settings: dict[str, Any]) -> None:
    cls = import_target(settings["_target_"], name, ("raypipe.",))
    part = build({key: value for key, value in settings.items() if key != "_target_"}, cls)
    assert isinstance(part, Source) == settings["_target_"].startswith("raypipe.sources.")


def test_the_contract_builds_and_is_stored_and_read_again_as_it_is() -> None:
    contract = build(dict(parts("contract")), Contract)
    assert Contract.from_dict(contract.to_dict()) == contract
