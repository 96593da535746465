"""A shrunk covariance held by its factors: with fewer items than dimensions no d × d matrix is formed."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.linalg

from unmask.stats._arrays import Floats, as_floats


@dataclass(frozen=True, slots=True)
class ShrunkCovariance:
    """(1 − shrinkage)·S + shrinkage·scale·I, where S is the sample covariance (divisor n)."""

    basis: Floats
    """`[rank, d]`, orthonormal rows: the directions in which the sample varies."""

    variances: Floats
    """`[rank]`, the sample variance along each of them."""

    shrinkage: float
    """Weight of the round target, from 0 to 1."""

    scale: float
    """Mean sample variance over the d dimensions."""

    def solve(self, v: npt.ArrayLike) -> Floats:
        """The inverse covariance times each vector: `[..., d] -> [..., d]`.

        Raises:
            ValueError: nothing was shrunk and the sample does not span the space, so there is no inverse.
        """
        v = as_floats(v)
        floor = self.shrinkage * self.scale
        along = v @ self.basis.T
        inside = (along / (floor + (1.0 - self.shrinkage) * self.variances)) @ self.basis
        if self.basis.shape[0] == self.basis.shape[1]:
            return inside
        if floor == 0:
            raise ValueError("the covariance has no inverse: shrink it, or give more items than dimensions.")
        return inside + (v - along @ self.basis) / floor


def ledoit_wolf(data: npt.ArrayLike) -> ShrunkCovariance:
    """Ledoit–Wolf covariance of the rows of `data [n, d]`, centred here.

    Raises:
        ValueError: the data do not vary.

    Source: Ledoit and Wolf 2004 (J. Multivariate Analysis 88).
    """
    data = as_floats(data)
    centred = data - data.mean(0)
    if not np.any(centred):
        raise ValueError("the data do not vary, so they have no covariance; give at least two distinct rows.")
    singular, basis = _right_singular(centred)
    kept = singular > singular[0] * max(data.shape) * np.finfo(np.float64).eps
    variances = singular[kept] ** 2 / data.shape[0]
    total = float(variances.sum())
    intensity = shrinkage_intensity(centred, total, float((variances**2).sum()))
    return ShrunkCovariance(basis[kept], variances, intensity, total / data.shape[1])


def _right_singular(data: Floats) -> tuple[Floats, Floats]:
    """Singular values and right singular vectors (rows) of `data [n, d]`.

    LAPACK's fast driver (divide and conquer) now and then finds no end, as on the states of a model and of its equal
    stacked on one another; its plain one, four times slower, does.
    """
    try:
        _, singular, basis = np.linalg.svd(data, full_matrices=False)
    except np.linalg.LinAlgError:
        _, singular, basis = scipy.linalg.svd(data, full_matrices=False, lapack_driver="gesvd")
    return singular, basis


def shrinkage_intensity(centred: Floats, trace: float, squared_norm: float) -> float:
    """Ledoit and Wolf's estimate of how far to shrink towards a multiple of the identity.

    Args:
        centred: `[n, d]`, data with their mean removed.
        trace: tr S of the sample covariance S = centredᵀ·centred / n.
        squared_norm: ‖S‖², Frobenius; an n × n Gram matrix gives the same two numbers.

    Returns:
        From 0, the sample covariance, to 1, the round one.
    """
    n, d = centred.shape
    distance = squared_norm - trace**2 / d  # ‖S − (tr S / d)·I‖²
    noise = (float((np.vecdot(centred, centred) ** 2).sum()) / n - squared_norm) / n  # of S around the truth
    return min(max(noise / distance, 0.0), 1.0) if distance > 0 else 1.0
