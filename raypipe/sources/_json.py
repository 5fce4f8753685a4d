"""JSON objects as rows of text: scalars as JSON writes them, nested values as JSON text, declared lists as lists of text.

DuckDB takes the objects apart: whole numbers of more than 64 bits and keys that differ in case only stay what they are;
numbers with a fraction become the nearest float64.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raypipe.core.errors import SourceError
from raypipe.sources._source import BROKEN


class JsonObjects:
    """Takes objects of one fragment apart.

    Args:
        uri: The fragment's, for errors.
        columns: Keys to read; None: those of the first objects, and a key that first comes later is refused.
        lists: Keys that hold lists.
    """

    def __init__(self, uri: str, columns: Sequence[str] | None, lists: Sequence[str]) -> None:
        import duckdb  # whoever reads no JSON waits for no other engine

        self._uri, self._columns, self._lists = uri, columns, frozenset(lists)
        self._engine = duckdb.connect(config={"threads": "1"})
        self._schema: pa.Schema | None = None

    @property
    def schema(self) -> pa.Schema:
        """The keys, in order; empty before the first objects are shown."""
        return self._schema or pa.schema([])

    def show(self, texts: pa.Array) -> None:
        """Find the keys in the first objects, as JSON texts."""
        names = self._columns if self._columns is not None else _keys_in(self._key_sets(texts))
        self._schema = pa.schema([(name, self._type(name)) for name in names])

    def table(self, texts: pa.Array, columns: Sequence[str]) -> pa.Table:
        """`columns` and `BROKEN` of objects as JSON texts; a text that is no object, or null, is broken.

        Raises:
            SourceError: for a key that none of the first objects had.
        """
        sets = self._key_sets(texts)
        if self._columns is None:
            later = [key for key in _keys_in(sets) if key not in self.schema.names]
            if later:
                way_out = "name the keys to read: set the source's columns"
                raise SourceError(self._uri, f"has a key {later[0]!r} that its first records lack", way_out)
        twice = [name for name in columns if any(keys.count(name) > 1 for keys in sets)]
        plain = [name for name in columns if name not in self._lists]
        lists = [name for name in columns if name in self._lists]
        values = [f"json_extract_string(j, [{', '.join(map(_pointer, plain))}]::varchar[]) as plain"]
        values += [f"json_type(j -> {_pointer(name)}) as kind{i}" for i, name in enumerate(lists)]
        values += [
            f"case kind{i} when 'ARRAY' then from_json(j -> {_pointer(name)}, '[\"VARCHAR\"]') end as list{i}"
            for i, name in enumerate(lists)
        ]
        values += [
            f"len(list_filter(json_keys(j), lambda k: k = {_quoted(name)})) > 1 as twice{i}" for i, name in enumerate(twice)
        ]
        found = self._query(f"select j is not null as ok, {', '.join(values)} from objects", texts)
        broken = pc.if_else(found["ok"], pa.scalar(None, pa.string()), _problem("is not a JSON object", texts))
        for i, name in enumerate(lists):
            is_list = pc.is_in(found[f"kind{i}"], pa.array(["ARRAY", "NULL", None]))
            broken = pc.coalesce(broken, pc.if_else(is_list, None, _problem(f"{name} is not a list", texts)))
        for i, name in enumerate(twice):  # which of the two is meant, nobody knows
            broken = pc.coalesce(broken, pc.if_else(found[f"twice{i}"], _problem(f"has key {name} twice", texts), None))
        data = {name: pc.list_element(found["plain"], i) for i, name in enumerate(plain)}
        data |= {name: found[f"list{i}"] for i, name in enumerate(lists)}
        is_whole = pc.is_null(broken)
        rows = {name: pc.if_else(is_whole, data[name].cast(self._type(name)), None) for name in columns}
        return pa.table({**rows, BROKEN: broken.cast(pa.string())})

    def _type(self, name: str) -> pa.DataType:
        return pa.list_(pa.string()) if name in self._lists else pa.string()

    def _key_sets(self, texts: pa.Array) -> list[list[str]]:
        """The keys of objects, in order of appearance; each combination once."""
        counted = "select json_keys(j) as keys, row_number() over () as number"
        sets = self._query(f"select keys from ({counted} from objects) group by keys order by min(number)", texts)["keys"]
        return [keys for keys in sets.to_pylist() if keys]

    def _query(self, query: str, texts: pa.Array) -> pa.Table:
        """`query` over ``objects(j)``, in which a text that is no object is null."""
        self._engine.register("given", pa.table({"j": texts}))
        is_object = "json_valid(j) and json_type(case when json_valid(j) then j end) = 'OBJECT'"
        return self._engine.sql(
            f"with objects as (select case when {is_object} then j end as j from given) {query}"
        ).to_arrow_table()


def lines_of(text: bytes) -> pa.Array:
    """The lines of `text`, which ends at the end of one, without a copy; each keeps its line end."""
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n")) + 1
    offsets = np.concatenate([np.zeros(1, np.int64), ends]).astype(np.int32)
    return pa.StringArray.from_buffers(len(ends), pa.py_buffer(offsets.tobytes()), pa.py_buffer(text))


def find(value: Any, path: str) -> Any:
    """What is at a path such as ``data.items`` in nested mappings; the value itself for an empty path.

    Raises:
        LookupError: with the first key that is not there.
    """
    for key in path.split(".") if path else ():
        if not isinstance(value, Mapping) or key not in value:
            raise LookupError(key)
        value = value[key]
    return value


def _problem(problem: str, texts: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(problem, pc.utf8_trim_whitespace(pc.fill_null(texts, "")), ": ")


def _keys_in(sets: Sequence[Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(key for keys in sets for key in keys))


def _pointer(name: str) -> str:
    """JSON pointer of a key, as a text of SQL."""
    return _quoted("/" + name.replace("~", "~0").replace("/", "~1"))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
