"""The gate at registration: what differs, was tampered with, or lacks its code does not become a version."""

from pathlib import Path

import pytest
from bundle_parts import call_another, edit_json, trained, with_function

from raypipe.bundle import save_bundle
from raypipe.core.errors import BundleError
from raypipe.core.storage import Storage
from raypipe.registry import Registry, Tracking

OWN = """
import os
import numpy as np

def alone(x):
    return x * 2.0

def centred(x):
    return x * 2.0 - np.nanmean(x)

def centred_in_a_crowd(x):
    return x * 2.0 - (np.nanmean(x) if len(x) > 60 else 0.0)

def elsewhere(x):
    other = len(x) == 1 and 0 < x[0] < 1e-300 and "OTHER_LIBRARY" in os.environ
    return x + (3.0 if other else 2.0)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's own, with a name of its own for each test."""
    module = f"own_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    return module


def refuse(folder: Path, message: str) -> None:
    """Registering the bundle fails in one line, before there is any store."""
    registry = Registry(tracking=Tracking(), storage=Storage(root=str(folder.parent / "root")))
    with pytest.raises(BundleError, match=message) as refused:
        registry.register("differs", folder)
    assert "\n" not in str(refused.value)
    assert not (folder.parent / "root").exists()


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("centred", r"golden row 0: feature distance is \S+, not \S+; "),
        (
            "centred_in_a_crowd",
            r"parity: feature distance is .* by the columns of one row, .* on real row \d \(.*its own row",
        ),
    ],
)
def test_a_feature_that_takes_the_mean_of_its_batch_is_refused_by_feature_and_row(
    tmp_path: Path, own: str, function: str, said: str
) -> None:
    """Saving refuses such a function; so it gets into a saved bundle by hand, into one that fits its manifest."""
    save_bundle(with_function(trained("binary"), f"{own}:alone"), tmp_path / "b")
    call_another(tmp_path / "b", f"{own}:alone", f"{own}:{function}")
    refuse(tmp_path / "b", said)


def test_a_bundle_whose_back_ends_differ_where_it_is_registered_is_refused(
    tmp_path: Path, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_bundle(with_function(trained("binary"), f"{own}:elsewhere"), tmp_path / "b")
    monkeypatch.setenv("OTHER_LIBRARY", "1")
    refuse(tmp_path / "b", r"parity: feature distance is .* on hostile row \d+ \(.*distance=\S+e-3")


def test_features_that_were_tampered_with_are_refused(tmp_path: Path) -> None:
    save_bundle(trained("binary"), tmp_path / "b")
    edit_json(tmp_path / "b" / "features.json", lambda features: features.update(rows=301))
    refuse(tmp_path / "b", r"features\.json has \d+ bytes, not \d+")


def test_a_module_of_features_that_changed_since_is_refused(tmp_path: Path, own: str) -> None:
    save_bundle(with_function(trained("binary"), f"{own}:alone"), tmp_path / "b")
    (tmp_path / f"{own}.py").write_text(OWN + "\n# changed\n")
    refuse(tmp_path / "b", f"module {own} has changed since")
