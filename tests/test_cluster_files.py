"""The files under cluster/ are what Ray's own tools accept."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from processes import ROOT
from ray.autoscaler._private.util import fillout_defaults, validate_config

FILES = sorted((ROOT / "cluster").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_ray_up_accepts_the_cluster_file(path: Path) -> None:
    config: dict[str, Any] = yaml.safe_load(path.read_text())
    validate_config(fillout_defaults(config))
    text = path.read_text()
    assert "RAY_AUTH_MODE=token" in text
    assert "0.0.0.0" not in text


def test_a_misspelt_key_would_be_noticed() -> None:
    config = {**yaml.safe_load(FILES[0].read_text()), "idle_timeout_minuts": 5}
    with pytest.raises(jsonschema.ValidationError, match="idle_timeout_minuts"):
        validate_config(fillout_defaults(config))
