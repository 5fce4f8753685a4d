"""What loading a bundle refuses, by name: damage, other formats, golden rows that come out otherwise. Nothing unpickles."""

import pickle
from dataclasses import replace
from pathlib import Path

import bundle_parts
import pytest
from bundle_parts import edit_json, files_of, make_bundle, reseal, run_python

from raypipe.bundle import Bundle, load_bundle, read_manifest, save_bundle
from raypipe.bundle._manifest import write_manifest
from raypipe.core.errors import BundleError

binary = bundle_parts.binary
folder = bundle_parts.folder


def test_a_flipped_byte_in_any_file_is_refused_by_name(folder: Path) -> None:
    names = files_of(folder)
    assert len(names) == 13
    for name in names:
        path = folder / name
        good = path.read_bytes()
        for place in {0, len(good) // 2, len(good) - 2}:
            path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
            with pytest.raises(BundleError, match=name):
                load_bundle(folder)
        path.write_bytes(good)
    load_bundle(folder)


def test_a_missing_file_is_refused_by_name(folder: Path) -> None:
    for name in files_of(folder):
        path = folder / name
        good = path.read_bytes()
        path.unlink()
        with pytest.raises(BundleError, match=f"{name} is missing"):
            load_bundle(folder)
        path.write_bytes(good)


@pytest.mark.parametrize("name", ["more.json", "model/weights.pkl", "__pycache__/x.pyc"])
def test_an_extra_file_is_refused_by_name(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"?")
    with pytest.raises(BundleError, match=f"{name} does not belong"):
        load_bundle(folder)


def test_a_cut_file_is_refused_by_name(folder: Path) -> None:
    path = folder / "features.json"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(BundleError, match=r"features\.json has \d+ bytes, not"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("number", "said"), [(3, "format 3 is newer than 2.*upgrade raypipe"), (1, "format 1 is older.*train it")]
)
def test_another_format_is_refused_by_number_with_the_way_out(folder: Path, number: int, said: str) -> None:
    edit_json(folder / "manifest.json", lambda m: m.update(format=number, files="in another shape"))
    with pytest.raises(BundleError, match=said):
        load_bundle(folder)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 2}', '{"format": 2, "files": [{"path": "x"}]}', '{"format": null}']
)
def test_a_manifest_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json is damaged"):
        load_bundle(folder)


def test_a_package_that_is_not_installed_is_named_with_the_way_out(folder: Path) -> None:
    manifest = read_manifest(folder)
    other = replace(manifest.requires[0], package="not-there", module="not_there", version="1.2")
    write_manifest(folder, (*manifest.requires, other), manifest.code)
    with pytest.raises(BundleError, match=r"package not-there, which is not installed: pip install not-there==1\.2"):
        load_bundle(folder)


def test_it_states_the_packages_it_needs_and_no_others(folder: Path) -> None:
    modules = {need.module for need in read_manifest(folder).requires}
    assert {"numpy", "pyarrow", "xgboost"} <= modules
    assert not {"torch", "ray", "mlflow", "hydra"} & modules


def change_scale(features: dict) -> None:
    """Move one fitted statistic by one part in a million."""

    def walk(value):
        if isinstance(value, dict):
            return {k: walk(v) for k, v in value.items()}
        if isinstance(value, list):
            return [walk(v) for v in value]
        return value * 1.000001 if isinstance(value, float) and value > 100 else value

    features.update(walk(features))


def test_features_that_differ_by_a_bit_are_named_with_their_row(folder: Path) -> None:
    edit_json(folder / "features.json", change_scale)
    reseal(folder)
    with pytest.raises(BundleError, match=r"golden row \d+: feature (distance|planes_year) is .* not"):
        load_bundle(folder)


def test_scores_that_differ_are_named_with_their_row(binary: Bundle, folder: Path, tmp_path: Path) -> None:
    save_bundle(replace(binary, model=make_bundle("binary", num_rounds=6).model), tmp_path / "other")
    (folder / "model" / "model.ubj").write_bytes((tmp_path / "other" / "model" / "model.ubj").read_bytes())
    reseal(folder)
    with pytest.raises(BundleError, match=r"golden row 0: the score is .*, not .* \(tolerance 1e-05\)"):
        load_bundle(folder)


def test_features_that_were_tampered_with_are_refused(folder: Path) -> None:
    path = folder / "features.arrow"
    good = path.read_bytes()
    path.write_bytes(good[:-20] + bytes(20))
    with pytest.raises(BundleError, match=r"features\.arrow is damaged"):
        load_bundle(folder)
    reseal(folder)
    with pytest.raises(BundleError, match=r"features\.json and features\.arrow are not fitted features"):
        load_bundle(folder)
    path.unlink()
    reseal(folder)
    with pytest.raises(BundleError, match=r"features\.arrow is missing"):
        load_bundle(folder)


def test_features_of_a_newer_engine_are_refused(folder: Path) -> None:
    edit_json(folder / "features.json", lambda f: f.update(format=99))
    reseal(folder)
    with pytest.raises(BundleError, match="format 99 is newer"):
        load_bundle(folder)


def test_no_file_is_a_pickle(folder: Path) -> None:
    for name in files_of(folder):
        with pytest.raises(
            (pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, UnicodeDecodeError, AttributeError)
        ):
            pickle.loads((folder / name).read_bytes())


def test_loading_and_predicting_unpickles_nothing_and_needs_no_ray_mlflow_or_torch(folder: Path) -> None:
    done = run_python(
        """
        import sys, time
        from pathlib import Path
        import raypipe.bundle, raypipe.bundle.pyfunc, xgboost
        seen = []
        sys.addaudithook(lambda event, _: seen.append(event) if event == "pickle.find_class" else None)
        started = time.perf_counter()
        bundle = raypipe.bundle.load_bundle(Path(sys.argv[1]))
        seconds = time.perf_counter() - started
        bundle.predict(bundle.examples)
        assert not seen, seen
        heavy = {"ray", "mlflow", "torch", "hydra"} & set(sys.modules)
        assert not heavy, heavy
        print(seconds)
        """,
        str(folder),
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1.0
