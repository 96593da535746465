"""Least-squares concept erasure: the smallest change after which no linear classifier can tell the concept.

With W = Σ_xx^(−1/2) and P the orthogonal projection on the columns of W Σ_xz, the eraser is

    r(x) = x − W⁺ P W (x − μ)

It is fitted from running sums, so that activations may come in batches, and applied as a frozen affine map.

Source: Belrose et al. 2306.03819 (LEACE), theorem 4.3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
TOLERANCE = 1e-7
"""Directions in which the activations vary less than this share of the most do not vary at all."""


@dataclass(frozen=True)
class Eraser:
    """An affine map that removes a concept.

    Attributes:
        left: `[d, k]`, what is subtracted for each unit of the concept's coordinates (W⁺ times the basis of P).
        right: `[k, d]`, reads the concept's coordinates (the basis times W).
        mean: `[d]`, μ: activations there are left alone.
    """

    left: Floats
    right: Floats
    mean: Floats

    def __call__(self, x: npt.ArrayLike) -> Floats:
        """`[..., d] -> [..., d]`."""
        x = np.asarray(x, dtype=np.float64)
        return x - (x - self.mean) @ self.right.T @ self.left.T


class LeaceFitter:
    """Gathers what LEACE needs to know of activations and labels.

    Args:
        x_dim: d, the width of the activations.
        z_dim: k, the width of the labels (1 for two poles).
    """

    def __init__(self, x_dim: int, z_dim: int = 1) -> None:
        self.n = 0
        self.mean_x = np.zeros(x_dim)
        self.mean_z = np.zeros(z_dim)
        self._xx = np.zeros((x_dim, x_dim))
        self._xz = np.zeros((x_dim, z_dim))

    def update(self, x: npt.ArrayLike, z: npt.ArrayLike) -> LeaceFitter:
        """Add a batch of activations `[n, d]` and labels `[n]` or `[n, k]`."""
        x = np.asarray(x, dtype=np.float64)
        z = np.asarray(z, dtype=np.float64).reshape(len(x), -1)
        self.n += len(x)
        # Welford's update keeps the sums centred, so that large means cost no precision.
        from_old_x = x - self.mean_x
        self.mean_x = self.mean_x + from_old_x.sum(0) / self.n
        self.mean_z = self.mean_z + (z - self.mean_z).sum(0) / self.n
        self._xx += from_old_x.T @ (x - self.mean_x)
        self._xz += from_old_x.T @ (z - self.mean_z)
        return self

    def eraser(self) -> Eraser:
        """The eraser for what was seen so far.

        Raises:
            ValueError: fewer than two activations.
        """
        if self.n < 2:
            raise ValueError(f"LEACE needs at least 2 activations, got {self.n}.")
        values, vectors = np.linalg.eigh((self._xx + self._xx.T) / (2 * self.n))
        varies = values > TOLERANCE * max(float(values[-1]), 0.0)
        scale = np.sqrt(np.maximum(values, 0.0))
        whiten = vectors * np.where(varies, 1.0 / np.where(varies, scale, 1.0), 0.0) @ vectors.T
        restore = vectors * np.where(varies, scale, 0.0) @ vectors.T
        columns, strengths, _ = np.linalg.svd(whiten @ self._xz / self.n, full_matrices=False)
        basis = columns[:, strengths > TOLERANCE]
        return Eraser(restore @ basis, basis.T @ whiten, self.mean_x)


def leace_rank_one(
    x: npt.ArrayLike, labels: npt.ArrayLike
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], float]:
    """LEACE for two poles, as an edit takes it: h − (right·h − at) left.

    Args:
        x: `[n, d]`, activations.
        labels: `[n]`, 0 or 1.

    Returns:
        left `[d]`, right `[d]` and the coordinate `at` of the mean activation; zeros where nothing is to erase. The
        coordinate rises towards label 1.
    """
    x = np.asarray(x, dtype=np.float64)
    eraser = LeaceFitter(x.shape[1]).update(x, labels).eraser()
    if not eraser.right.shape[0]:
        nothing = np.zeros(x.shape[1], dtype=np.float32)
        return nothing, nothing, 0.0
    labels = np.asarray(labels)
    rises = eraser.right[0] @ (x[labels == 1].mean(0) - x[labels == 0].mean(0)) > 0
    sign = 1.0 if rises else -1.0
    left, right = sign * eraser.left[:, 0], sign * eraser.right[0]
    return left.astype(np.float32), right.astype(np.float32), float(right @ eraser.mean)
