"""Records of a small made-up history for tests of lineage: what jobs write, written by hand into real stores."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from raypipe.core.storage import Storage, write_json
from raypipe.registry import ModelVersion, Tracking, start_run
from raypipe.tables import TableRef, Tables, write_part

if TYPE_CHECKING:
    from mlflow import MlflowClient

PREPARED = "ab" * 32
IDS = ("0b5e0a7e-3c1f-5d0a-9a55-d5a4a7f1c001", "0b5e0a7e-3c1f-5d0a-9a55-d5a4a7f1c002")


def file_entry(digest: str, size: int = 10) -> dict[str, Any]:
    return {"size": size, "etag": "e", "identity": f"id{digest}", "sha256": digest * 64}


def commit(
    storage: Storage,
    name: str,
    rows: Mapping[str, Sequence[Any]],
    facts: Mapping[str, Any],
    *,
    folder: str = "tables",
    **what: Any,
) -> TableRef:
    """A version of a table as jobs commit them, with the facts that they carry."""
    tables, table = Tables(storage, folder), pa.table(rows)
    transaction = what.get("transaction", f"ingest-{name}-{facts}")
    part = write_part(tables.uri(name), what.get("path", f"part-{abs(hash(transaction))}.parquet"), table)
    return tables.commit(name, [part], table.schema, mode=what.get("mode", "overwrite"), transaction=transaction, facts=facts)


def ingested(storage: Storage, name: str, files: Mapping[str, str], **facts: Any) -> TableRef:
    """A version of a table that was made of `files`: URI -> a letter for the content."""
    entries = {uri: file_entry(letter) for uri, letter in files.items()}
    return commit(storage, name, {"id": list(range(len(files)))}, {"source": {"files": entries}, "digest": name, **facts})


def prepared(storage: Storage, tables: Mapping[str, int], digest: str = PREPARED) -> None:
    """The manifests of prepared data, and nothing else of it."""
    write_json(storage.uri("joined", "cd" * 12, "joined.json"), _joined(tables))
    write_json(storage.uri("prepared", digest[:24], "prepared.json"), {"joined": "cd" * 32})


def _joined(tables: Mapping[str, int]) -> dict[str, Any]:
    return {"tables": dict(tables), "num_rows": {"train": 6, "test": 4}, "rows": {"in": 11, "out": 10, "set_aside": {"x": 1}}}


def registered(
    client: "MlflowClient", tracking: Tracking, storage: Storage, name: str, tables: Mapping[str, int], **tags: str
) -> ModelVersion:
    """A version with a run, tagged as the train job does; there is no bundle behind it."""
    labels = {f"table.{table}": f"{table}@{version}" for table, version in tables.items()}
    known = {"prepared": PREPARED, "config": "c0" * 32, "code": "c1" * 32, "experiment": name, "candidate": "xgboost"}
    settings = {"name": name, "split": {"_target_": "raypipe.split.HashSplit", "train": 0.6}}
    with start_run(tracking, storage, name=f"{name}-xgboost", tags={**known, **labels, **tags}, settings=settings) as tracker:
        return version(client, name, run_id=tracker.run_id, **{**known, **labels, **tags})


def version(client: "MlflowClient", name: str, *, run_id: str = "", **tags: str) -> ModelVersion:
    """A complete version in the registry with these tags, and nothing else."""
    if not any(model.name == name for model in client.search_registered_models()):
        client.create_registered_model(name)
    digest = hashlib.sha256(f"{name}{run_id}".encode()).hexdigest()
    own = {"digest": digest, "run_id": run_id, "bundle_uri": f"/models/{digest}", "status": "complete"}
    made = client.create_model_version(name, source=f"/models/{digest}", run_id=run_id or None, tags={**tags, **own})
    return ModelVersion(name=name, version=int(made.version), digest=digest, run_id=run_id, bundle_uri=f"/models/{digest}")


def scored(
    storage: Storage, version: ModelVersion, inputs: Mapping[str, tuple[str, int]], stem: str, ids: Sequence[str]
) -> TableRef:
    """Predictions as the score job writes them."""
    num = len(ids)
    rows = {
        "carrier": ["UA"] * num,
        "flight": list(range(num)),
        "prediction_id": list(ids),
        "score": [0.25] * num,
        "label": ["false"] * num,
        "model_name": [version.name] * num,
        "model_version": [version.version] * num,
        "model_digest": [version.digest] * num,
        "scored_at": ["2026-01-01"] * num,
    }
    facts = {
        "rows": {"in": num, "out": num, "set_aside": {}},
        "model": [version.name, version.version],
        "inputs": {name: [table, number, "digest"] for name, (table, number) in inputs.items()},
    }
    what = {"transaction": f"score-{stem}{'0' * 48}", "path": f"part-{stem}-00000.parquet", "mode": "append"}
    return commit(storage, version.name, rows, facts, folder="predictions", **what)
