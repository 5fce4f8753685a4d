"""Boosted trees of LightGBM that answer, say why, and are stored in LightGBM's own text format.

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
from raypipe.models._trees import in_parts, matrix, num_columns, shares

if TYPE_CHECKING:
    import lightgbm as lgb

_TREES = "model.txt"


@dataclass(frozen=True, kw_only=True)
class FittedLightgbm:
    """Boosted trees that answer.

    Attributes:
        text: The rounds up to the best one in LightGBM's text format.
        target: What is predicted.
        specs: Names of the input columns.
        best_step: The round with the lowest validation loss.
        booster: What `text` says, ready to answer.
    """

    kind: ClassVar[str] = "lightgbm"

    text: str = field(repr=False)
    target: Target
    specs: TensorSpecs
    best_step: int
    booster: "lgb.Booster" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        import lightgbm as lgb

        object.__setattr__(self, "booster", lgb.Booster(model_str=self.text))

    def predict(self, inputs: Tensors) -> NDArray[np.float32]:
        """Answers of shape (N,), or (N, K) for multiclass."""
        out = np.empty((len(inputs["numbers_NF"]), *self._classes), dtype=np.float32)
        return in_parts(out, lambda part: self._asked(matrix(inputs, part)))

    def contributions(self, inputs: Tensors) -> NDArray[np.float32]:
        """Shapley values (TreeSHAP) of shape (N, D + 1), or (N, K, D + 1) for multiclass; the last is the base."""
        row = (*self._classes, num_columns(inputs) + 1)
        out = np.empty((len(inputs["numbers_NF"]), *row), dtype=np.float32)
        return in_parts(out, lambda part: self._asked(matrix(inputs, part), pred_contrib=True).reshape(-1, *row))

    def importance(self) -> dict[str, float]:
        """Total gain of the splits on each input column, as a share of all; columns never used have 0."""
        names = (*self.specs.numbers, *self.specs.categories)
        return shares(dict(zip(names, self.booster.feature_importance("gain"), strict=True)), self.specs)

    def _asked(self, x_ND: NDArray[np.float32], **options: bool) -> NDArray[Any]:
        found: NDArray[Any] = self.booster.predict(x_ND, num_threads=1, **options)
        return found

    @property
    def _classes(self) -> tuple[int, ...]:
        return (self.target.num_outputs,) if self.target.kind == "multiclass" else ()

    def save(self, folder: Path) -> None:
        """Write ``model.txt`` (LightGBM's own format) and ``model.json``."""
        (folder / _TREES).write_text(self.text, encoding="utf-8")
        write_facts(folder, {"target": self.target.to_dict(), "specs": self.specs.to_dict(), "best_step": self.best_step})

    @classmethod
    def load(cls, folder: Path) -> "FittedLightgbm":
        """The inverse of `save`.

        Raises:
            BundleError: when a file is missing or damaged.
        """
        import lightgbm as lgb

        facts, path = read_facts(folder), folder / _TREES
        if not path.exists():
            raise BundleError(str(path), "the file is missing")
        try:
            return cls(
                text=path.read_text(encoding="utf-8"),
                target=Target.from_dict(facts["target"]),
                specs=TensorSpecs.from_dict(facts["specs"]),
                best_step=facts["best_step"],
            )
        except lgb.basic.LightGBMError as error:
            raise BundleError(str(path), f"LightGBM cannot read it ({error})") from error
