"""What MLflow is told of the data of a run: the versions of its tables, and the rows of each split."""

from collections.abc import Mapping

from raypipe.pipeline._experiment import Experiment
from raypipe.prepare import Prepared
from raypipe.registry import InputData, reopen_run
from raypipe.tables import TableRef

_DIGESTS = ("digest", "transaction")


def track_inputs(run: Experiment, run_id: str, prepared: Prepared, tables: Mapping[str, TableRef]) -> None:
    """Tell the MLflow run of the `tables` that `prepared` was made of, at their versions, and of its rows by split."""
    splits = [
        InputData(name=f"{run.name}/{split}", digest=prepared.digest, uri=prepared.uri, context=split, num_rows=num)
        for split, num in prepared.num_rows.items()
    ]
    reopen_run(run.tracking, run.storage, run_id=run_id).log_inputs([*map(_table, tables.values()), *splits])


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
