"""Features of one's own: a function is named for its feature, takes NumPy columns, and gives a number for each row."""

import numpy as np
from numpy.typing import NDArray


def bill_angle(bill_length_mm: NDArray[np.float64], bill_depth_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """How steep the bill is, in degrees; NaN where a length is missing."""
    angle_N: NDArray[np.float64] = np.degrees(np.arctan2(bill_depth_mm, bill_length_mm))
    return angle_N


def bill_direction(bill_length_mm: NDArray[np.float64], bill_depth_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 2): length and depth of the bill as shares of its diagonal; NaN where one is missing."""
    bill_N2 = np.stack([bill_length_mm, bill_depth_mm], axis=1)
    return bill_N2 / np.hypot(bill_length_mm, bill_depth_mm)[:, None]
