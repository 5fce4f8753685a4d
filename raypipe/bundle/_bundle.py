"""The model bundle: everything that turns raw joined columns into predictions, as one value and as one folder.

```text
inputs.json          the columns it takes: contract, and source "request" or "view:NAME" of each
features.json        fitted features
model.json model/    kind of the model, and its own files
target.json          what it predicts, and the threshold
meta.json            facts for people and lineage (no times, no paths: they would change the digest)
golden.arrow         up to 32 raw rows
golden.safetensors   the features and scores of those rows
manifest.json        size and sha256 of every file, packages, user modules, digest; written last
```

Nothing is pickled and nothing unpickles. Loading checks every file and recomputes the golden rows.
"""

import json
import shutil
import uuid
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raypipe.bundle._code import check_needs, find_needs
from raypipe.bundle._golden import Golden, check_scores, check_tensors, read_golden, sample_rows, write_golden
from raypipe.bundle._inputs import (
    REQUEST,
    inputs_from_dict,
    inputs_to_dict,
    is_source,
    json_rows,
    json_schema,
    sources_from_dict,
)
from raypipe.bundle._manifest import MANIFEST, check_files, read_manifest, write_manifest
from raypipe.bundle._predictions import Predictions, label_scores
from raypipe.contract import Contract
from raypipe.core.errors import BundleError, RaypipeError
from raypipe.core.tensors import Target
from raypipe.features import FittedFeatures
from raypipe.models import FittedModel, load_model


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A model with all it needs to answer. Immutable; `predict` may be called from many threads.

    Attributes:
        inputs: Contract of the raw joined columns that `predict` takes.
        sources: For each input column ``request`` or ``view:NAME``.
        features: Fitted on training rows.
        model: Trained on those features.
        target: What is predicted.
        examples: Raw rows that show what goes in; up to 32 are kept as golden rows. Never test rows.
        threshold: Least score of the positive class, binary only; chosen on validation rows.
        meta: JSON facts such as table versions. A time or a path here would make the digest differ between equal runs.
        digest: Sha256 that names the content; "" until saved.
    """

    inputs: Contract
    sources: Mapping[str, str]
    features: FittedFeatures
    model: FittedModel
    target: Target
    examples: pa.Table
    threshold: float | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Names of the raw columns that `predict` takes, in the order of the contract."""
        return tuple(self.inputs.columns)

    @property
    def request_columns(self) -> tuple[str, ...]:
        """Input columns that only the client knows."""
        return tuple(name for name in self.inputs.columns if self.sources[name] == REQUEST)

    @property
    def view_columns(self) -> tuple[str, ...]:
        """Input columns that come from feature views."""
        return tuple(name for name in self.inputs.columns if self.sources[name] != REQUEST)

    def score(self, table: pa.Table | pa.RecordBatch) -> NDArray[Any]:
        """Scores of contract-checked rows: (N,), or (N,K) for multiclass. Other columns of `table` are ignored."""
        rows = pa.Table.from_batches([table]) if isinstance(table, pa.RecordBatch) else table
        return self.model.predict(self.features.transform(rows.select(self.input_columns)))

    def predict(self, table: pa.Table | pa.RecordBatch) -> Predictions:
        """Scores and labels of contract-checked rows, in their order.

        Raises:
            ValueError: when a binary bundle has no threshold yet.
        """
        scores = self.score(table)
        return Predictions(target=self.target, scores=scores, labels=label_scores(self.target, scores, self.threshold))

    def example_records(self, num: int = 1) -> list[dict[str, Any]]:
        """Up to `num` example rows as JSON values, as a client would send them."""
        return json_rows(self.examples.select(self.input_columns).slice(0, num))

    def record_schema(self) -> dict[str, Any]:
        """JSON Schema of one record of a prediction request."""
        return json_schema(self.inputs, self.sources)


