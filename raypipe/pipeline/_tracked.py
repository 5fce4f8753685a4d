"""What MLflow is told of the data of a run: the versions of its tables, and the rows of each split."""

from raypipe.pipeline._experiment import Experiment
from raypipe.prepare import Prepared
from raypipe.registry import InputData
from raypipe.tables import TableRef, Tables

_DIGESTS = ("digest", "transaction")


def inputs_of(run: Experiment, prepared: Prepared) -> list[InputData]:
    """The tables that `prepared` was made of, at their versions, and its rows by split."""
    tables = Tables(run.storage)
    read = [_table(tables.open(name, version)) for name, version in prepared.tables.items()]
    splits = [
        InputData(name=f"{run.name}/{split}", digest=prepared.digest, uri=prepared.uri, context=split, num_rows=num)
        for split, num in prepared.num_rows.items()
    ]
    return [*read, *splits]


def _table(ref: TableRef) -> InputData:
    said = [str(ref.facts[name]) for name in _DIGESTS if name in ref.facts]
    return InputData(
        name=ref.label,
        digest=next(iter(said), ref.label),
        uri=ref.uri,
        context="table",
        version=ref.version,
        schema=ref.schema,
        num_rows=ref.num_rows,
    )
