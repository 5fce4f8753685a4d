"""What the steps of a fitted scikit-learn ColumnTransformer make of each column, read from their statistics.

Classes are known by their names, so that scikit-learn itself is not imported.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from raypipe.core.errors import FeatureError

_SCALES = {"StandardScaler": "standard", "MinMaxScaler": "min_max", "RobustScaler": "robust", "MaxAbsScaler": "max_abs"}
_RAW = {"impute": "none", "scale": "none"}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What the steps so far make of one column: ``(x - shift) / scale`` of the filled value, or of whether it is missing.

    Attributes:
        feature: Name that the output will have.
        column: The raw column.
        of: The value, or 1 where it is missing and else 0.
        log1p: Whether the logarithm was taken before filling.
        fill: What stands for missing, in units before `shift`.
        treatment: Settings of kind number that name the same steps.
        encoded: The last step, when it is an encoder.
        values: Categories of an encoder; null among them is one.
        edges: Inner edges of bins.
    """

    feature: str
    column: str
    of: Literal["value", "missing"] = "value"
    log1p: bool = False
    fill: Any = None
    shift: float = 0.0
    scale: float = 1.0
    treatment: Mapping[str, Any] = field(default_factory=lambda: dict(_RAW))
    encoded: Literal["no", "one_hot", "index", "bucket"] = "no"
    values: tuple[Any, ...] = ()
    edges: tuple[float, ...] = ()


def applied(where: str, step: Any, cells: list[Cell]) -> list[Cell]:
    """The cells after a step, or after all steps of a Pipeline."""
    if step is None or isinstance(step, str):  # passthrough
        return cells
    kind = type(step)
    if kind.__name__ not in (*_STEPS, "Pipeline") or kind.__module__.partition(".")[0] != "sklearn":
        raise FeatureError(where, f"{kind.__name__} cannot be imported", f"steps that can are {', '.join(_STEPS)}")
    if kind.__name__ == "Pipeline":
        for name, inner in step.steps:
            cells = applied(f"{where}.{name}", inner, cells)
        return cells
    encoded = [cell for cell in cells if cell.encoded != "no"]
    if encoded:
        raise FeatureError(where, f"{kind.__name__} follows an encoder of {encoded[0].column}", "end with the encoder")
    return _STEPS[kind.__name__](where, step, cells)


def _impute(where: str, step: Any, cells: list[Cell]) -> list[Cell]:
    _need(where, "missing_values", step.missing_values, is_missing(step.missing_values), "NaN or None")
    out = []
    for cell, fill in zip(cells, step.statistics_.tolist(), strict=True):
        if is_missing(fill):
            raise FeatureError(where, f"column {cell.column} was empty in training", "leave the column out")
        if cell.fill is not None or cell.of == "missing":
            out.append(cell)
            continue
        raw = fill if isinstance(fill, (str, bool)) else fill * cell.scale + cell.shift
        out.append(replace(cell, fill=raw, treatment={**cell.treatment, **_imputation(step.strategy, raw, cell)}))
    marked = [] if step.indicator_ is None else [cells[i] for i in step.indicator_.features_.tolist()]
    if any(cell.log1p or cell.of == "missing" for cell in marked):
        raise FeatureError(where, "add_indicator comes after another step that changes what is missing", "put it first")
    return [*out, *(Cell(feature=f"{cell.feature}_missing", column=cell.column, of="missing") for cell in marked)]


def _scale(where: str, step: Any, cells: list[Cell]) -> list[Cell]:
    """Shift and scale of a scaler, after those of the steps before it."""
    zeros, ones = np.zeros(len(cells)), np.ones(len(cells))
    kind = type(step).__name__
    if kind == "StandardScaler":
        shifts, scales = step.mean_ if step.with_mean else zeros, step.scale_ if step.with_std else ones
    elif kind == "RobustScaler":
        shifts, scales = step.center_ if step.with_centering else zeros, step.scale_ if step.with_scaling else ones
    elif kind == "MaxAbsScaler":
        shifts, scales = zeros, step.scale_
    else:
        _need(where, "clip", step.clip, not step.clip, "False")
        shifts, scales = step.data_min_ - step.feature_range[0] / step.scale_, 1 / step.scale_
    return [
        replace(
            cell,
            shift=cell.shift + cell.scale * shift,
            scale=cell.scale * scale,
            treatment={**cell.treatment, "scale": _SCALES[kind]},
        )
        for cell, shift, scale in zip(cells, shifts.tolist(), scales.tolist(), strict=True)
    ]


