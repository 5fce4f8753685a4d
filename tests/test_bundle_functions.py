"""Feature functions of the user's own in a bundle: listed by sha256, and the same for one row and for many."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import bundle_parts
import numpy as np
import pytest
from bundle_parts import FEATURES, raw_rows, reseal

from raypipe.bundle import Bundle, load_bundle, read_manifest, save_bundle
from raypipe.core.config import build
from raypipe.core.errors import BundleError, RaypipeError
from raypipe.features import FeatureSet, fit_chunk, solve

binary = bundle_parts.binary

OWN = """
import numpy as np

def alone(x):
    return x * 2.0

def centred(x):
    return x - np.nanmean(x)

def sums(x):
    return np.cumsum(np.nan_to_num(x))
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    module = f"own_features_{tmp_path.name}"
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / f"{module}.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    return module


def with_function(bundle: Bundle, function: str) -> Bundle:
    """The bundle with one feature of the user's own in the place of `distance`; the model is the same."""
    spec = {**FEATURES, "features": {**FEATURES["features"], "distance": _python(function)}}
    features, rows = build(spec, FeatureSet, allowed=(function.partition(":")[0],)), raw_rows()
    return replace(bundle, features=solve(features, fit_chunk(features, rows), rows.schema).features)


def _python(function: str) -> dict[str, Any]:
    return {"kind": "python", "function": function, "columns": ["distance"], "scale": "standard"}


def test_a_function_of_ones_own_is_listed_with_its_sha256_and_comes_back(binary: Bundle, own: str, tmp_path: Path) -> None:
    bundle = with_function(binary, f"{own}:alone")
    save_bundle(bundle, tmp_path / "b")
    assert [code.import_path for code in read_manifest(tmp_path / "b").code] == [own]
    rows = raw_rows(20, seed=3)
    np.testing.assert_array_equal(load_bundle(tmp_path / "b").score(rows), bundle.score(rows))
    (tmp_path / "code" / f"{own}.py").write_text(OWN + "\n# changed\n")
    with pytest.raises(BundleError, match=f"module {own} has changed"):
        load_bundle(tmp_path / "b")


def test_a_function_of_a_module_that_the_manifest_does_not_list_is_never_called(
    binary: Bundle, own: str, tmp_path: Path
) -> None:
    save_bundle(with_function(binary, f"{own}:alone"), tmp_path / "b")
    (tmp_path / "code" / "trap.py").write_text("raise SystemExit('imported')\n")
    text = (tmp_path / "b" / "features.json").read_text()
    (tmp_path / "b" / "features.json").write_text(text.replace(f"{own}:alone", "trap:alone"))
    reseal(tmp_path / "b")
    with pytest.raises(BundleError, match="trap"):
        load_bundle(tmp_path / "b")


@pytest.mark.parametrize("name", ["centred", "sums"])
def test_a_function_that_answers_otherwise_for_one_row_and_for_many_is_not_saved(
    binary: Bundle, own: str, tmp_path: Path, name: str
) -> None:
    with pytest.raises(RaypipeError, match="feature distance"):
        save_bundle(with_function(binary, f"{own}:{name}"), tmp_path / "b")
    assert not (tmp_path / "b").exists()
