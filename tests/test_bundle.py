import importlib
import json
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from bundle_parts import TARGETS, make_bundle, raw_rows

from raypipe.bundle import SCORE_TOLERANCE, Bundle, Predictions, load_bundle, read_manifest, save_bundle
from raypipe.bundle._manifest import write_manifest
from raypipe.bundle.pyfunc import _load_pyfunc
from raypipe.core.errors import BundleError, RequestError
from raypipe.core.tensors import Target

KINDS = ["binary", "multiclass", "regression"]


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest) -> Bundle:
    return make_bundle(request.param)


@pytest.fixture(scope="module")
def binary() -> Bundle:
    return make_bundle("binary")


@pytest.fixture
def folder(binary: Bundle, tmp_path: Path) -> Path:
    save_bundle(binary, tmp_path / "bundle")
    return tmp_path / "bundle"


def reseal(folder: Path) -> None:
    """Write a manifest that fits the files as they are now: what somebody who edits a bundle on purpose would do."""
    old = read_manifest(folder)
    write_manifest(folder, old.requires, old.code)


def edit_json(path: Path, change: Callable[[dict], None]) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def run_python(code: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments], capture_output=True, text=True, check=False, cwd=cwd
    )


# --- what goes in comes out ---


def test_a_bundle_round_trips(made: Bundle, tmp_path: Path) -> None:
    digest = save_bundle(made, tmp_path / "b")
    loaded, rows = load_bundle(tmp_path / "b"), raw_rows(50, seed=9)
    assert loaded.digest == digest
    assert (loaded.target, loaded.threshold, loaded.meta) == (made.target, made.threshold, made.meta)
    assert loaded.inputs == made.inputs
    assert loaded.features.digest == made.features.digest
    assert loaded.request_columns == ("carrier", "distance", "time_hour", "minute", "holiday")
    assert loaded.view_columns == ("planes_year", "weather_temp")
    assert loaded.input_columns == tuple(made.inputs.columns)
    before, after = made.predict(rows), loaded.predict(rows)
    np.testing.assert_array_equal(before.scores, after.scores)
    assert before.labels.tolist() == after.labels.tolist()
    assert len(set(map(str, after.labels))) > 1


def test_the_digest_names_the_parts_and_not_the_time_or_the_folder(binary: Bundle, tmp_path: Path) -> None:
    first = save_bundle(binary, tmp_path / "one")
    padding = pa.concat_tables([raw_rows(17, seed=5), binary.examples])
    same = replace(binary, examples=padding.slice(17), digest="what it was called before")
    assert save_bundle(same, tmp_path / "deep" / "two") == first
    assert save_bundle(make_bundle("binary"), tmp_path / "three") == first
    assert save_bundle(load_bundle(tmp_path / "one"), tmp_path / "four") == first
    others = [replace(binary, threshold=0.4), replace(binary, meta={}), replace(binary, examples=raw_rows(9, seed=2))]
    others.append(replace(binary, sources={**binary.sources, "weather_temp": "request"}))
    digests = {save_bundle(other, tmp_path / "other") for other in others}
    assert len({*digests, first}) == 5


def test_a_row_scores_the_same_alone_in_company_and_with_columns_permuted(made: Bundle) -> None:
    rows = raw_rows(40, seed=3)
    together = made.score(rows)
    alone = np.concatenate([made.score(rows.slice(i, 1)) for i in range(len(rows))])
    np.testing.assert_allclose(alone, together, atol=SCORE_TOLERANCE * max(1, np.abs(together).max()), rtol=0)
    shuffled = rows.select(sorted(rows.column_names, reverse=True)).append_column("other", pa.array(range(40)))
    np.testing.assert_array_equal(made.score(shuffled), together)
    np.testing.assert_array_equal(made.score(rows.to_batches()[0]), together)


def test_many_threads_get_the_answers_of_one(made: Bundle) -> None:
    tables = [raw_rows(30, seed=s) for s in range(16)]
    expected = [made.score(t) for t in tables]
    with ThreadPoolExecutor(8) as pool:
        for wanted, got in zip(expected * 4, pool.map(made.score, tables * 4), strict=True):
            np.testing.assert_array_equal(got, wanted)