def _function(where: str, step: Any, cells: list[Cell]) -> list[Cell]:
    if step.func is None:
        return cells
    if step.func is not np.log1p or step.kw_args:
        raise FeatureError(where, f"function {step.func!r} cannot be imported", "only numpy.log1p can; use kind python")
    if any(cell.of == "missing" or cell.log1p or (cell.shift, cell.scale) != (0.0, 1.0) for cell in cells):
        raise FeatureError(where, "log1p comes after a scaler, an indicator or another log1p", "put it before them")
    if any(cell.fill is not None and not cell.fill > -1 for cell in cells):
        raise FeatureError(where, "log1p comes after an imputer with a value of -1 or less", "put it first")
    return [
        replace(
            cell,
            log1p=True,
            fill=None if cell.fill is None else math.log1p(cell.fill),
            treatment={**cell.treatment, "log1p": True},
        )
        for cell in cells
    ]


def _one_hot(where: str, step: Any, cells: list[Cell]) -> list[Cell]:
    _need(where, "handle_unknown", step.handle_unknown, step.handle_unknown != "error", "'ignore'")
    _need_no_rare(where, step)
    dropped = [None] * len(cells) if step.drop_idx_ is None else step.drop_idx_.tolist()
    out = []
    for cell, values, drop in zip(cells, step.categories_, dropped, strict=True):
        kept = [value for i, value in enumerate(values.tolist()) if i != drop]
        out.append(replace(_unscaled(where, cell), encoded="one_hot", values=tuple(kept)))
    return out


def _ordinal(where: str, step: Any, cells: list[Cell]) -> list[Cell]:
    known = step.handle_unknown == "use_encoded_value"
    _need(where, "handle_unknown", step.handle_unknown, known, "'use_encoded_value'")
    _need_no_rare(where, step)
    out = []
    for cell, values in zip(cells, step.categories_, strict=True):
        kept = [value for value in values.tolist() if not is_missing(value)]
        out.append(replace(_unscaled(where, cell), encoded="index", values=tuple(kept)))
    return out


def _bins(where: str, step: Any, cells: list[Cell]) -> list[Cell]:
    _need(where, "encode", step.encode, step.encode == "ordinal", "'ordinal'")
    out = []
    for cell, edges in zip(cells, step.bin_edges_, strict=True):
        inner = edges.tolist()[1:-1]
        if not inner:
            raise FeatureError(where, f"column {cell.column} has one bin only", "leave the column out")
        out.append(replace(_unscaled(where, cell), encoded="bucket", edges=tuple(inner)))
    return out


_STEPS: Mapping[str, Callable[[str, Any, list[Cell]], list[Cell]]] = {
    "SimpleImputer": _impute,
    **dict.fromkeys(_SCALES, _scale),
    "FunctionTransformer": _function,
    "OneHotEncoder": _one_hot,
    "OrdinalEncoder": _ordinal,
    "KBinsDiscretizer": _bins,
}


def is_missing(value: object) -> bool:
    """Whether scikit-learn takes a value for missing."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _imputation(strategy: str, fill: Any, cell: Cell) -> dict[str, Any]:
    """Settings of kind number that name an imputer; constants are before log1p there."""
    if strategy in ("mean", "median"):
        return {"impute": strategy}
    return {"impute": "constant", "fill": math.expm1(fill) if cell.log1p else fill}


def _unscaled(where: str, cell: Cell) -> Cell:
    if cell.log1p or cell.of == "missing" or (cell.shift, cell.scale) != (0.0, 1.0):
        raise FeatureError(where, f"the encoder follows a numeric step of {cell.column}", "encode the raw column")
    return cell


def _need(where: str, setting: str, found: object, holds: object, wanted: str) -> None:
    if not holds:
        raise FeatureError(where, f"{setting}={found!r} has no counterpart", f"fit it with {setting}={wanted}")


def _need_no_rare(where: str, step: Any) -> None:
    for setting, found in (("min_frequency", step.min_frequency), ("max_categories", step.max_categories)):
        _need(where, setting, found, found is None, "None")
