"""The bundle as a folder.

```text
inputs.json          the columns it takes: contract, and source "request" or "view:NAME" of each
features.json        fitted features
features.arrow       their tables, such as vocabularies
model.json model/    kind of the model, and its own files
target.json          what it predicts, and the threshold
calibrator.json      what turns the model's scores into the bundle's; only when it calibrates
profile.json         reference profile of the inputs
meta.json            facts for people and lineage (no times, no paths: they would change the digest)
examples.arrow       up to 256 raw rows
golden.safetensors   the features and the model's scores of up to 32 of those rows, and these calibrated
parity.json          on how many rows train/serve parity was proved
manifest.json        size and sha256 of every file, packages, user modules, digest; written last
```

Nothing is pickled and nothing unpickles. Loading checks every file and recomputes the golden rows.
"""

import json
import shutil
import uuid
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from raypipe.bundle._bundle import Bundle
from raypipe.bundle._calibrators import calibrator_from_dict, check_calibrator
from raypipe.bundle._code import check_needs, find_needs
from raypipe.bundle._golden import (
    Golden,
    check_calibrated,
    check_scores,
    check_tensors,
    golden_index,
    read_golden,
    write_golden,
)
from raypipe.bundle._inputs import inputs_from_dict, inputs_to_dict, is_source, json_rows, sources_from_dict
from raypipe.bundle._manifest import MANIFEST, check_files, read_manifest, write_manifest
from raypipe.bundle._parity import Probe, compare_back_ends, compare_loaded, make_probe
from raypipe.core.errors import BundleError, RaypipeError
from raypipe.core.tensors import Target, Tensors
from raypipe.features import ARROW_FILE, JSON_FILE, FittedFeatures
from raypipe.models import FittedModel, NeedsModules, load_model, own_modules

_FEATURE_FILES = (JSON_FILE, ARROW_FILE)
_CALIBRATOR = "calibrator.json"


def save_bundle(bundle: Bundle, folder: Path, *, modules: Sequence[str] = ()) -> str:
    """Write `bundle` to the local `folder`, whole or not at all; returns its digest.

    The same parts give the same digest, in any folder at any time. An older bundle at `folder` is replaced.

    Before anything is written, the features of the examples and of hostile rows made from them must come out the same in
    every way to compute them (`check_parity`); before the folder gets its name, it is loaded, and what was loaded must
    give the same again.

    Args:
        bundle: What to save.
        folder: Where; its parent is made.
        modules: User modules needed beside those of the model and of the features.

    Raises:
        BundleError: when the parts do not fit, features of a row depend on how they are computed, or `folder` holds
            something else.
    """
    _check_parts(bundle, str(folder))
    if folder.exists() and not (folder / MANIFEST).exists() and any(folder.iterdir()):
        raise BundleError(str(folder), "the folder holds files that are no bundle; choose another")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.partial")
    partial.mkdir()
    try:
        digest = _write(bundle, partial, modules, str(folder))
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return digest


def load_bundle(folder: Path, *, digest: str | None = None) -> Bundle:
    """The bundle at the local `folder`, proved to be the one that was written and to answer as it did.

    Args:
        folder: Where it is.
        digest: Which bundle it must be; another one is refused before anything of it is imported or built.

    Raises:
        BundleError: naming the file that is missing, extra or changed, another digest, a newer format, a package or module
            that is missing or changed, or the golden row and feature that come out otherwise.
    """
    bundle, golden = _read(folder, digest)
    _check_golden(bundle, golden, str(folder))
    return bundle


def _write(bundle: Bundle, folder: Path, modules: Sequence[str], uri: str) -> str:
    probe = make_probe(bundle.inputs, bundle.examples, uri=uri)
    tensors = compare_back_ends(bundle.features, probe, uri=uri)
    _write_golden(bundle, probe, tensors, folder)
    (folder / "model").mkdir()
    bundle.model.save(folder / "model")
    for name, content in bundle.features.to_files().items():
        (folder / name).write_bytes(content)
    _write_json(folder / "inputs.json", inputs_to_dict(bundle.inputs, bundle.sources))
    _write_json(folder / "model.json", {"kind": bundle.model.kind})
    _write_json(folder / "target.json", {**bundle.target.to_dict(), "threshold": bundle.threshold})
    if bundle.calibrator is not None:
        _write_json(folder / _CALIBRATOR, bundle.calibrator.to_dict())
    _write_json(folder / "meta.json", dict(bundle.meta))
    _write_json(folder / "profile.json", dict(bundle.profile))
    _write_json(folder / "parity.json", probe.parity.to_dict())
    of_model = bundle.model.modules if isinstance(bundle.model, NeedsModules) else ()
    needs = find_needs({type(bundle.model).__module__, *of_model, *bundle.features.modules, *modules}, uri)
    digest = write_manifest(folder, needs.requires, needs.code)
    loaded, golden = _read(folder)
    compare_loaded(loaded.features, probe, tensors, uri=uri)
    _check_golden(loaded, golden, uri)
    return digest