def test_no_rows_have_no_predictions(made: Bundle) -> None:
    answer = made.predict(raw_rows(5).slice(0, 0))
    assert len(answer) == 0
    assert answer.records() == []


def test_example_records_are_json_that_the_contract_takes_and_score_as_their_rows(folder: Path) -> None:
    bundle = load_bundle(folder)
    records = json.loads(json.dumps(bundle.example_records(4), allow_nan=False))
    checked = bundle.inputs.check_records(records)
    assert (len(checked.good), len(checked.bad)) == (4, 0)
    np.testing.assert_array_equal(bundle.score(checked.good), bundle.score(bundle.examples.slice(0, 4)))
    assert records[0]["time_hour"].endswith("Z")
    assert len(bundle.example_records(1000)) == len(bundle.examples) == 32


def test_the_record_schema_marks_types_nulls_and_sources(binary: Bundle) -> None:
    schema = binary.record_schema()
    assert schema["required"] == ["carrier", "distance", "time_hour", "minute"]
    assert schema["properties"]["carrier"] == {"type": "string", "enum": ["UA", "B6", "DL"], "x-source": "request"}
    assert schema["properties"]["distance"] == {"type": "number", "minimum": 0.0, "x-source": "request"}
    assert schema["properties"]["planes_year"] == {"type": ["integer", "null"], "x-source": "view:planes"}


@pytest.mark.parametrize(
    ("kind", "scores", "record", "columns"),
    [
        ("binary", [0.5], {"score": 0.5, "label": "true"}, ["score", "label"]),
        ("binary", [0.25], {"score": 0.25, "label": "false"}, ["score", "label"]),
        (
            "multiclass",
            [[0.25, 0.5, 0.25]],
            {"scores": {"Biscoe": 0.25, "Dream": 0.5, "Torgersen": 0.25}, "label": "Dream"},
            ["score_Biscoe", "score_Dream", "score_Torgersen", "label"],
        ),
        ("regression", [3.5], {"score": 3.5}, ["score"]),
    ],
)
def test_predictions_as_records_and_as_a_table(kind, scores, record, columns, binary: Bundle) -> None:
    class Fixed:
        kind = "fixed"

        def predict(self, inputs):  # noqa: ARG002
            return np.array(scores, np.float32)

    threshold = 0.5 if kind == "binary" else None
    answer = replace(binary, model=Fixed(), target=TARGETS[kind], threshold=threshold).predict(raw_rows(1))
    assert answer.records() == [record]
    assert answer.to_table().column_names == columns
    json.dumps(answer.records())


def test_a_binary_bundle_scores_without_a_threshold_but_does_not_label(binary: Bundle) -> None:
    unfinished = replace(binary, threshold=None)
    assert len(unfinished.score(raw_rows(3))) == 3
    with pytest.raises(ValueError, match="late has no threshold"):
        unfinished.predict(raw_rows(3))


# --- damage is refused by name ---


def files_of(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_a_flipped_byte_in_any_file_is_refused_by_name(folder: Path) -> None:
    names = files_of(folder)
    assert len(names) == 10
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


def test_a_newer_format_is_refused_by_number(folder: Path) -> None:
    edit_json(folder / "manifest.json", lambda m: m.update(format=2, files="in another shape"))
    with pytest.raises(BundleError, match=r"format 2 is newer than 1.*upgrade raypipe"):
        load_bundle(folder)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 1}', '{"format": 1, "files": [{"path": "x"}]}', '{"format": null}']
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


# --- golden rows ---


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


