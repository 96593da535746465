"""Weighted kernel ridge regression, with the predictions for held-out groups in closed form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ridge:
    """A fit of n rows to k targets.

    Attributes:
        shares: `[n, k]`; the prediction at x is Σ shares_i · kernel(x, x_i).
        held_out: `[n, k]`, each row's prediction from a fit without its group.
        penalty: λ.
    """

    shares: Floats
    held_out: Floats
    penalty: float


def fit_ridge(
    kernel: Floats, targets: Floats, weights: Floats, groups: Sequence[int], penalty: float
) -> Ridge:
    """Minimise Σ wᵢ‖yᵢ − f(xᵢ)‖² + λ‖f‖².

    Args:
        kernel: `[n, n]`, with any intercept in it.
        targets: `[n, k]`.
        weights: `[n]`, positive.
        groups: n numbers; rows of one group are left out together.
        penalty: λ.

    Source: leaving out a group B changes its prediction to y_B − (M_BB)⁻¹ shares_B, where M is the inverse of
    kernel + λ/w; the block form of Allen's PRESS.
    """
    inverse = np.linalg.inv(kernel + np.diag(penalty / weights))
    shares = inverse @ targets
    held_out = np.empty_like(targets)
    member = np.asarray(groups)
    for group in np.unique(member):
        rows = np.flatnonzero(member == group)
        held_out[rows] = targets[rows] - np.linalg.solve(inverse[np.ix_(rows, rows)], shares[rows])
    return Ridge(shares, held_out, penalty)


def choose_ridge(
    kernel: Floats,
    targets: Floats,
    weights: Floats,
    groups: Sequence[int],
    penalties: Sequence[float],
    loss: Callable[[Floats], float],
) -> Ridge:
    """The fit whose held-out predictions have the least loss; the largest penalty among equals."""
    fits = [
        fit_ridge(kernel, targets, weights, groups, penalty) for penalty in sorted(penalties, reverse=True)
    ]
    return min(fits, key=lambda fit: loss(fit.held_out))
