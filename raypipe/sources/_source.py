"""What a source is: it says what it has (`scan`, in the driver) and reads one piece of it (`open`, on a worker)."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import pyarrow as pa

BROKEN = "__broken_line"
"""Column that a reader adds for records it could not split into fields: what is wrong and their text, else null."""
ROW = "__row"
"""Column that a reader adds with the record's number in its fragment, from 0, broken ones counted."""


@dataclass(frozen=True, kw_only=True)
class Fragment:
    """One independently readable piece of a source; small, picklable, JSON-able.

    Attributes:
        uri: What quarantine and lineage name; never holds a secret.
        identity: Hex sha256 that changes when the content may have; different for different fragments of a source.
        num_bytes: 0 when unknown.
        details: JSON: what the reader needs to find its piece.
    """

    uri: str
    identity: str
    num_bytes: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What a source has to give, seen from what was ingested before.

    Attributes:
        takes: ``new``: the fragments come on top of the table; ``all``: they are the whole table anew.
        fragments: What to read, in a stable order; may be empty when nothing is new.
        replaced: Fragment URIs read before whose content is not what it was. Their new content is among `fragments`,
            under the same URI or, where a file is cut into ranges, under those of its new ranges.
        gone: URIs read before that are no longer there; their rows stay in the table.
        state: JSON: what `scan` gets as `seen` next time, once all fragments are committed. Files:
            ``{"files": {fragment uri: {"size", "etag", "identity"}}}``, to which ingest adds ``sha256``.
    """

    takes: Literal["new", "all"]
    fragments: tuple[Fragment, ...]
    replaced: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    state: Mapping[str, Any] = field(default_factory=dict)


class Reading(Protocol):
    """A fragment that is open for reading, once."""

    @property
    def schema(self) -> pa.Schema:
        """Columns found, in their order and with their types (string where they are text)."""

    def tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The records as tables of `columns` and `ROW`, in a stable order; and `BROKEN` where records can be broken.

        Raises:
            SchemaMismatch: when columns are missing.
            SourceError: when the fragment is not what the source says, or changed while it was read.
        """

    def line_of(self, row: int) -> int | None:
        """The line in the text file, from 1, on which record `row` begins; None where there are no lines.

        It is exact once all tables are read; before that, blank lines and quoted line ends are not counted.
        """

    @property
    def sha256(self) -> str | None:
        """Digest of the fragment's bytes once all tables are read; None where there are no bytes of its own."""


@runtime_checkable
class Source(Protocol):
    """Where rows come from. `scan` runs in the driver, `open` on a worker."""

    def scan(self, seen: Mapping[str, Any]) -> Scan:
        """What there is to read, given the `state` of the last committed scan; ``{}`` means that nothing was ingested.

        Raises:
            SourceError: when there is nothing to read, or it cannot be reached.
        """

    def open(self, fragment: Fragment) -> AbstractContextManager[Reading]:
        """The fragment, open for reading.

        Raises:
            SourceError: when it is not what the source says.
        """
