"""Adjusted p-values for several tests: Holm for confirmatory claims, Benjamini–Hochberg for screens."""

import numpy as np
import numpy.typing as npt

from unmask.stats._arrays import Floats, as_floats


def holm(p: npt.ArrayLike) -> Floats:
    """Holm's step-down p-values: the chance of even one false claim stays below α.

    Args:
        p: `[k]`, raw p-values.

    Returns:
        `[k]`, in the order given; claim i stands at α where its value is ≤ α.

    Raises:
        ValueError: a p-value is NaN or outside [0, 1].

    Source: Holm 1979.
    """
    p = _checked(p)
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)), 1.0)
    return adjusted


def benjamini_hochberg(p: npt.ArrayLike) -> Floats:
    """Benjamini–Hochberg step-up p-values: of what passes q, a share below q is expected to be false.

    Args:
        p: `[k]`, raw p-values of tests that are independent or positively dependent.

    Returns:
        `[k]`, in the order given.

    Raises:
        ValueError: a p-value is NaN or outside [0, 1].

    Source: Benjamini and Hochberg 1995.
    """
    p = _checked(p)
    order = np.argsort(p)[::-1]
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.minimum.accumulate(p[order] * (p.size / np.arange(p.size, 0, -1))), 1.0)
    return adjusted


def _checked(p: npt.ArrayLike) -> Floats:
    p = as_floats(p)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p-values must be one list of numbers from 0 to 1, got {p}.")
    return p
