"""The data that a run was made of, as MLflow shows it: name, digest, columns, rows and where it is."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from raypipe.core.kinds import Kind, kind_of

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

_DIGEST, _NAME, _SCHEMA = 36, 500, 60_000
_CONTEXT = "mlflow.data.context"
_COLUMN_TYPES: Mapping[Kind, str] = MappingProxyType(
    {"bool": "boolean", "int64": "long", "float64": "double", "string": "string", "timestamp": "datetime", "date": "datetime"}
)


@dataclass(frozen=True, kw_only=True)
class InputData:
    """Data that a run read.

    Attributes:
        name: Shown to people, such as ``flights@3``.
        digest: Names its content; MLflow keeps the first 36 characters.
        uri: Where it is.
        context: What it was used for, such as ``train`` or ``validation``.
        version: Version of a Delta table; None for other files.
        schema: Its columns.
        num_rows: Its rows.
    """

    name: str
    digest: str
    uri: str
    context: str
    version: int | None = None
    schema: pa.Schema | None = None
    num_rows: int | None = None

    def to_mlflow(self) -> "DatasetInput":
        """As MLflow keeps it: a Delta table at a version, or files."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source: dict[str, Any] = {"uri": self.uri}
        if self.version is not None:
            source = {"path": self.uri, "delta_table_version": self.version}
        dataset = Dataset(
            name=self.name[:_NAME],
            digest=self.digest[:_DIGEST] or "unknown",
            source_type="delta_table" if self.version is not None else self._store,
            source=json.dumps(source),
            schema=None if self.schema is None else _columns(self.schema),
            profile=None if self.num_rows is None else json.dumps({"num_rows": self.num_rows}),
        )
        return DatasetInput(dataset, [InputTag(_CONTEXT, self.context)])

    @property
    def _store(self) -> str:
        """What MLflow calls a source of files: "local", or the scheme of the URI."""
        scheme, remote, _ = self.uri.partition("://")
        return scheme if remote else "local"


def _columns(schema: pa.Schema) -> str | None:
    """The columns as MLflow writes them; none where it would not keep so many."""
    specs = [{"type": _COLUMN_TYPES.get(kind_of(field.type) or "vector", "any"), "name": field.name} for field in schema]
    text = json.dumps({"mlflow_colspec": [{**spec, "required": True} for spec in specs]})
    return text if len(text) <= _SCHEMA else None
