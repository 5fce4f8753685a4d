"""Whether the key of a new table names one row each: found partition by partition, before the commit."""

from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.contract import Contract
from raypipe.core.errors import DuplicateKeys
from raypipe.core.fragments import map_fragments
from raypipe.core.storage import Storage
from raypipe.tables import Scattered, TableRef, num_partitions, scatter, scratch


def check_key(made: TableRef, contract: Contract, storage: Storage) -> None:
    """Look for keys that repeat in `made`, whose parts are written and not yet committed.

    Raises:
        DuplicateKeys: with an example, in which personal data is masked.
    """
    key = contract.key
    keys = replace(made, schema=pa.schema([made.schema.field(name) for name in key]))
    paths, num = [part.path for part in made.parts], num_partitions(sum(part.num_bytes for part in made.parts))
    with scratch(storage) as folder:
        found = scatter(keys, paths, by=key, num=num, folder=folder)
        work = map_fragments(_Repeated(found, contract), range(num), title=f"key of {made.name}")
        repeated = [one for one in work if one is not None]
    if repeated:
        raise DuplicateKeys(made.name, key, sum(rows for rows, _ in repeated), repeated[0][1])


@dataclass(frozen=True)
class _Repeated:
    """Rows of a partition that repeat a key, with an example; None when there are none."""

    rows: Scattered
    contract: Contract

    def __call__(self, index: int) -> tuple[int, str] | None:
        table = self.rows.partition(index)
        counts = table.group_by(list(self.contract.key), use_threads=False).aggregate([([], "count_all")])
        repeated = counts.filter(pc.greater(counts.column("count_all"), 1)).to_pylist()
        if not repeated:
            return None
        num = sum(row["count_all"] - 1 for row in repeated)
        shown = self.contract.masked({name: repeated[0][name] for name in self.contract.key})
        return num, ", ".join(f"{name}={value}" for name, value in shown.items())
