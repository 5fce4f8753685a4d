"""Ways to do the same work: impute means, scale, index categories; fitted on the files, then written for the files.

Numbers become float32, scaled by the standard deviation (divided by N) of the imputed rows; categories become int32,
with one index for null and for unknown values. All write Parquet without compression, as raypipe writes prepared
features (it is the fastest codec of all ways too). Each way is the fastest of those that
were tried with its library; what was tried stands at each.
"""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from benchmarks.features_data import CATEGORIES, NUMBERS
from raypipe.core.cluster import Cluster

if TYPE_CHECKING:
    import polars as pl

    from raypipe.features import FeatureSet, FittedFeatures

COLUMNS = [*NUMBERS, *CATEGORIES]
WRITE: dict[str, Any] = {
    "compression": "none",
    "use_dictionary": False,
    "write_statistics": False,
    "data_page_size": 64 * 2**20,
    "write_batch_size": 2**20,
}
"""How all ways write that write with Arrow, ours too: the fastest settings, a fifth of the time of PyArrow's defaults."""


class Way(Protocol):
    """One way; used in this order in a process of its own."""

    def start(self, object_store_gib: float) -> None:
        """Start Ray, or do nothing; not timed."""

    def fit(self, files: Sequence[Path]) -> None:
        """Read the files and fit."""

    def transform(self, files: Sequence[Path], out: Path) -> None:
        """Write the features of the files to the empty folder `out`."""


class RayChain:
    """Ray's preprocessors on `ray.data.read_parquet`, as Ray documents them.

    Ray's indices are int64 and its numbers float64: the cast runs in the same tasks as the transformation. Ray starts with
    its own defaults, its object store (a third of the memory) among them.
    """

    _chain: Any

    def start(self, object_store_gib: float) -> None:  # noqa: ARG002  # Ray's default is larger
        _ray()

    def fit(self, files: Sequence[Path]) -> None:
        from ray.data.preprocessors import Chain, OrdinalEncoder, SimpleImputer, StandardScaler

        self._chain = Chain(
            SimpleImputer(NUMBERS, strategy="mean"),
            StandardScaler(NUMBERS),
            SimpleImputer(CATEGORIES, strategy="constant", fill_value="missing"),
            OrdinalEncoder(CATEGORIES),
        )
        self._chain.fit(self._rows(files))

    def transform(self, files: Sequence[Path], out: Path) -> None:
        self._chain.transform(self._rows(files)).map_batches(_cast, batch_format="pyarrow").write_parquet(str(out), **WRITE)

    def _rows(self, files: Sequence[Path]) -> Any:
        """Read anew for each stage."""
        return _read(files)


class RayChainInMemory(RayChain):
    """The same on rows that are all in the object store: read once, where they fit."""

    _kept: Any = None

    def _rows(self, files: Sequence[Path]) -> Any:
        if self._kept is None or self._kept[0] != files:
            self._kept = (files, _read(files).materialize())
        return self._kept[1]


class Sklearn:
    """scikit-learn's ColumnTransformer on one data frame, which is read once.

    Tried: pandas strings, pandas objects (taken: fastest), Polars and categorical frames; `n_jobs=2` (slower); an
    imputer before the encoder (slower: the encoder takes nulls itself).
    """

    _rows: Any
    _fitted: Any

    def start(self, object_store_gib: float) -> None:
        """Nothing to start."""

    def fit(self, files: Sequence[Path]) -> None:
        import pandas as pd
        import pyarrow.parquet as pq

        with warnings.catch_warnings(action="ignore"):  # pandas wants to be rid of this option
            pd.set_option("future.infer_string", False)
        self._rows = pq.read_table(list(files), columns=COLUMNS).to_pandas()
        self._fitted = column_transformer().set_output(transform="pandas").fit(self._rows)

    def transform(self, files: Sequence[Path], out: Path) -> None:  # noqa: ARG002  # the rows are still there
        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq

        features = self._fitted.transform(self._rows).astype(dict.fromkeys(NUMBERS, np.float32))
        pq.write_table(pa.Table.from_pandas(features, preserve_index=False), out / "features.parquet", **WRITE)


def column_transformer() -> Any:
    """The work as a ColumnTransformer."""
    import numpy as np
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder, StandardScaler

    index = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1, dtype=np.int32)
    scale = make_pipeline(SimpleImputer(strategy="mean"), StandardScaler())
    return ColumnTransformer([("numbers", scale, NUMBERS), ("categories", index, CATEGORIES)], verbose_feature_names_out=False)