def save_bundle(bundle: Bundle, folder: Path, *, modules: Sequence[str] = ()) -> str:
    """Write `bundle` to the local `folder`, whole or not at all; returns its digest.

    The same parts give the same digest, in any folder at any time. An older bundle at `folder` is replaced.

    Args:
        bundle: Its `examples` become the golden rows.
        folder: Where; its parent is made.
        modules: User modules needed beside the model's own, for example of feature functions.

    Raises:
        BundleError: when the parts do not fit, features depend on a row's company, or `folder` holds something else.
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


def load_bundle(folder: Path) -> Bundle:
    """The bundle at the local `folder`, proved to be the one that was written and to answer as it did.

    Raises:
        BundleError: naming the file that is missing, extra or changed, a newer format, a package or module that is
            missing or changed, or the golden row and feature that come out otherwise.
    """
    uri = str(folder)
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    check_needs(manifest.requires, manifest.code, uri)
    inputs, target = _read_json(folder / "inputs.json"), _read_json(folder / "target.json")
    golden = read_golden(folder)
    bundle = Bundle(
        inputs=inputs_from_dict(inputs),
        sources=sources_from_dict(inputs),
        features=FittedFeatures.from_dict(_read_json(folder / "features.json")),
        model=_load_model(folder, {code.import_path for code in manifest.code}),
        target=Target.from_dict(target),
        examples=golden.rows,
        threshold=target["threshold"],
        meta=_read_json(folder / "meta.json"),
        digest=manifest.digest,
    )
    _check_golden(bundle, golden, uri)
    return bundle


def _write(bundle: Bundle, folder: Path, modules: Sequence[str], uri: str) -> str:
    rows = sample_rows(bundle.examples, bundle.inputs.schema)
    tensors = bundle.features.transform(rows)
    _check_alone(bundle, rows, uri)
    write_golden(folder, Golden(rows=rows, tensors=tensors, scores=bundle.model.predict(tensors)))
    (folder / "model").mkdir()
    bundle.model.save(folder / "model")
    _write_json(folder / "inputs.json", inputs_to_dict(bundle.inputs, bundle.sources))
    _write_json(folder / "features.json", bundle.features.to_dict())
    _write_json(folder / "model.json", {"kind": bundle.model.kind})
    _write_json(folder / "target.json", {**bundle.target.to_dict(), "threshold": bundle.threshold})
    _write_json(folder / "meta.json", dict(bundle.meta))
    needs = find_needs({type(bundle.model).__module__, *modules}, uri)
    return write_manifest(folder, needs.requires, needs.code)


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
    if not len(bundle.examples):
        raise BundleError(uri, "there are no example rows; give at least one training row")
    if (bundle.target.kind == "binary") != (bundle.threshold is not None):
        raise BundleError(
            uri, f"a {bundle.target.kind} target with threshold {bundle.threshold}; binary needs one, others have none"
        )


def _check_alone(bundle: Bundle, rows: pa.Table, uri: str) -> None:
    """Train/serve parity: each golden row has the same features alone as in company, to the last bit."""
    together = bundle.features.transform(rows)
    alone = [bundle.features.transform(rows.slice(i, 1)) for i in range(len(rows))]
    joined = {name: np.concatenate([tensors[name] for tensors in alone]) for name in together}
    try:
        check_tensors(uri, bundle.features.specs, together, joined)
    except BundleError as error:
        raise BundleError(uri, f"features of a row depend on the rows beside it: {error.problem}") from error


def _load_model(folder: Path, listed: Container[str]) -> FittedModel:
    """The model; a user's class is imported only from a module that the manifest lists and whose sha256 was checked."""
    kind = _read_json(folder / "model.json")["kind"]
    module, _, name = kind.partition(":")
    if name and module not in listed:
        raise BundleError(str(folder), f"model.json names module {module}, which {MANIFEST} does not list")
    return load_model(kind, folder / "model")


def _check_golden(bundle: Bundle, golden: Golden, uri: str) -> None:
    try:
        tensors = bundle.features.transform(golden.rows)
        scores = bundle.model.predict(tensors)
    except RaypipeError as error:
        raise BundleError(uri, f"the golden rows cannot be recomputed ({error})") from error
    check_tensors(uri, bundle.features.specs, golden.tensors, tensors)
    check_scores(uri, golden.scores, scores)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _read_json(path: Path) -> Any:
    return json.loads(path.read_bytes())