def _write_golden(bundle: Bundle, probe: Probe, tensors: Tensors, folder: Path) -> None:
    num_real = probe.parity.num_real
    of_golden = {name: tensor[golden_index(num_real)] for name, tensor in tensors.items()}
    examples, scores = probe.table.slice(0, num_real), bundle.model.predict(of_golden)
    calibrated = None if bundle.calibrator is None else bundle.calibrated(scores)
    write_golden(folder, Golden(examples=examples, tensors=of_golden, scores=scores, calibrated=calibrated))


def _read(folder: Path, digest: str | None = None) -> tuple[Bundle, Golden]:
    uri = str(folder)
    manifest = read_manifest(folder)
    if digest not in (None, manifest.digest):
        raise BundleError(uri, f"has digest {manifest.digest[:12]}, expected {str(digest)[:12]}")
    check_files(folder, manifest)
    check_needs(manifest.requires, manifest.code, uri)
    checked_modules = {code.import_path for code in manifest.code}
    inputs, target = _read_json(folder / "inputs.json"), _read_json(folder / "target.json")
    golden = read_golden(folder)
    is_calibrated = _CALIBRATOR in {file.path for file in manifest.files}
    bundle = Bundle(
        inputs=inputs_from_dict(inputs),
        sources=sources_from_dict(inputs),
        features=_load_features(folder, checked_modules),
        model=_load_model(folder, checked_modules),
        target=Target.from_dict(target),
        examples=golden.examples,
        threshold=target["threshold"],
        calibrator=calibrator_from_dict(_read_json(folder / _CALIBRATOR), uri) if is_calibrated else None,
        profile=_read_json(folder / "profile.json"),
        meta=_read_json(folder / "meta.json"),
        digest=manifest.digest,
    )
    return bundle, golden


def _check_parts(bundle: Bundle, uri: str) -> None:
    """Refuse parts that do not belong together before anything is written."""
    columns = set(bundle.inputs.columns)
    problems = {
        "features need columns that inputs lack": set(bundle.features.input_columns) - columns,
        "input columns without a source": columns - set(bundle.sources),
        "sources must be request or view:NAME": {n for n in columns & set(bundle.sources) if not is_source(bundle.sources[n])},
        "examples lack input columns": columns - set(bundle.examples.column_names),
    }
    for problem, names in problems.items():
        if names:
            raise BundleError(uri, f"{problem}: {', '.join(sorted(names))}")
    check_calibrator(bundle.calibrator, bundle.target, uri)
    if not len(bundle.examples):
        raise BundleError(uri, "there are no example rows; give at least one training row")
    if (bundle.target.kind == "binary") != (bundle.threshold is not None):
        raise BundleError(
            uri, f"a {bundle.target.kind} target with threshold {bundle.threshold}; binary needs one, others have none"
        )


def _load_features(folder: Path, checked_modules: Collection[str]) -> FittedFeatures:
    """The features; a user's function is called only from a module that the manifest lists and whose sha256 was checked."""
    uri = str(folder)
    try:
        files = {name: (folder / name).read_bytes() for name in _FEATURE_FILES}
        features = FittedFeatures.from_files(files, allowed=tuple(sorted(checked_modules)))
    except FileNotFoundError as error:
        raise BundleError(uri, f"{Path(error.filename).name} is missing") from error
    except (RaypipeError, ValueError, KeyError, TypeError) as error:
        raise BundleError(uri, f"{' and '.join(_FEATURE_FILES)} are not fitted features of this version ({error})") from error
    for module in sorted(set(features.modules) - set(checked_modules)):
        raise BundleError(uri, f"features name module {module}, which {MANIFEST} does not list")
    return features


def _load_model(folder: Path, checked_modules: Collection[str]) -> FittedModel:
    """The model; a user's class is imported only from a module that the manifest lists and whose sha256 was checked."""
    kind = _read_json(folder / "model.json")["kind"]
    for module in sorted(own_modules(kind, folder / "model") - set(checked_modules)):
        raise BundleError(str(folder), f"model.json names module {module}, which {MANIFEST} does not list")
    return load_model(kind, folder / "model")


def _check_golden(bundle: Bundle, golden: Golden, uri: str) -> None:
    """Recompute the golden rows, the features by both back ends."""
    features, rows = bundle.features, golden.rows
    try:
        by_columns = features.transform(rows)
        by_row = [features.row(record) for record in bundle.inputs.of_clean_rows.read_records(json_rows(rows)).rows]
        scores = bundle.model.predict(by_columns)
    except Exception as error:  # of a user's function or model
        raise BundleError(uri, f"the golden rows cannot be recomputed ({type(error).__name__}: {error})") from error
    check_tensors(uri, features.specs, golden.tensors, by_columns)
    joined = {name: np.concatenate([tensors[name] for tensors in by_row]) for name in by_row[0]}
    check_tensors(uri, features.specs, golden.tensors, joined)
    check_scores(uri, golden.scores, scores)
    check_calibrated(uri, golden, None if bundle.calibrator is None else bundle.calibrated(golden.scores))


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _read_json(path: Path) -> Any:
    return json.loads(path.read_bytes())
