"""Saving a bundle: whole or absent, parts that do not fit, the user's own code."""

import importlib
import json
from dataclasses import fields, replace
from pathlib import Path

import bundle_parts
import numpy as np
import pyarrow as pa
import pytest
from bundle_parts import FEATURES, edit_json, raw_rows, reseal

from raypipe.bundle import Bundle, load_bundle, read_manifest, save_bundle
from raypipe.core.errors import BundleError
from raypipe.core.tensors import Target

binary = bundle_parts.binary
folder = bundle_parts.folder


def test_a_failed_save_leaves_nothing_and_keeps_the_older_bundle(binary: Bundle, folder: Path) -> None:
    class Breaks:
        kind = "breaks"

        def predict(self, inputs):
            return np.zeros(len(inputs["numbers_NF"]), np.float32)

        def save(self, folder):
            (folder / "half").write_bytes(b"half")
            raise OSError("disk full")

    digest = load_bundle(folder).digest
    for place in (folder, folder.parent / "new"):
        with pytest.raises(OSError, match="disk full"):
            save_bundle(replace(binary, model=Breaks()), place)
    assert [p.name for p in folder.parent.iterdir()] == ["bundle"]
    assert load_bundle(folder).digest == digest


def test_saving_again_replaces_the_bundle(binary: Bundle, folder: Path) -> None:
    digest = save_bundle(replace(binary, threshold=0.25), folder)
    assert (load_bundle(folder).threshold, load_bundle(folder).digest) == (0.25, digest)


def test_a_folder_of_other_files_is_left_alone(binary: Bundle, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(BundleError, match="holds files that are no bundle"):
        save_bundle(binary, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshold": None}, "binary target with threshold None"),
        ({"target": Target(kind="regression", name="price")}, "regression target with threshold 0.5"),
        ({"sources": {"carrier": "request"}}, "input columns without a source: distance, holiday"),
        ({"sources": dict.fromkeys(raw_rows(1).column_names, "view:")}, "must be request or view:NAME: carrier"),
        ({"examples": raw_rows(1).slice(0, 0)}, "no example rows"),
        ({"examples": raw_rows(3).drop_columns(["minute"])}, "examples lack input columns: minute"),
    ],
)
def test_parts_that_do_not_fit_are_refused_before_anything_is_written(binary: Bundle, tmp_path: Path, change, message) -> None:
    with pytest.raises(BundleError, match=message):
        save_bundle(replace(binary, **change), tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_what_a_bundle_computes_can_be_read_without_raypipe(binary: Bundle, folder: Path) -> None:
    features = json.loads((folder / "features.json").read_text())
    assert features["spec"]["derive"] == FEATURES["derive"]
    assert list(features["spec"]["features"]) == list(FEATURES["features"])
    says = {output["name"]: output["says"] for output in features["outputs"] if "name" in output}
    assert says["planes_year"].startswith("(planes_year - 1996.12) / 8.71597, missing -> 1996")
    assert says["carrier"].startswith("index of carrier in 3 values")
    with pa.OSFile(str(folder / "features.arrow")) as file:
        texts = [row["texts"] for row in pa.ipc.open_file(file).read_all().to_pylist()]
    assert sorted(next(filter(None, texts))) == ["B6", "DL", "UA"]
    assert json.loads((folder / "profile.json").read_text()) == binary.profile


def test_features_of_a_column_that_inputs_lack_are_refused(binary: Bundle, tmp_path: Path) -> None:
    names = [name for name in binary.inputs.columns if name != "minute"]
    with pytest.raises(BundleError, match="features need columns that inputs lack: minute"):
        save_bundle(replace(binary, inputs=binary.inputs.select(names)), tmp_path / "b")


# --- the user's own code ---

OWN_MODEL = '''
import json
import numpy as np
from .helper import scale

class Constant:
    """Answers the same for every row."""

    kind = "{package}.model:Constant"

    def __init__(self, value):
        self.value = value

    def predict(self, inputs):
        return np.full(len(inputs["numbers_NF"]), scale(self.value), np.float32)

    def save(self, folder):
        (folder / "value.json").write_text(json.dumps(self.value))

    @classmethod
    def load(cls, folder):
        return cls(json.loads((folder / "value.json").read_text()))
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of the user's own, with a name of its own for each test."""
    package = tmp_path / f"own_{abs(hash(str(tmp_path)))}"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "helper.py").write_text("def scale(value):\n    return value / 2\n")
    (package / "model.py").write_text(OWN_MODEL.format(package=package.name))
    monkeypatch.syspath_prepend(str(tmp_path))
    return package


@pytest.fixture
def own_bundle(own: Path, binary: Bundle, tmp_path: Path) -> Path:
    model = importlib.import_module(f"{own.name}.model").Constant(0.75)
    save_bundle(replace(binary, model=model), tmp_path / "own-bundle")
    return tmp_path / "own-bundle"


def test_a_model_of_ones_own_is_listed_with_the_modules_it_imports_and_comes_back(own: Path, own_bundle: Path) -> None:
    listed = [code.import_path for code in read_manifest(own_bundle).code]
    assert listed == [f"{own.name}.helper", f"{own.name}.model"]
    assert load_bundle(own_bundle).score(raw_rows(2)).tolist() == [0.375, 0.375]


@pytest.mark.parametrize("name", ["helper", "model"])
def test_own_code_that_has_changed_is_refused_by_module(own: Path, own_bundle: Path, name: str) -> None:
    path = own / f"{name}.py"
    path.write_text(path.read_text() + "\n# changed\n")
    with pytest.raises(BundleError, match=f"module {own.name}.{name} has changed"):
        load_bundle(own_bundle)


def test_own_code_that_cannot_be_found_is_named_with_the_way_out(own: Path, own_bundle: Path) -> None:
    (own / "model.py").rename(own / "renamed.py")
    with pytest.raises(BundleError, match=f"needs module {own.name}.model, which cannot be imported; put it on PYTHONPATH"):
        load_bundle(own_bundle)


def test_a_module_that_the_manifest_does_not_list_is_never_imported(folder: Path, own: Path) -> None:
    (own / "trap.py").write_text("raise SystemExit('imported')\n")
    edit_json(folder / "model.json", lambda m: m.update(kind=f"{own.name}.trap:Anything"))
    reseal(folder)
    with pytest.raises(BundleError, match=f"names module {own.name}.trap, which manifest.json does not list"):
        load_bundle(folder)


def test_a_model_defined_where_no_other_process_can_import_it_is_refused(binary: Bundle, tmp_path: Path) -> None:
    model_class = type("Local", (type(binary.model),), {"__module__": "__main__"})
    model = model_class(**{f.name: getattr(binary.model, f.name) for f in fields(binary.model) if f.init})
    with pytest.raises(BundleError, match="module __main__ has no source file that can be imported"):
        save_bundle(replace(binary, model=model), tmp_path / "b")
