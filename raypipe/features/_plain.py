"""Frozen values as JSON and Arrow: scalars stay readable, arrays go to rows of one Arrow file."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pt
from numpy.typing import NDArray

from raypipe.core.digest import digest_json

_SCHEMA = pa.schema(
    [
        ("texts", pa.large_list(pa.string())),
        ("integers", pa.large_list(pa.int64())),
        ("numbers", pa.large_list(pa.float64())),
        ("booleans", pa.large_list(pa.bool_())),
    ]
)
_ARRAY, _SHAPE = "array", "shape"


@dataclass(frozen=True)
class Packed:
    """A value whose arrays were taken out: JSON in which ``{"array": i}`` stands for row i of an Arrow file."""

    json: Any
    arrays: list[pa.Array] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """Sha256 of the JSON and the arrays."""
        found = hashlib.sha256(digest_json(self.json).encode())
        for values in self.arrays:
            for part in _content(values):
                found.update(part)
        return found.hexdigest()

    def arrow_bytes(self) -> bytes:
        """The Arrow file; the same bytes for the same arrays."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, _SCHEMA) as writer:
            for values in self.arrays:
                place = _place(values.type)
                row = [_one(values, kind) if i == place else pa.nulls(1, kind) for i, kind in enumerate(_SCHEMA.types)]
                writer.write_batch(pa.record_batch(row, schema=_SCHEMA))
        return bytes(sink.getvalue())


def pack(value: Any) -> Packed:
    """`value` (dataclasses, mappings, sequences, scalars, Arrow arrays of text, int64 or bool, NumPy arrays) taken apart."""
    arrays: list[pa.Array] = []
    return Packed(_packed(value, arrays), arrays)


def unpack(json: Any, arrow: bytes) -> Any:
    """The inverse of `pack` down to dicts, lists, scalars and arrays."""
    file = pa.ipc.open_file(pa.BufferReader(arrow))
    return _unpacked(json, [_array(file.get_batch(i)) for i in range(file.num_record_batches)])


def _packed(value: Any, arrays: list[pa.Array]) -> Any:
    if isinstance(value, pa.Array):
        arrays.append(value)
        return {_ARRAY: len(arrays) - 1}
    if isinstance(value, np.ndarray):
        arrays.append(pa.array(value.reshape(-1)))
        return {_ARRAY: len(arrays) - 1, _SHAPE: list(value.shape)}
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _packed(vars(value)[f.name], arrays) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _packed(item, arrays) for key, item in value.items()}
    return [_packed(item, arrays) for item in value] if isinstance(value, (list, tuple)) else value


def _unpacked(value: Any, arrays: list[pa.Array]) -> Any:
    if isinstance(value, list):
        return [_unpacked(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if _ARRAY not in value:
        return {key: _unpacked(item, arrays) for key, item in value.items()}
    found = arrays[value[_ARRAY]]
    return _numpy(found).reshape(value[_SHAPE]) if _SHAPE in value else found


def _one(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """A list array of one list; compacted, so that equal values have equal bytes."""
    compact = pa.concat_arrays([values.cast(kind.value_type)])
    return pa.LargeListArray.from_arrays(pa.array([0, len(values)], pa.int64()), compact)


def _content(values: pa.Array) -> Iterator[bytes | memoryview]:
    """What two arrays have in common if and only if they are equal, whatever they are slices of; neither has nulls."""
    yield f"{values.type} {len(values)} ".encode()
    if not pt.is_string(values.type):
        yield _numpy(values).tobytes()
    elif len(values):
        _, offsets, text = values.buffers()
        place_E = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
        yield np.diff(place_E).tobytes()
        yield memoryview(b"" if text is None else text)[place_E[0] : place_E[-1]]


def _numpy(values: pa.Array) -> NDArray[Any]:
    copy: NDArray[Any] = values.to_numpy(zero_copy_only=False).copy()
    return copy


def _place(found: pa.DataType) -> int:
    if pt.is_string(found):
        return 0
    if pt.is_integer(found):
        return 1
    return 2 if pt.is_floating(found) else 3


def _array(batch: pa.RecordBatch) -> pa.Array:
    for column in batch.columns:
        if column.is_valid()[0].as_py():
            return column.flatten()
    raise AssertionError("a row of features.arrow holds no array")
