"""Features as a Ray Data preprocessor: the place of ``Chain(SimpleImputer(...), StandardScaler(...), ...)`` in a Ray script."""

from typing import TYPE_CHECKING, Any

import pyarrow as pa
from ray.data.preprocessor import PreprocessorNotFittedException, SerializablePreprocessorBase
from ray.data.preprocessors.version_support import SerializablePreprocessor
from ray.data.util.data_batch_conversion import BatchFormat

from raypipe.core.config import build
from raypipe.features import FeatureSet, FittedFeatures
from raypipe.prepare._dataset import fit_dataset

if TYPE_CHECKING:
    import ray.data


@SerializablePreprocessor(version=1, identifier="io.raypipe.features")
class FeaturePreprocessor(SerializablePreprocessorBase):  # type: ignore[misc]  # Ray has no types
    """Fits features on a Dataset and transforms Datasets and batches with them; the bits are those of `FittedFeatures`.

    As Ray's own preprocessors do, it leaves other columns as they are: outputs are put beside them, or in the place of a
    column of the same name. ``fit(ds)``, ``transform(ds)``, ``fit_transform(ds)`` and ``transform_batch(batch)`` are Ray's.

    Args:
        features: The spec; none of its features may use a label.
        scratch: Folder that all workers reach; features with ``partitions`` put counts aside there for a while.
    """

    def __init__(self, features: FeatureSet, *, scratch: str | None = None) -> None:
        super().__init__()
        self._features, self._scratch = features, scratch
        self._fitted_features: FittedFeatures | None = None

    @property
    def fitted(self) -> FittedFeatures:
        """The fitted features.

        Raises:
            PreprocessorNotFittedException: before `fit`.
        """
        if self._fitted_features is None:
            raise PreprocessorNotFittedException("`fit` must be called before the fitted features are there")
        return self._fitted_features

    def get_input_columns(self) -> list[str]:
        """Raw columns that the features read."""
        return list(self._features.input_columns)

    def get_output_columns(self) -> list[str]:
        """Names of the outputs, numbers first; none before `fit`."""
        specs = self._fitted_features.specs if self._fitted_features is not None else None
        return [] if specs is None else [*specs.numbers, *specs.categories]

    @classmethod
    def preferred_batch_format(cls) -> BatchFormat:
        """Arrow: nothing is copied on the way."""
        return BatchFormat.ARROW

    def _fit(self, ds: "ray.data.Dataset") -> "FeaturePreprocessor":
        self._fitted_features = fit_dataset(self._features, ds, scratch=self._scratch)
        return self

    def _transform_arrow(self, table: pa.Table) -> pa.Table:
        outputs = self.fitted.transform_table(table)
        for name in outputs.column_names:
            place = table.schema.get_field_index(name)
            values = outputs.column(name)
            table = table.append_column(name, values) if place < 0 else table.set_column(place, name, values)
        return table

    def _get_serializable_fields(self) -> dict[str, Any]:
        fitted = self._fitted_features
        return {
            "features": self._features.to_dict(),
            "modules": list(self._features.modules),
            "scratch": self._scratch,
            "files": None if fitted is None else fitted.to_files(),
        }

    def _set_serializable_fields(self, fields: dict[str, Any], version: int) -> None:  # noqa: ARG002  # Ray's
        modules, files = fields["modules"], fields["files"]
        features = build(fields["features"], FeatureSet, allowed=modules)
        self.__init__(features, scratch=fields["scratch"])  # type: ignore[misc]  # Ray makes it by __new__
        if files is not None:
            self._fitted_features = FittedFeatures.from_files(files, allowed=modules)
            self._fitted = True

    def __repr__(self) -> str:
        return f"FeaturePreprocessor({', '.join(self._features.features)})"
