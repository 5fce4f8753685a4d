"""Runs and datasets as the OpenLineage client's own models."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import pyarrow as pa

from raypipe import __version__

if TYPE_CHECKING:
    from openlineage.client.event_v2 import InputDataset, OutputDataset, RunEvent

_PRODUCER = f"https://pypi.org/project/raypipe/{__version__}"
State = Literal["START", "COMPLETE", "FAIL", "ABORT"]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Something that a run reads or writes.

    Attributes:
        uri: Where it is.
        version: Its version; "" when it has none.
        kind: What it is.
        schema: Its columns.
        num_rows: Rows that were read or written.
        num_files: Files that were read or written.
    """

    uri: str
    version: str = ""
    kind: Literal["TABLE", "FILE", "MODEL"] = "TABLE"
    schema: pa.Schema | None = None
    num_rows: int | None = None
    num_files: int | None = None

    @property
    def namespace(self) -> str:
        """As OpenLineage names data stores: ``file``, ``s3://BUCKET``, ``postgres://HOST:PORT``."""
        parts = urlsplit(self.uri)
        scheme = "postgres" if parts.scheme.startswith("postgres") else parts.scheme
        return f"{scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else "file"

    @property
    def name(self) -> str:
        """The name in that store; a database's parts are separated by dots."""
        parts = urlsplit(self.uri)
        path = parts.path.strip("/") if parts.netloc else parts.path
        return path.replace("/", ".") if parts.scheme.startswith("postgres") else path


@dataclass(frozen=True, kw_only=True)
class Event:
    """One state of a run, as it is told."""

    state: State
    at: datetime
    namespace: str
    job: str
    run_id: str
    inputs: tuple[Dataset, ...]
    outputs: tuple[Dataset, ...]
    tags: Mapping[str, str]
    message: str
    trace: str


def as_run_event(event: Event) -> "RunEvent":
    """The event in the client's form."""
    from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
    from openlineage.client.facet_v2 import error_message_run, job_type_job, processing_engine_run, tags_run

    facets = {"processing_engine": processing_engine_run.ProcessingEngineRunFacet(version=__version__, name="raypipe")}
    if event.message:
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(event.message, "Python", event.trace)
    if event.tags:
        fields = [tags_run.TagsRunFacetFields(name, value, "raypipe") for name, value in event.tags.items()]
        facets["tags"] = tags_run.TagsRunFacet(fields)
    job_type = job_type_job.JobTypeJobFacet(processingType="BATCH", integration="RAYPIPE", jobType="JOB")
    return RunEvent(
        eventTime=event.at.isoformat(),
        producer=_PRODUCER,
        eventType=RunState[event.state],
        run=Run(runId=event.run_id, facets=facets),
        job=Job(namespace=event.namespace, name=event.job, facets={"jobType": job_type}),
        inputs=[_as_input(one) for one in event.inputs],
        outputs=[_as_output(one) for one in event.outputs],
    )


def _as_input(data: Dataset) -> "InputDataset":
    from openlineage.client.event_v2 import InputDataset
    from openlineage.client.facet_v2 import input_statistics_input_dataset as statistics

    counts = statistics.InputStatisticsInputDatasetFacet(rowCount=data.num_rows, fileCount=data.num_files)
    found = {} if data.num_rows is None and data.num_files is None else {"inputStatistics": counts}
    return InputDataset(data.namespace, data.name, facets=_facets(data), inputFacets=found)


def _as_output(data: Dataset) -> "OutputDataset":
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import output_statistics_output_dataset as statistics

    counts = statistics.OutputStatisticsOutputDatasetFacet(rowCount=data.num_rows, fileCount=data.num_files)
    found = {} if data.num_rows is None and data.num_files is None else {"outputStatistics": counts}
    return OutputDataset(data.namespace, data.name, facets=_facets(data), outputFacets=found)


def _facets(data: Dataset) -> dict[str, object]:
    from openlineage.client.facet_v2 import dataset_type_dataset, dataset_version_dataset, schema_dataset

    facets: dict[str, object] = {"datasetType": dataset_type_dataset.DatasetTypeDatasetFacet(data.kind)}
    if data.version:
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(data.version)
    if data.schema is not None:
        fields = [schema_dataset.SchemaDatasetFacetFields(field.name, str(field.type), fields=None) for field in data.schema]
        facets["schema"] = schema_dataset.SchemaDatasetFacet(fields)
    return facets
