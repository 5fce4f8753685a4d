"""A function of one's own as a source: it yields Arrow tables."""

import importlib
import inspect
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import Field

from raypipe.core.config import config
from raypipe.core.digest import digest_file, digest_json
from raypipe.core.errors import SourceError
from raypipe.core.functions import FunctionPath, import_function
from raypipe.sources._arrow import ArrowReading
from raypipe.sources._source import Fragment, Scan

Scalar = str | int | float | bool | None


@config
class PythonSource:
    """What `function` yields: ``def rows(**arguments) -> Iterator[pa.Table]``, all tables with the same schema.

    Without `parts` every ingest calls it and takes its rows as the whole table. With `parts` the table grows: each part is
    read once, by a call with ``part=NAME``, and again when the code of the function's module or the arguments change.

    Attributes:
        function: ``package.module:name``; its package is in `core.allowed_targets`.
        arguments: Passed by name.
        parts: ``package.module:name`` of a function of the same arguments that gives the names of the parts there are, for
            example days. A part that was read is not read again, so a name should say which content it is.
    """

    function: FunctionPath
    arguments: dict[str, Scalar | tuple[Scalar, ...]] = Field(default_factory=dict)
    parts: FunctionPath | None = None

    def scan(self, seen: Mapping[str, Any]) -> Scan:
        """The whole function, or its parts that were not read."""
        base = {"function": self.function, "code": _code_digest(self.function), "arguments": dict(self.arguments)}
        if self.parts is None:
            identity = digest_json({**base, "moment": uuid.uuid4().hex})  # what it will give now is not known
            return Scan(takes="all", fragments=(Fragment(uri=self._uri, identity=identity),))
        before = seen.get("files", {})
        made = [self._fragment(base, name) for name in self._part_names()]
        new = tuple(f for f in made if before.get(f.uri, {}).get("identity") != f.identity)
        if not made and not before:
            raise SourceError(self._uri, f"has no parts: {self.parts} gave none", "correct the function")
        here = {f.uri: {"identity": f.identity} for f in made}
        return Scan(
            takes="new",
            fragments=new,
            replaced=tuple(f.uri for f in new if f.uri in before),
            gone=tuple(sorted(set(before) - set(here))),
            state={"files": {**before, **here}},
        )

    @contextmanager
    def open(self, fragment: Fragment) -> Iterator[ArrowReading]:
        """The function's tables; the first one is made at once, for its schema."""
        tables = self._tables(fragment)
        first = next(tables, None)
        if first is None:
            raise SourceError(fragment.uri, "gave no tables", "yield at least one, with columns and no rows if there are none")
        yield ArrowReading(fragment.uri, first.schema, lambda _: chain([first], tables))

    @property
    def _uri(self) -> str:
        return f"python://{self.function}"  # without the arguments: one may be a secret, and a part is the same with others

    def _part_names(self) -> list[str]:
        names = list(import_function(str(self.parts))(**self.arguments))
        for i, name in enumerate(names):
            if not isinstance(name, str) or name in names[:i]:
                problem = f"{self.parts} gave {name!r}{' twice' if isinstance(name, str) else ''}"
                raise SourceError(self._uri, problem, "give each part a text of its own as its name")
        return names

    def _fragment(self, base: Mapping[str, Any], part: str) -> Fragment:
        return Fragment(uri=f"{self._uri}#{part}", identity=digest_json({**base, "part": part}), details={"part": part})

    def _tables(self, fragment: Fragment) -> Iterator[pa.Table]:
        found = import_function(self.function)(**self.arguments, **fragment.details)
        for table in [found] if isinstance(found, pa.Table) else found:
            if not isinstance(table, pa.Table):
                raise SourceError(fragment.uri, f"gave a {type(table).__name__}", "yield pyarrow tables")
            yield table


def _code_digest(path: str) -> str:
    import_function(path)
    return digest_file(Path(inspect.getfile(importlib.import_module(path.partition(":")[0]))))
