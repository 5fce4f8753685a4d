"""How a fitted estimator of scikit-learn, or one like it, is asked.

Shapes: N rows, D = columns of the model, M = columns of its output.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from raypipe.core.errors import TrainingError
from raypipe.models._external_wiring import KIND, Terms, Wiring, check_width, make_answer, wired_columns


def wire_estimator(estimator: Any, terms: Terms) -> Wiring:
    """How tensors go into `estimator` and its output becomes the answer.

    Raises:
        TrainingError: when it is no fitted model for this target, takes other columns, or has other classes.
    """
    if not hasattr(estimator, "predict"):
        raise TrainingError(KIND, f"the file holds a {type(estimator).__name__}, which has no predict", "save the model itself")
    gives_classes = hasattr(estimator, "predict_proba")
    if terms.target.kind != "regression" and not gives_classes:
        way_out = "wrap it in CalibratedClassifierCV before it is saved"
        raise TrainingError(KIND, f"{type(estimator).__name__} gives no probabilities (predict_proba)", way_out)
    if terms.target.kind == "regression" and gives_classes:
        raise TrainingError(
            KIND, f"{type(estimator).__name__} is a classifier, and the label is a number", "take another model"
        )
    names = _names(estimator)
    columns = wired_columns(terms.specs, terms.columns, names)
    check_width(columns.names, int(estimator.n_features_in_) if hasattr(estimator, "n_features_in_") else None)
    stated = [str(name) for name in estimator.classes_] if gives_classes else None
    answer = make_answer(terms.output, terms.target, len(stated) if stated else 1, stated)
    return Wiring(columns=columns, answer=answer)


def output_of(estimator: Any, x_ND: NDArray[np.float32]) -> NDArray[Any]:
    """What the estimator says: probabilities (N, M), or values (N,)."""
    names = _names(estimator)
    rows: Any = x_ND
    if names is not None:  # fitted on a data frame: its steps may ask for columns by name
        import pandas as pd

        rows = pd.DataFrame(x_ND, columns=names)
    ask = estimator.predict_proba if hasattr(estimator, "predict_proba") else estimator.predict
    return np.asarray(ask(rows))


def _names(estimator: Any) -> list[str] | None:
    """Names of the columns that it was fitted with, where it keeps them."""
    return [str(name) for name in estimator.feature_names_in_] if hasattr(estimator, "feature_names_in_") else None
