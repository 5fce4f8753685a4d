"""Stage two, a pass over the joined rows: tensors of every part, the profile of its inputs, and examples of training rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from safetensors.numpy import save

from raypipe.core.storage import write_bytes
from raypipe.core.tensors import Target
from raypipe.features import Fitted
from raypipe.prepare._folds import Folding
from raypipe.prepare._joined import JOINED_LABEL, rows_uri
from raypipe.prepare._parquet import read_rows
from raypipe.prepare._prepared import tensors_uri
from raypipe.prepare._training import transform_training
from raypipe.profiles import ColumnState, merge_profiles, profile_chunk

_TOGETHER = 8
"""Profiles of parts that are merged at once, as states are."""


@dataclass(frozen=True, kw_only=True)
class TransformedPart:
    """What one part of a split gave beside its tensors."""

    split: str
    profile: Mapping[str, ColumnState]
    examples: pa.Table | None


@dataclass(frozen=True, kw_only=True)
class TransformPart:
    """Worker: joined rows of one part -> tensors.

    Attributes:
        joined: Folder of the joined rows.
        uri: Folder of the prepared data.
        fitted: Features, and encodings of training rows where a feature uses the label.
        folding: The folds of training rows.
        target: What is predicted.
        num_examples: Rows to take of a part of the training rows.
    """

    joined: str
    uri: str
    fitted: Fitted
    folding: Folding
    target: Target
    num_examples: int

    def __call__(self, work: tuple[str, str]) -> TransformedPart:
        """Transform and write the part `work` = (split, stem)."""
        split, stem = work
        train, inputs = split == "train", self.fitted.features.input_columns
        used = self.folding.columns if train and self.fitted.folds is not None else ()
        columns = dict.fromkeys((*inputs, JOINED_LABEL, *used))
        rows = read_rows(rows_uri(self.joined, split, stem), tuple(columns))
        tensors = transform_training(self.fitted, rows, self.folding) if train else self.fitted.features.transform(rows)
        tensors = {**tensors, "y_N": label_tensor(rows.column(JOINED_LABEL), self.target)}
        write_bytes(tensors_uri(self.uri, split, stem), save(tensors))
        rows = rows.select(list(inputs))
        return TransformedPart(
            split=split,
            profile=profile_chunk(rows, self.fitted.features.inputs),
            examples=evenly(rows, self.num_examples) if train else None,
        )


def label_tensor(label: pa.ChunkedArray, target: Target) -> NDArray[np.float32]:
    """Labels as float32: 0/1, the class index, or the value."""
    if target.kind == "multiclass":
        label = pc.index_in(plain(label), pa.array(target.classes))
    return np.ascontiguousarray(label.cast(pa.float32()).to_numpy())


def evenly(rows: pa.Table, num: int) -> pa.Table:
    """Up to `num` of `rows`, at equal distances, the first among them; text as text."""
    if rows.num_rows > num:
        rows = rows.take(pa.array(np.arange(num, dtype=np.int64) * rows.num_rows // num))
    return pa.table({name: plain(rows.column(name)) for name in rows.column_names})


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column without dictionaries."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


class Seen:
    """The profile and the examples of all parts, which come in their order; profiles are merged as they come."""

    def __init__(self) -> None:
        self._profiles: dict[str, list[Mapping[str, ColumnState]]] = {}
        self._examples: list[pa.Table] = []

    def add(self, part: TransformedPart) -> None:
        """Take the next part."""
        held = self._profiles.setdefault(part.split, [])
        held.append(part.profile)
        if len(held) > _TOGETHER:
            held[:] = [merge_profiles(held)]
        if part.examples is not None:
            self._examples.append(part.examples)

    def examples(self, num: int) -> pa.Table:
        """`num` of the examples of all parts, at equal distances."""
        return evenly(pa.concat_tables(self._examples), num)

    def profile(self) -> dict[str, dict[str, Any]]:
        """The profile of the inputs in each split: split -> column -> facts."""
        merged = {split: merge_profiles(held) for split, held in self._profiles.items()}
        return {split: {name: state.profile().to_dict() for name, state in found.items()} for split, found in merged.items()}
