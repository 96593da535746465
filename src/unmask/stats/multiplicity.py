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


def holm_level(others: npt.ArrayLike, alpha: float = 0.05) -> float:
    """The level at which Holm holds one more p-value, given those of the other tests.

    `holm([p, *others])[0] <= alpha` exactly when `p <= holm_level(others, alpha)`: α over the number of tests that
    are left once Holm has let pass every other test that it can.

    Args:
        others: `[k − 1]`, raw p-values of the other tests.
        alpha: the chance of even one false claim.

    Raises:
        ValueError: a p-value is NaN or outside [0, 1].

    Source: Holm 1979.
    """
    others = np.sort(_checked(others))
    passes = others <= alpha / np.arange(others.size + 1, 1, -1)
    return alpha / (others.size + 1 - int(np.logical_and.accumulate(passes).sum()))


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
