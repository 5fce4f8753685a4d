"""Fitting features on any Ray Dataset."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa
from ray import cloudpickle

from raypipe.features import FeatureSet, FitState, FittedFeatures, merge_states, solve
from raypipe.prepare._files import fitting_of
from raypipe.prepare._fitting import Fitting

if TYPE_CHECKING:
    import ray.data

_BLOCK = "block"


def fit_dataset(features: FeatureSet, dataset: "ray.data.Dataset", *, scratch: str | None = None) -> FittedFeatures:
    """Fit `features` on all rows of a Ray Dataset in one pass; the rows stay on the workers, small states come to the driver.

    A canonical chunk is a block of the dataset, in the dataset's order, whichever is done first. So the last bits of means
    and variances depend on how the dataset is cut into blocks, which Ray decides by its settings and the size of the
    cluster: ``override_num_blocks`` of the read, or `fit_files`, fixes it. Counts, vocabularies, extremes and quantiles
    are the same however it is cut.

    Args:
        features: The spec; none of its features may use a label.
        dataset: Read, or made by any transformations; only the columns that the features need are taken.
        scratch: Folder that all workers reach; features with ``partitions`` put counts aside there for a while.

    Raises:
        FeatureError: a feature that does not fit the columns or their values, that uses a label, or needs `scratch`; no
            rows.
        ray.exceptions.RayTaskError: what a transformation of the dataset raised.
    """
    fitting = fitting_of(features, scratch)
    known = dataset.schema(fetch_if_missing=False)
    if known is not None and isinstance(known.base_schema, pa.Schema):
        features.check(known.base_schema)
        dataset = dataset.select_columns(list(features.input_columns))
    blocks: list[_Block] = []
    with fitting.cleared():
        state = merge_states(_states(fitting, dataset, blocks))
        return solve(features, fitting.finish(state, [block.name for block in blocks]), blocks[0].schema).features


@dataclass(frozen=True, kw_only=True)
class _Block:
    """A block that was fitted."""

    name: str
    schema: pa.Schema
    state: FitState | None


def _states(fitting: Fitting, dataset: "ray.data.Dataset", blocks: list[_Block]) -> Iterator[FitState]:
    """The state of each block in order; `blocks` receives the rest of it."""
    with _ordered(dataset):
        for row in dataset.map_batches(_FitBlock(fitting), batch_format="pyarrow", batch_size=None).iter_rows():
            block: _Block = cloudpickle.loads(row[_BLOCK])
            blocks.append(replace(block, state=None))
            if block.state is not None:
                yield block.state


@contextmanager
def _ordered(dataset: "ray.data.Dataset") -> Iterator[None]:
    """Blocks come in the dataset's order while this lasts."""
    options = dataset.context.execution_options
    before, options.preserve_order = options.preserve_order, True
    try:
        yield
    finally:
        options.preserve_order = before


class _FitBlock:
    """Worker: a block -> its packed state; nothing of a block without rows."""

    def __init__(self, fitting: Fitting) -> None:
        self._fitting = fitting

    def function(self, block: pa.Table) -> pa.Table:
        packed = []
        if block.num_rows:
            name = uuid.uuid4().hex
            state = self._fitting.fit(block, name)
            packed = [cloudpickle.dumps(_Block(name=name, schema=block.schema, state=state))]
        return pa.table({_BLOCK: pa.array(packed, pa.large_binary())})

    __call__ = function
