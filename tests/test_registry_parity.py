"""The parity gate at registration: what differs where it is registered does not become a version."""

from dataclasses import replace
from pathlib import Path

import pytest
from bundle_parts import FEATURES, raw_rows, trained

from raypipe.bundle import save_bundle
from raypipe.core.config import build
from raypipe.core.errors import BundleError
from raypipe.core.storage import Storage
from raypipe.features import FeatureSet, fit_chunk, solve
from raypipe.registry import Registry, Tracking

OWN = """
import os

def scaled(x):
    other = len(x) == 1 and 0 < x[0] < 1e-300 and "OTHER_LIBRARY" in os.environ
    return x + (3.0 if other else 2.0)
"""


def test_a_bundle_whose_back_ends_differ_where_it_is_registered_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_scaled.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    own = {"kind": "python", "function": "own_scaled:scaled", "columns": ["distance"]}
    spec = {**FEATURES, "features": {**FEATURES["features"], "distance": own}}
    features, rows = build(spec, FeatureSet, allowed=("own_scaled",)), raw_rows()
    fitted = solve(features, fit_chunk(features, rows), rows.schema).features
    save_bundle(replace(trained("binary"), features=fitted), tmp_path / "b")
    registry = Registry(tracking=Tracking(), storage=Storage(root=str(tmp_path / "root")))
    monkeypatch.setenv("OTHER_LIBRARY", "1")
    with pytest.raises(BundleError, match=r"parity: feature distance is .* on hostile row \d+ \(.*distance=\S+e-3"):
        registry.register("differs", tmp_path / "b")
    assert not (tmp_path / "root").exists()
