"""Digests of what prepared data hold, by layer and split: where two runs differ, they say in which of these."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import pyarrow as pa
import pyarrow.parquet as pq

from raypipe.core.digest import digest_json, row_texts
from raypipe.core.fragments import map_fragments
from raypipe.core.storage import join, read_bytes
from raypipe.prepare._joined import Joined
from raypipe.prepare._prepared import Prepared


def digests_of(prepared: Prepared, key: Sequence[str]) -> dict[str, dict[str, str]]:
    """Digests of layers ``split``, ``joined`` and ``tensors`` for each split, over its parts in table order.

    Reads all of the data once more, on workers.

    Args:
        prepared: Complete prepared data.
        key: Columns that name a row: they tell which rows a split has.
    """
    joined = prepared.joined
    parts = [(split, stem) for split, stems in joined.files.items() for stem in stems]
    by_split: dict[str, dict[str, list[str]]] = {"split": {}, "joined": {}, "tensors": {}}
    work = _Digests(joined, prepared.uri, tuple(key))
    for split, digests in map_fragments(work, parts, title="digests of the prepared data"):
        for layer, digest in digests.items():
            by_split[layer].setdefault(split, []).append(digest)
    counts = {"rows": digest_json(joined.rows.to_dict()), "unmatched": digest_json(dict(joined.unmatched))}
    layers = {layer: {split: digest_json(digests) for split, digests in found.items()} for layer, found in by_split.items()}
    return {**layers, "joined": {**layers["joined"], **counts}}


@dataclass(frozen=True)
class _Digests:
    """Worker: digests of one part of prepared data: the keys of its rows, the joined rows, and their tensors."""

    joined: Joined
    uri: str
    key: tuple[str, ...]

    def __call__(self, part: tuple[str, str]) -> tuple[str, dict[str, str]]:
        split, stem = part
        rows = read_bytes(self.joined.uri_of(split, stem))
        tensors = read_bytes(join(self.uri, "tensors", split, f"{stem}.safetensors"))
        keys = row_texts(pq.read_table(pa.BufferReader(rows), columns=list(self.key)), self.key)
        return split, {"split": digest_json(keys), "joined": sha256(rows).hexdigest(), "tensors": sha256(tensors).hexdigest()}
