"""XGBoost's prediction by its C interface: Python's wrapper takes several times as long as the trees for one row.

The functions are those of XGBoost's documented C API; the library is the one that the package has loaded.
"""

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import xgboost as xgb

_OPTIONS = (
    b'{"type": 0, "training": false, "iteration_begin": 0, "iteration_end": 0, "missing": NaN, "strict_shape": false,'
    b' "cache_id": 0}'
)
_MATRIX = b'{"data": [%d, true], "shape": [%d, %d], "typestr": "<f4", "version": 3}'


class Answer:
    """What a booster answers to a matrix; several threads may ask at once."""

    def __init__(self, booster: "xgb.Booster") -> None:
        from xgboost.core import XGBoostError
        from xgboost.libpath import find_lib_path

        self._booster, self._num_columns, self._error = booster, booster.num_features(), XGBoostError
        self._library = ctypes.CDLL(find_lib_path()[0])
        self._library.XGBGetLastError.restype = ctypes.c_char_p

    def __reduce__(self) -> Any:
        """Made anew where it is unpickled."""
        return Answer, (self._booster,)

    def __call__(self, x_ND: NDArray[np.float32]) -> NDArray[np.float32]:
        """Answers (N,), or (N, K) for several classes.

        Raises:
            XGBoostError: when the matrix has another number of columns than the trees.
        """
        x_ND = np.ascontiguousarray(x_ND, dtype=np.float32)
        (num_rows, num_columns), address = x_ND.shape, x_ND.__array_interface__["data"][0]
        if num_columns != self._num_columns:  # the C interface would read beyond the rows
            raise self._error(f"the model has {self._num_columns} columns, the rows have {num_columns}")
        shape, num_axes, answers = ctypes.POINTER(ctypes.c_uint64)(), ctypes.c_uint64(), ctypes.POINTER(ctypes.c_float)()
        status = self._library.XGBoosterPredictFromDense(
            self._booster.handle,
            _MATRIX % (address, num_rows, num_columns),
            _OPTIONS,
            ctypes.c_void_p(),
            ctypes.byref(shape),
            ctypes.byref(num_axes),
            ctypes.byref(answers),
        )
        if status != 0:
            raise self._error(self._library.XGBGetLastError().decode())
        sizes = shape[: num_axes.value]
        kept = ctypes.string_at(answers, 4 * int(np.prod(sizes)))  # the library overwrites them when this thread asks again
        return np.frombuffer(kept, dtype=np.float32).reshape(sizes)
