"""A bundle as an MLflow model folder: signature, input example, requirements, and the bundle itself as data."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

import raypipe
from raypipe.bundle import Bundle, Requirement
from raypipe.contract import Column
from raypipe.core.tensors import Target

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

LOADER = "raypipe.bundle.pyfunc"
_NUM_EXAMPLES = 3
_EXACT = {"string": "string", "int64": "long", "float64": "double", "bool": "boolean"}


def save_pyfunc(
    folder: Path, *, bundle: Bundle, bundle_folder: Path, requires: tuple[Requirement, ...], ids: dict[str, str]
) -> None:
    """Write the MLflow model of `bundle` to the new `folder`; `ids` are the run_id and model_id that MLmodel carries."""
    import mlflow.pyfunc
    from mlflow.models import Model

    mlflow.pyfunc.save_model(
        str(folder),
        loader_module=LOADER,
        data_path=str(bundle_folder),
        signature=signature(bundle),
        input_example=pd.DataFrame(bundle.example_records(_NUM_EXAMPLES), columns=list(bundle.input_columns)),
        pip_requirements=pip_requirements(requires),
        mlflow_model=Model(**ids),
        metadata={"digest": bundle.digest},
    )


def signature(bundle: Bundle) -> "ModelSignature":
    """The columns of a request and of its answer.

    Instants, dates, and integers with nulls are of type "any": MLflow refuses instants with a zone, and refuses both
    floats with NaN for "long" and integers for "double". The contract checks them when the model is called.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    contract = bundle.inputs
    inputs = [
        ColSpec(_column_type(column, nullable=contract.nullable(name)), name, required=not contract.nullable(name))
        for name, column in contract.columns.items()
    ]
    outputs = [ColSpec(kind, name) for name, kind in _outputs(bundle.target).items()]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))


def pip_requirements(requires: tuple[Requirement, ...]) -> list[str]:
    """Exact versions; a local part such as torch's ``+cpu`` is dropped, since package indexes do not have it."""
    return [
        f"raypipe=={raypipe.__version__}",
        "pandas",
        *(f"{need.package}=={need.version.partition('+')[0]}" for need in requires),
    ]


def _column_type(column: Column, *, nullable: bool) -> object:
    from mlflow.types.schema import AnyType

    if column.type not in _EXACT or (column.type == "int64" and nullable):
        return AnyType()
    return _EXACT[column.type]


def _outputs(target: Target) -> dict[str, str]:
    if target.kind == "multiclass":
        return {**{f"score_{name}": "double" for name in target.classes}, "label": "string"}
    return {"score": "double"} if target.kind == "regression" else {"score": "double", "label": "string"}
