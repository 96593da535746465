"""The array types that the room shares, and the first step of most functions in it."""

from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

Tail = Literal["greater", "less", "two-sided"]


def as_floats(values: npt.ArrayLike) -> Floats:
    """Whatever was given, as float64 (no copy where it is that already)."""
    return np.asarray(values, dtype=np.float64)


def centred(values: npt.ArrayLike) -> Floats:
    """`values` less their plain mean along the last axis.

    Sums of squares of values far from 0 lose the digits that a spread needs, so spreads start here.
    """
    values = as_floats(values)
    return np.subtract(values, values.mean(-1, keepdims=True))
