"""What a replica holds: loaded model versions, one of them answering by default.

The Protocols say what serving needs of a model bundle; `raypipe.bundle.Bundle` has it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from raypipe.core.tensors import Target
from raypipe.serve._http import HttpError

VIEW = "view:"


class Records(Protocol):
    """Rows that keep the input contract, as plain values, and those that break it: columns row, column, rule, reason."""

    @property
    def rows(self) -> Sequence[Mapping[str, object]]: ...

    @property
    def bad(self) -> pa.Table: ...


class Column(Protocol):
    """One declared input column."""

    @property
    def type(self) -> str: ...

    @property
    def nullable(self) -> bool: ...


class Inputs(Protocol):
    """The input contract; `raypipe.contract.Contract` is one."""

    @property
    def columns(self) -> Mapping[str, Column]: ...

    @property
    def key(self) -> tuple[str, ...]: ...

    def nullable(self, name: str) -> bool: ...

    def read_records(self, records: Sequence[Mapping[str, object]]) -> Records: ...


class Answers(Protocol):
    """Predictions of some rows."""

    def records(self) -> list[dict[str, Any]]: ...


class Scorer(Protocol):
    """What turns checked rows into predictions; `sources` says of each column ``request`` or ``view:NAME``."""

    @property
    def digest(self) -> str: ...

    @property
    def inputs(self) -> Inputs: ...

    @property
    def sources(self) -> Mapping[str, str]: ...

    @property
    def target(self) -> Target: ...

    def predict_rows(self, rows: Sequence[Mapping[str, object]]) -> Answers: ...

    def example_records(self, num: int = 1) -> list[dict[str, Any]]: ...


@dataclass(frozen=True, kw_only=True)
class Served:
    """One loaded model version. `key`: columns that name a row and are repeated in its answer."""

    name: str
    version: int
    scorer: Scorer
    key: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """The ``model`` part of an answer."""
        return {"name": self.name, "version": self.version, "digest": self.scorer.digest}

    @property
    def headers(self) -> dict[str, str]:
        """The same facts as response headers."""
        return {f"x-model-{name}": str(value) for name, value in self.facts.items()}

    @property
    def views(self) -> dict[str, tuple[str, ...]]:
        """Feature views among the inputs, with their columns."""
        out: dict[str, tuple[str, ...]] = {}
        for column, source in self.scorer.sources.items():
            if source.startswith(VIEW):
                view = source.removeprefix(VIEW)
                out[view] = (*out.get(view, ()), column)
        return out


@dataclass(frozen=True)
class Loaded:
    """All model versions of a replica; replaced as a whole, so that every request sees one state.

    Attributes:
        models: By name and version.
        default: The one that ``/predict`` asks; None while nothing is loaded.
    """

    models: Mapping[tuple[str, int], Served] = field(default_factory=dict)
    default: tuple[str, int] | None = None

    @property
    def live(self) -> Served:
        """The default version.

        Raises:
            HttpError: 503 while nothing is loaded.
        """
        if self.default is None:
            raise HttpError(503, "no model is loaded yet", headers={"retry-after": "1"})
        return self.models[self.default]

    def with_default(self, served: Served) -> "Loaded":
        """The same state with `served` added, answering by default."""
        at = (served.name, served.version)
        return Loaded({**self.models, at: served}, at)