def test_features_that_depend_on_the_rows_beside_are_refused(binary: Bundle, tmp_path: Path) -> None:
    class Centred(type(binary.features)):
        def transform(self, table):
            tensors = super().transform(table)
            return {**tensors, "numbers_NF": tensors["numbers_NF"] - tensors["numbers_NF"].mean(axis=0)}

    centred = Centred(**{f.name: getattr(binary.features, f.name) for f in fields(binary.features) if f.init})
    with pytest.raises(BundleError, match="features of a row depend on the rows beside it: golden row 0: feature"):
        save_bundle(replace(binary, features=centred), tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


# --- whole or absent ---


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


def test_features_of_a_column_that_inputs_lack_are_refused(binary: Bundle, tmp_path: Path) -> None:
    names = [name for name in binary.inputs.columns if name != "minute"]
    with pytest.raises(BundleError, match="features need columns that inputs lack: minute"):
        save_bundle(replace(binary, inputs=binary.inputs.select(names)), tmp_path / "b")


# --- nothing unpickles, nothing heavy is imported ---


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
    model = model_class(**{f.name: getattr(binary.model, f.name) for f in fields(binary.model)})
    with pytest.raises(BundleError, match="module __main__ has no source file that can be imported"):
        save_bundle(replace(binary, model=model), tmp_path / "b")


# --- as an MLflow pyfunc, without MLflow ---


def test_the_pyfunc_gives_the_predictions_of_the_bundle(made: Bundle, tmp_path: Path) -> None:
    save_bundle(made, tmp_path / "b")
    rows = raw_rows(20, seed=4)
    frame = rows.to_pandas().set_index(pd.RangeIndex(100, 120))
    answer = _load_pyfunc(str(tmp_path / "b")).predict(frame)
    expected: Predictions = made.predict(rows)
    pd.testing.assert_frame_equal(answer.reset_index(drop=True), expected.to_table().to_pandas())
    assert answer.index.tolist() == list(range(100, 120))


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.assign(time_hour=f["time_hour"].dt.tz_localize(None)),
        lambda f: f.assign(time_hour=f["time_hour"].dt.tz_convert("America/New_York")),
        lambda f: f.assign(time_hour=f["time_hour"].astype(object)),
        lambda f: f.assign(time_hour=[t.isoformat() for t in f["time_hour"]]),
        lambda f: f.assign(planes_year=f["planes_year"].astype("Int64")),
        lambda f: f.assign(carrier=f["carrier"].astype("category")),
        lambda f: f.assign(minute=f["minute"].astype("float64")),
        lambda f: f.astype(object),
        lambda f: f[reversed(f.columns)].assign(other=1),
    ],
    ids=["naive is UTC", "other zone", "objects", "ISO text", "Int64", "category", "whole floats", "all objects", "order"],
)
def test_the_pyfunc_takes_what_pandas_makes_of_the_types(binary: Bundle, folder: Path, change) -> None:
    rows = raw_rows(20, seed=4)
    answer = _load_pyfunc(str(folder)).predict(change(rows.to_pandas()))
    np.testing.assert_array_equal(answer["score"], binary.predict(rows).scores.astype(np.float64))


def test_the_pyfunc_takes_a_missing_nullable_column_for_nulls(binary: Bundle, folder: Path) -> None:
    rows = raw_rows(20, seed=4)
    nulls = rows.set_column(rows.schema.get_field_index("planes_year"), "planes_year", pa.nulls(20, pa.int64()))
    answer = _load_pyfunc(str(folder)).predict(rows.drop_columns(["planes_year"]).to_pandas())
    np.testing.assert_array_equal(answer["score"], binary.predict(nulls).scores.astype(np.float64))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="minute"), "column minute is missing"),
        (lambda f: f.assign(minute="12"), "column minute: expected int64, found text"),
        (lambda f: f.assign(minute=12.5), "row 0: column minute: 12.5 is not a whole number"),
        (lambda f: f.assign(distance="far"), "column distance: expected float64, found text"),
        (lambda f: f.assign(distance=-1.0), "row 0: column distance: -1.0 is less than 0"),
        (lambda f: f.assign(distance=float("inf")), "row 0: column distance: inf"),
        (lambda f: f.assign(carrier=[None, "UA", "XX"]), "row 0: column carrier: is null; row 2: column carrier: 'XX'"),
        (lambda f: f.assign(time_hour=0), "row 0: column time_hour: 0 is not a timestamp"),
        (lambda f: f.assign(time_hour="yesterday"), "row 0: column time_hour: 'yesterday'"),
        (lambda f: f.assign(holiday=[1, "x", None]), "column holiday: expected bool"),
        (lambda f: pd.concat([f.assign(distance=-1.0)] * 3), "and 4 more"),
    ],
)
def test_the_pyfunc_refuses_wrong_values_by_row_and_column(folder: Path, change, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        _load_pyfunc(str(folder)).predict(change(raw_rows(3).to_pandas()))
