"""Prepared data: the features of joined rows, kept under the digest of both and read by any model.

``prepared/DIGEST/`` holds ``tensors/SPLIT/STEM.safetensors``, the fitted features, ``examples.arrow``, ``profile.json``, and
``prepared.json``, written when all the others are there; later ``used.json``, and ``models/`` with the registered
models that were made of it. The rows themselves are in the folder of stage one.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from raypipe.contract import Contract
from raypipe.core.rows import RowCounts
from raypipe.core.storage import join, read_bytes, read_json, write_json
from raypipe.core.tensors import LabelledTensors, Target, TrainingData
from raypipe.features import ARROW_FILE, JSON_FILE, FittedFeatures
from raypipe.prepare._joined import Joined, read_manifest
from raypipe.prepare._load_parts import fill
from raypipe.prepare._use import in_use, mark_used

MANIFEST, EXAMPLES, PROFILE, MODELS = "prepared.json", "examples.arrow", "profile.json", "models"
FORMAT = 1
NUM_EXAMPLES = 256


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Joined rows and tensors of every split, and the features fitted on the training rows.

    Attributes:
        uri: Folder of the files.
        digest: What it is a function of: joined rows, features, code.
        joined: The rows behind it.
        features: Fitted on training rows only.
        inputs: Contract of the feature inputs.
        sources: Input column -> ``request`` or ``view:NAME``.
        did: What the call that gave this value had to do, for people; not stored.
    """

    uri: str
    digest: str
    joined: Joined
    features: FittedFeatures
    inputs: Contract
    sources: Mapping[str, str]
    did: str = field(default="", compare=False)

    @property
    def tables(self) -> Mapping[str, int]:
        """Table -> version."""
        return self.joined.tables

    @property
    def rows(self) -> RowCounts:
        """Row counts of the events."""
        return self.joined.rows

    @property
    def num_rows(self) -> Mapping[str, int]:
        """Rows of each split."""
        return self.joined.num_rows

    @property
    def times(self) -> Mapping[str, tuple[str, str]]:
        """First and last prediction time of each split, ISO-8601; empty when rows have no time."""
        return self.joined.times

    @property
    def target(self) -> Target:
        """What is predicted."""
        return self.joined.target

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the joined rows."""
        return self.joined.columns

    @property
    def unmatched(self) -> Mapping[str, int]:
        """View -> rows for which it gave nothing."""
        return self.joined.unmatched

    def joined_uris(self, split: str) -> list[str]:
        """Parquet files with the joined rows of `split`."""
        return self.joined.uris(split)

    @property
    def examples(self) -> pa.Table:
        """Up to `NUM_EXAMPLES` rows of the feature inputs, taken evenly from the training rows in table order."""
        with pa.ipc.open_file(pa.BufferReader(read_bytes(join(self.uri, EXAMPLES)))) as file:
            return file.read_all()

    @property
    def profile(self) -> dict[str, Any]:
        """The reference profile of the feature inputs: split -> column -> what its values were like."""
        found: dict[str, Any] = read_json(join(self.uri, PROFILE))
        return found

    def mark_used(self) -> None:
        """Say that these data and their rows are in use now: ``raypipe gc`` goes by it."""
        for uri in (self.joined.uri, self.uri):
            mark_used(uri)

    def in_use(self) -> AbstractContextManager[None]:
        """Say so again and again, for work that may take longer than ``gc.spare``."""
        return in_use(self.joined.uri, self.uri)

    def keep_for(self, model: str, manifest: str) -> None:
        """Say that a model was made of these data: they are kept while the manifest of its registered bundle is there.

        Args:
            model: What names the model and its bundle.
            manifest: Where the manifest is, or will be, below the storage root.
        """
        write_json(join(self.uri, MODELS, f"{model}.json"), {"manifest": manifest})

    def tensors(self, split: str) -> LabelledTensors:
        """All tensors of `split`, in table order."""
        uris = [tensors_uri(self.uri, split, stem) for stem in self.joined.files[split]]
        named = fill(uris, self.num_rows[split], lambda _, shape, dtype: np.empty(shape, dtype))
        return LabelledTensors(y_N=named.pop("y_N"), inputs=named)

    def training_data(self) -> TrainingData:
        """Train and validation rows; the test rows are not among them."""
        return TrainingData(
            train=self.tensors("train"), validation=self.tensors("validation"), specs=self.features.specs, target=self.target
        )

    def to_dict(self) -> dict[str, Any]:
        """As stored in the manifest."""
        return {
            "format": FORMAT,
            "digest": self.digest,
            "joined": self.joined.digest,
            "features": self.features.digest,
            "inputs": self.inputs.to_dict(),
            "sources": dict(self.sources),
        }

    @classmethod
    def open(cls, uri: str, *, allowed: Sequence[str] = ()) -> "Prepared":
        """The prepared data at `uri`.

        Args:
            uri: Its folder.
            allowed: Modules of the user's whose functions its features may call.

        Raises:
            StorageError: when nothing, or nothing complete, is there, or a newer raypipe wrote it.
        """
        data = read_manifest(join(uri, MANIFEST), FORMAT)
        return cls(
            uri=uri,
            digest=data["digest"],
            joined=Joined.open(joined_uri(uri.rsplit("/", 2)[0], data["joined"])),
            features=_features(uri, allowed),
            inputs=Contract.from_dict(data["inputs"]),
            sources=data["sources"],
        )


def _features(uri: str, allowed: Sequence[str]) -> FittedFeatures:
    files = {name: read_bytes(join(uri, name)) for name in (JSON_FILE, ARROW_FILE)}
    return FittedFeatures.from_files(files, allowed=allowed)


def joined_uri(root: str, digest: str) -> str:
    """Folder of the joined rows with `digest` under a storage root."""
    return join(root, "joined", digest[:24])


def prepared_uri(root: str, digest: str) -> str:
    """Folder of the prepared data with `digest` under a storage root."""
    return join(root, "prepared", digest[:24])


def tensors_uri(uri: str, split: str, stem: str) -> str:
    """Where stage two writes the tensors of one part."""
    return join(uri, "tensors", split, f"{stem}.safetensors")
