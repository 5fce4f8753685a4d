"""Transforms: a table made of others, by SQL or by the user's own function, piece by piece, and committed whole."""

from raypipe.transforms._python import PythonTransform
from raypipe.transforms._run import order_of, run_transforms
from raypipe.transforms._select import check_select
from raypipe.transforms._sql import Sql
from raypipe.transforms._transform import Recipe, Transform, Transformed, TransformRows

__all__ = [
    "PythonTransform",
    "Recipe",
    "Sql",
    "Transform",
    "TransformRows",
    "Transformed",
    "check_select",
    "order_of",
    "run_transforms",
]
