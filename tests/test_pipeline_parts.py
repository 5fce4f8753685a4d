"""Parts of the pipeline without a job: what a fingerprint is made of, and what is said before a model is registered."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from shops import Shop

from raypipe.bundle import MANIFEST
from raypipe.core.digest import environment
from raypipe.core.errors import BundleError, ConfigError
from raypipe.core.storage import write_bytes, write_json
from raypipe.pipeline._promote import register
from raypipe.pipeline._steps import fingerprint
from raypipe.pipeline._train import TrainedBundle
from raypipe.prepare import Collection, Prepared, collect


def code_of(settings: Any) -> Any:
    return fingerprint(settings=settings, inputs={}, packages=("core",))["code"]


def test_a_step_runs_again_when_what_the_users_module_imports_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "their_model.py").write_text("import their_layers\n")
    layers = tmp_path / "their_layers.py"
    layers.write_text("SIZE = 1\n")
    settings = {"model": [{"_type_": "their_model.Net", "size": 3}], "split": {"_type_": "raypipe.split.HashSplit"}}
    before = code_of(settings)
    assert {"their_model", "their_layers"} <= {*before}
    assert code_of(settings) == before
    layers.write_text("SIZE = 2\n")
    assert {name for name, sha in code_of(settings).items() if before[name] != sha} == {"their_layers"}
    with pytest.raises(ConfigError, match="module theirs_too has no source file"):
        code_of({"_type_": "theirs_too.Net"})


def test_rules_of_time_zones_are_among_the_versions_that_decide_numbers() -> None:
    assert {"zoneinfo", "tzdata"} & {*environment()["libraries"]}


class _Refusing:
    """A registry that refuses every bundle."""

    def register(self, name: str, folder: Path, **more: object) -> None:  # noqa: ARG002  # as the real one
        raise BundleError(str(folder), "differs")


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_prepared_data_is_said_to_be_kept_before_the_model_is_registered(shop: Shop) -> None:
    prepared: Prepared = shop.prepared()
    write_bytes(uri := shop.storage.uri("runs", "x", "bundle"), b"")
    trained = TrainedBundle(
        candidate="x", digest="abc", bundle_uri=uri, run_id="", engine="", seconds=0, best_step=0, curve=[], threshold=None
    )
    session: Any = SimpleNamespace(run=SimpleNamespace(name="mine"), registry=_Refusing())
    with pytest.raises(BundleError):
        register(session, trained, prepared)
    (mark,) = (Path(prepared.uri) / "models").iterdir()
    assert json.loads(mark.read_text()) == {"manifest": f"models/mine/abc/{MANIFEST}"}
    for folder in (prepared.uri, prepared.joined.uri):
        write_json(f"{folder}/used.json", {"at": "2020-01-01T00:00:00+00:00"})
    assert len(collect(shop.storage, Collection(dry_run=True)).collected) == 2, "no bundle of it is registered"
    write_bytes(shop.storage.uri("models", "mine", "abc", MANIFEST), b"{}")
    assert collect(shop.storage, Collection(dry_run=True)).collected == ()
