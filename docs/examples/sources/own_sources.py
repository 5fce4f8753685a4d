"""Two sources of one's own: a function, and a class for what a function does not say (docs/playbooks/add-a-source.md)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from raypipe.core.config import config
from raypipe.core.digest import digest_file
from raypipe.core.errors import SourceError
from raypipe.sources import ArrowReading, Fragment, Scan


def days(folder: str) -> list[str]:
    """Names of the parts that there are: one file a day."""
    return sorted(path.stem for path in Path(folder).glob("*.txt"))


def readings(folder: str, part: str) -> Iterator[pa.Table]:
    """The rows of a day: a file of lines ``sensor 21.5``. Cells may stay text: the contract casts them."""
    rows = [line.split() for line in (Path(folder) / f"{part}.txt").read_text(encoding="utf-8").splitlines()]
    yield pa.table({"day": [part] * len(rows), "sensor": [r[0] for r in rows], "celsius": [r[1] for r in rows]})


@config
class Sensors:
    """The same files as a class: it notices a file whose content changed.

    Attributes:
        folder: Where the files are.
    """

    folder: str

    def scan(self, seen: Mapping[str, Any]) -> Scan:
        """The days that are new or changed since the last ingest; runs in the driver."""
        before = seen.get("files", {})
        found = [Fragment(uri=str(path), identity=digest_file(path)) for path in sorted(Path(self.folder).glob("*.txt"))]
        if not found:
            raise SourceError(self.folder, "holds no *.txt file", "correct the source's folder")
        new = tuple(f for f in found if before.get(f.uri, {}).get("identity") != f.identity)
        state = {"files": {**before, **{f.uri: {"identity": f.identity} for f in found}}}
        return Scan(takes="new", fragments=new, replaced=tuple(f.uri for f in new if f.uri in before), state=state)

    @contextmanager
    def open(self, fragment: Fragment) -> Iterator[ArrowReading]:
        """A day; runs on a worker."""
        (table,) = readings(str(Path(fragment.uri).parent), Path(fragment.uri).stem)
        yield ArrowReading(fragment.uri, table.schema, lambda columns: [table.select(columns)])
