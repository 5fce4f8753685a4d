"""Joined rows: stage one of prepared data. What one (table versions, task, split) gave, whatever the features are.

``joined/DIGEST/`` holds ``rows/SPLIT/STEM.parquet``, one file for each part of the events and split, ``fits/`` with the
states of features that were fitted on these rows, ``aside/`` with what a running fit or join puts aside, and ``joined.json``,
written when all rows are there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raypipe.core.errors import StorageError
from raypipe.core.rows import RowCounts
from raypipe.core.storage import arrow_filesystem, join, path_of, read_json
from raypipe.core.tensors import Target
from raypipe.split import ALL_SPLITS, LABEL

JOINED_AT = "__at"
JOINED_LABEL = LABEL
JOINED_MANIFEST = "joined.json"
ASIDE = "aside"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Joined:
    """Labelled rows of every split with the columns of all views, and how they were counted.

    Attributes:
        uri: Folder of the files.
        digest: What it is a function of: table versions, task, split, kept columns, code; not the features.
        tables: Table -> version.
        rows: Row counts of the events.
        num_rows: Rows of each split.
        times: First and last prediction time of each split, ISO-8601; empty when rows have no time.
        target: What is predicted.
        columns: Columns of the rows.
        files: Split -> stems of its parts, in table order.
        unmatched: View -> rows for which it gave nothing.
        unmatched_why: View -> how many of these for which reason.
    """

    uri: str
    digest: str
    tables: Mapping[str, int]
    rows: RowCounts
    num_rows: Mapping[str, int]
    times: Mapping[str, tuple[str, str]]
    target: Target
    columns: tuple[str, ...]
    files: Mapping[str, tuple[str, ...]]
    unmatched: Mapping[str, int]
    unmatched_why: Mapping[str, Mapping[str, int]]

    def uri_of(self, split: str, stem: str) -> str:
        """The Parquet file of one part."""
        return rows_uri(self.uri, split, stem)

    def uris(self, split: str) -> list[str]:
        """Parquet files with the rows of `split`, in table order."""
        return [self.uri_of(split, stem) for stem in self.files[split]]

    def head(self, split: str, num_rows: int) -> pa.Table:
        """The first `num_rows` rows of `split`, of its first part."""
        return _read(self.uris(split)[0]).slice(0, num_rows)

    def label_mean(self, split: str) -> float | None:
        """Mean label of `split`, for binary the share of positives; None for multiclass."""
        if self.target.kind == "multiclass":
            return None
        parts = [_read(uri, [JOINED_LABEL]) for uri in self.uris(split)]
        return float(pc.mean(pa.concat_tables(parts).column(JOINED_LABEL).cast(pa.float64())).as_py())

    def to_dict(self) -> dict[str, Any]:
        """As stored in the manifest."""
        return {
            "format": FORMAT,
            "digest": self.digest,
            "tables": dict(self.tables),
            "rows": self.rows.to_dict(),
            "num_rows": dict(self.num_rows),
            "times": {split: list(times) for split, times in self.times.items()},
            "target": self.target.to_dict(),
            "columns": list(self.columns),
            "files": {split: list(files) for split, files in self.files.items()},
            "unmatched": dict(self.unmatched),
            "unmatched_why": {view: dict(counts) for view, counts in self.unmatched_why.items()},
        }

    @classmethod
    def open(cls, uri: str) -> "Joined":
        """The joined rows at `uri`.

        Raises:
            StorageError: when nothing, or nothing complete, is there, or a newer raypipe wrote it.
        """
        data = read_manifest(join(uri, JOINED_MANIFEST), FORMAT)
        rows = data["rows"]
        return cls(
            uri=uri,
            digest=data["digest"],
            tables=data["tables"],
            rows=RowCounts(rows["in"], rows["out"], rows["set_aside"]),
            num_rows={split: data["num_rows"][split] for split in ALL_SPLITS if split in data["num_rows"]},
            times={split: (low, high) for split, (low, high) in data["times"].items()},
            target=Target.from_dict(data["target"]),
            columns=tuple(data["columns"]),
            files={split: tuple(files) for split, files in data["files"].items()},
            unmatched=data["unmatched"],
            unmatched_why=data.get("unmatched_why", {}),  # not counted before
        )


def rows_uri(uri: str, split: str, stem: str) -> str:
    """Where stage one writes the rows of one part that fall into `split`."""
    return join(uri, "rows", split, f"{stem}.parquet")


def read_manifest(uri: str, newest: int) -> dict[str, Any]:
    """The manifest at `uri`, in a format that this code reads.

    Raises:
        StorageError: when it does not exist or its format is newer than `newest`.
    """
    data: dict[str, Any] = read_json(uri)
    if data["format"] > newest:
        problem = f"has format {data['format']}, newer than this code reads ({newest})"
        raise StorageError(uri, problem, "upgrade raypipe, or use another storage.root")
    return data


def _read(uri: str, columns: Sequence[str] | None = None) -> pa.Table:
    return pq.read_table(path_of(uri), columns=columns, filesystem=arrow_filesystem(uri))
