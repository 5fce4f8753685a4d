"""Encodings of training rows by the labels of other folds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raypipe.core.tensors import Tensors
from raypipe.features._cells import Cells
from raypipe.features._fitted import FittedFeatures
from raypipe.features._target import FittedTarget, Target
from raypipe.features._targets import TargetEncoding


@dataclass(frozen=True, kw_only=True)
class FoldEncodings:
    """Encodings of training rows by labels of other folds, by output name."""

    encodings: Mapping[str, TargetEncoding]

    @classmethod
    def of(cls, fitted: FittedFeatures, states: Mapping[str, Any]) -> "FoldEncodings":
        """Those of the target-encoded outputs."""
        specs = fitted.features.features.items()
        targets = {feature: spec for feature, spec in specs if isinstance(spec, Target)}
        found = {
            name: spec.encoding(sums) for feature, spec in targets.items() for name, sums in states[feature].states.items()
        }
        return cls(encodings=found)

    def transform(self, fitted: FittedFeatures, rows: pa.Table, fold_N: NDArray[np.int64]) -> Tensors:
        """Tensors of training rows: as `FittedFeatures.transform`, but for encodings by the label, which leave out its fold."""
        tensors = fitted.transform(rows)
        cells = Cells(fitted.features, fitted.inputs, rows)
        for output, place in fitted.places:
            if isinstance(output, FittedTarget):
                values = output.source.array(cells)
                tensors["numbers_NF"][:, place] = self.encodings[output.name].encode_training(values, fold_N)
        return tensors