class Polars:
    """Polars alone: lazy scans, streaming engine, all cores.

    Tried for the fit: one query, one query a column (as fast), counts instead of unique values (as fast), Categorical
    (slower). For the indices: cast to Enum (taken: fastest), `replace_strict` (2x), joins (3.5x). For the output: one
    file (taken: fastest), a file each at once or in turn, eager frames file by file with and without threads.
    """

    _outputs: "list[pl.Expr]"

    def start(self, object_store_gib: float) -> None:
        """Nothing to start."""

    def fit(self, files: Sequence[Path]) -> None:
        import polars as pl

        rows = pl.scan_parquet(list(files))
        moments = [
            kind for n in NUMBERS for kind in (pl.col(n).mean().alias(f"{n}_mean"), pl.col(n).var(ddof=0).alias(f"{n}_var"))
        ]
        queries = [rows.select(*moments, pl.col(NUMBERS).count(), num_rows=pl.len())]
        queries += [rows.select(name).unique() for name in CATEGORIES]
        first, *values = pl.collect_all(queries, engine="streaming")
        fitted = first.row(0, named=True)
        self._outputs = [_polars_number(name, fitted) for name in NUMBERS]
        for name, found in zip(CATEGORIES, values, strict=True):
            known = pl.Enum(found[name].drop_nulls().sort())
            index = pl.col(name).cast(known, strict=False).to_physical().cast(pl.Int32)
            self._outputs.append(index.fill_null(-1))

    def transform(self, files: Sequence[Path], out: Path) -> None:
        import polars as pl

        features = pl.scan_parquet(list(files)).select(self._outputs)
        features.sink_parquet(out / "features.parquet", compression="uncompressed", statistics=False, engine="streaming")


def _polars_number(name: str, fitted: "dict[str, Any]") -> "pl.Expr":
    import polars as pl

    mean, share = fitted[f"{name}_mean"], fitted[name] / fitted["num_rows"]
    scale = (fitted[f"{name}_var"] * share) ** 0.5  # the imputed rows add nothing to the sum of squares
    return ((pl.col(name).fill_null(mean) - mean) / scale).cast(pl.Float32)


class Files:
    """raypipe over files: `fit_files` and `transform_files`, one Ray task a file."""

    fitted: "FittedFeatures"

    def start(self, object_store_gib: float) -> None:
        _cluster(object_store_gib)

    def fit(self, files: Sequence[Path]) -> None:
        from raypipe.prepare import fit_files

        self.fitted = fit_files(feature_set(), [str(path) for path in files])

    def transform(self, files: Sequence[Path], out: Path) -> None:
        from raypipe.prepare import transform_files

        transform_files(self.fitted, [str(path) for path in files], str(out))


class AnyDataset:
    """raypipe over a Ray Dataset whose blocks hold the rows, as from any source; started and read as Ray's preprocessors."""

    fitted: "FittedFeatures"

    def start(self, object_store_gib: float) -> None:  # noqa: ARG002  # Ray's default is larger
        _ray()

    def fit(self, files: Sequence[Path]) -> None:
        from raypipe.prepare import fit_dataset

        self.fitted = fit_dataset(feature_set(), _read(files))

    def transform(self, files: Sequence[Path], out: Path) -> None:
        self.fitted.transform(_read(files)).write_parquet(str(out), **WRITE)


def feature_set() -> "FeatureSet":
    """The work as raypipe's features."""
    from raypipe.features import Category, FeatureSet, Number

    return FeatureSet(features={"numbers": Number(columns=tuple(NUMBERS)), "categories": Category(columns=tuple(CATEGORIES))})


WAYS: dict[str, type[Way]] = {
    "ray_chain": RayChain,
    "ray_chain_in_memory": RayChainInMemory,
    "sklearn": Sklearn,
    "polars": Polars,
    "raypipe": Files,
    "raypipe_dataset": AnyDataset,
}


def _ray() -> None:
    import logging

    import ray.data

    ray.init(address="local", include_dashboard=False, logging_level=logging.WARNING, log_to_driver=False)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True  # as the others do; as fast


def _cluster(object_store_gib: float) -> None:
    Cluster(num_cpus=os.cpu_count(), object_store_gib=object_store_gib).start()


def _read(files: Sequence[Path]) -> Any:
    import ray.data

    return ray.data.read_parquet([str(path) for path in files], columns=COLUMNS)


def _cast(rows: Any) -> Any:
    import pyarrow as pa

    kinds = [(name, pa.float32()) for name in NUMBERS] + [(name, pa.int32()) for name in CATEGORIES]
    return rows.select(COLUMNS).cast(pa.schema(kinds))
