"""Prepared data: what one (table versions, split, features) gave, kept under its digest and read by any model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from safetensors.numpy import load

from raypipe.contract import Contract
from raypipe.core.rows import RowCounts
from raypipe.core.storage import arrow_filesystem, join, path_of, read_bytes, read_json
from raypipe.core.tensors import LabelledTensors, Target, TrainingData
from raypipe.features import FittedFeatures
from raypipe.split import SPLITS

JOINED_AT = "__at"
JOINED_LABEL = "__label"
MANIFEST = "prepared.json"


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Joined rows and tensors of every split, and the features fitted on the training rows.

    Attributes:
        uri: Folder of the files.
        digest: What it is a function of: table versions, task, split, features, code.
        tables: Table -> version.
        rows: Row counts of the events.
        num_rows: Rows of each split.
        times: First and last prediction time of each split, ISO-8601; empty when rows have no time.
        features: Fitted on training rows only.
        target: What is predicted.
        inputs: Contract of the feature inputs.
        sources: Input column -> ``request`` or ``view:NAME``.
        columns: Columns of the joined rows.
        files: Split -> stems of its parts, in table order.
        unmatched: View -> rows for which it gave nothing.
    """

    uri: str
    digest: str
    tables: Mapping[str, int]
    rows: RowCounts
    num_rows: Mapping[str, int]
    times: Mapping[str, tuple[str, str]]
    features: FittedFeatures
    target: Target
    inputs: Contract
    sources: Mapping[str, str]
    columns: tuple[str, ...]
    files: Mapping[str, tuple[str, ...]]
    unmatched: Mapping[str, int]

    def joined_uris(self, split: str) -> list[str]:
        """Parquet files with the joined rows of `split`."""
        return [join(self.uri, "joined", split, f"{stem}.parquet") for stem in self.files[split]]

    def joined(self, split: str, num_rows: int) -> pa.Table:
        """The first `num_rows` joined rows of `split`; a sample for the bundle's golden rows."""
        uri = self.joined_uris(split)[0]
        return pq.read_table(path_of(uri), filesystem=arrow_filesystem(uri)).slice(0, num_rows)

    def label_mean(self, split: str) -> float | None:
        """Mean label of `split`, for binary the share of positives; None for multiclass."""
        if self.target.kind == "multiclass":
            return None
        uris = self.joined_uris(split)
        parts = [pq.read_table(path_of(uri), columns=[JOINED_LABEL], filesystem=arrow_filesystem(uri)) for uri in uris]
        return float(pc.mean(pa.concat_tables(parts).column(JOINED_LABEL).cast(pa.float64())).as_py())

    def tensors(self, split: str) -> LabelledTensors:
        """All tensors of `split`, in table order."""
        parts = [load(read_bytes(join(self.uri, "tensors", split, f"{stem}.safetensors"))) for stem in self.files[split]]
        named = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return LabelledTensors(y_N=named.pop("y_N"), inputs=named)

    def training_data(self) -> TrainingData:
        """Train and validation rows; the test rows are not among them."""
        return TrainingData(
            train=self.tensors("train"), validation=self.tensors("validation"), specs=self.features.specs, target=self.target
        )

    def to_dict(self) -> dict[str, Any]:
        """As stored in the manifest."""
        return {
            "digest": self.digest,
            "tables": dict(self.tables),
            "rows": self.rows.to_dict(),
            "num_rows": dict(self.num_rows),
            "times": {split: list(times) for split, times in self.times.items()},
            "features": self.features.to_dict(),
            "target": self.target.to_dict(),
            "inputs": self.inputs.to_dict(),
            "sources": dict(self.sources),
            "columns": list(self.columns),
            "files": {split: list(files) for split, files in self.files.items()},
            "unmatched": dict(self.unmatched),
        }

    @classmethod
    def open(cls, uri: str) -> "Prepared":
        """The prepared data at `uri`.

        Raises:
            StorageError: when nothing, or nothing complete, is there.
        """
        data = read_json(join(uri, MANIFEST))
        rows = data["rows"]
        return cls(
            uri=uri,
            digest=data["digest"],
            tables=data["tables"],
            rows=RowCounts(rows["in"], rows["out"], rows["set_aside"]),
            num_rows={split: data["num_rows"][split] for split in SPLITS},
            times={split: (low, high) for split, (low, high) in data["times"].items()},
            features=FittedFeatures.from_dict(data["features"]),
            target=Target.from_dict(data["target"]),
            inputs=Contract.from_dict(data["inputs"]),
            sources=data["sources"],
            columns=tuple(data["columns"]),
            files={split: tuple(files) for split, files in data["files"].items()},
            unmatched=data["unmatched"],
        )


@dataclass(frozen=True)
class LoadPrepared:
    """A picklable loader: a training worker calls it to read its tensors."""

    uri: str

    def __call__(self) -> TrainingData:
        """Train and validation rows at `uri`."""
        return Prepared.open(self.uri).training_data()
