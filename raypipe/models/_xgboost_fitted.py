"""Boosted trees of XGBoost that answer, say why, and are stored in XGBoost's own format.

Shapes: N rows, K classes, D columns: numbers, then categories.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from raypipe.core.errors import BundleError
from raypipe.core.tensors import Target, Tensors, TensorSpecs
from raypipe.models._files import read_facts, write_facts
from raypipe.models._trees import in_parts, matrix, num_columns, parts, shares, threads
from raypipe.models._xgboost_answer import Answer

if TYPE_CHECKING:
    import xgboost as xgb

BOOSTER = "model.ubj"


@dataclass(frozen=True, kw_only=True)
class FittedXgboost:
    """Boosted trees that answer.

    Attributes:
        booster: The rounds up to the best one.
        target: What is predicted.
        specs: Names of the input columns.
        best_step: The round with the lowest validation loss.
    """

    kind: ClassVar[str] = "xgboost"

    booster: "xgb.Booster" = field(repr=False)
    target: Target
    specs: TensorSpecs
    best_step: int
    _answer: Answer = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # a row is answered by the thread that asks; many rows by several such threads, on any machine the same bits
        self.booster.set_param({"nthread": 1, "device": "cpu"})
        object.__setattr__(self, "_answer", Answer(self.booster))

    def predict(self, inputs: Tensors) -> NDArray[np.float32]:
        """Answers of shape (N,), or (N, K) for multiclass."""
        return in_parts(np.empty(self._shape(inputs), dtype=np.float32), lambda part: self._answer(matrix(inputs, part)))

    def contributions(self, inputs: Tensors) -> NDArray[np.float32]:
        """Shapley values (TreeSHAP) of shape (N, D + 1), or (N, K, D + 1) for multiclass; the last is the base."""
        import xgboost as xgb

        booster, num_threads = self.booster.copy(), threads()  # only answers without a DMatrix may be asked for at once
        booster.set_param({"nthread": num_threads})
        out = np.empty((*self._shape(inputs), num_columns(inputs) + 1), dtype=np.float32)
        for part in parts(len(out)):
            rows = xgb.DMatrix(
                matrix(inputs, part), feature_types=booster.feature_types, enable_categorical=True, nthread=num_threads
            )
            out[part] = booster.predict(rows, pred_contribs=True, validate_features=False)
        return out

    def _shape(self, inputs: Tensors) -> tuple[int, ...]:
        num_rows = len(inputs["numbers_NF"])
        return (num_rows, self.target.num_outputs) if self.target.kind == "multiclass" else (num_rows,)

    def importance(self) -> dict[str, float]:
        """Total gain of the splits on each input column, as a share of all; columns never used have 0."""
        names = (*self.specs.numbers, *self.specs.categories)
        gains: dict[str, Any] = self.booster.get_score(importance_type="total_gain")
        return shares({names[int(column[1:])]: gain for column, gain in gains.items()}, self.specs)

    def save(self, folder: Path) -> None:
        """Write ``model.ubj`` (XGBoost's own UBJSON) and ``model.json``."""
        (folder / BOOSTER).write_bytes(self.booster.save_raw("ubj"))
        write_facts(folder, {"target": self.target.to_dict(), "specs": self.specs.to_dict(), "best_step": self.best_step})

    @classmethod
    def load(cls, folder: Path) -> "FittedXgboost":
        """The inverse of `save`.

        Raises:
            BundleError: when a file is missing or damaged.
        """
        import xgboost as xgb

        facts, path = read_facts(folder), folder / BOOSTER
        if not path.exists():
            raise BundleError(str(path), "the file is missing")
        booster = xgb.Booster()
        try:
            booster.load_model(bytearray(path.read_bytes()))
        except xgb.core.XGBoostError as error:
            raise BundleError(str(path), f"XGBoost cannot read it ({str(error).splitlines()[-1]})") from error
        return cls(
            booster=booster,
            target=Target.from_dict(facts["target"]),
            specs=TensorSpecs.from_dict(facts["specs"]),
            best_step=facts["best_step"],
        )
