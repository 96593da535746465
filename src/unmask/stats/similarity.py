"""How alike two representations or two directions are."""

import numpy as np
import numpy.typing as npt

from unmask.stats._arrays import Floats, as_floats
from unmask.stats.covariance import ShrunkCovariance


def linear_cka_debiased(x: npt.ArrayLike, y: npt.ArrayLike) -> Floats:
    """Linear centred kernel alignment with the unbiased estimator of HSIC.

    The plain estimator tends to 1 when dimensions outnumber items, whatever the data; this one is centred on
    0 for unrelated representations, and may be slightly negative.

    Args:
        x: `[..., n, p]`, n ≥ 4 items.
        y: `[..., n, q]`, the same items.

    Returns:
        `[...]`, at most about 1; NaN where one side does not vary.

    Raises:
        ValueError: the items differ in number, or are fewer than 4.

    Source: Song et al. 2012 (JMLR 13, HSIC₁); Kornblith et al. 2019 (1905.00414).
    """
    x, y = as_floats(x), as_floats(y)
    n = x.shape[-2]
    if y.shape[-2] != n or n < 4:
        raise ValueError(f"both sides need the same items, at least 4: got {n} and {y.shape[-2]}.")
    gram_x, gram_y = _hollow_gram(x), _hollow_gram(y)
    shared = _hsic_unbiased(gram_x, gram_y)
    scale = _hsic_unbiased(gram_x, gram_x) * _hsic_unbiased(gram_y, gram_y)
    return np.where(scale > 0, shared / np.sqrt(np.where(scale > 0, scale, 1.0)), np.nan)


def cosine(u: npt.ArrayLike, v: npt.ArrayLike) -> Floats:
    """Cosine of the angle between vectors, `[..., d]` each, broadcast; NaN for a vector of zeros."""
    u, v = as_floats(u), as_floats(v)
    inner = np.asarray(np.vecdot(u, v), dtype=np.float64)
    return _cosine_of(inner, np.vecdot(u, u), np.vecdot(v, v))


def mahalanobis_cosine(u: npt.ArrayLike, v: npt.ArrayLike, covariance: ShrunkCovariance) -> Floats:
    """Cosine after whitening: uᵀΣ⁻¹v over its norms, so a few high-variance dimensions cannot make any two
    directions alike.

    Args:
        u: `[..., d]`.
        v: `[..., d]`, broadcast against `u`.
        covariance: Σ, such as `ledoit_wolf(activations)`.

    Returns:
        `[...]`; NaN for a vector of zeros.
    """
    u, v = as_floats(u), as_floats(v)
    white_u, white_v = covariance.solve(u), covariance.solve(v)
    inner = np.asarray(np.vecdot(u, white_v), dtype=np.float64)
    return _cosine_of(inner, np.vecdot(u, white_u), np.vecdot(v, white_v))


def _cosine_of(inner: Floats, size_u: Floats, size_v: Floats) -> Floats:
    scale = np.sqrt(size_u) * np.sqrt(size_v)  # two roots: the product of two tiny squares would underflow
    return np.where(scale > 0, inner / np.where(scale > 0, scale, 1.0), np.nan)


def _hollow_gram(x: Floats) -> Floats:
    """`[..., n, n]`, inner products of centred items with the diagonal, which carries the bias, set to 0."""
    centred = x - x.mean(-2, keepdims=True)
    gram = centred @ np.swapaxes(centred, -1, -2)
    diagonal = np.arange(gram.shape[-1])
    gram[..., diagonal, diagonal] = 0.0
    return gram


def _hsic_unbiased(k: Floats, m: Floats) -> Floats:
    """HSIC₁ of two hollow Gram matrices, `[..., n, n] -> [...]`."""
    n = k.shape[-1]
    row_k, row_m = k.sum(-1), m.sum(-1)
    paired = (k * m).sum((-1, -2))
    totals = row_k.sum(-1) * row_m.sum(-1) / ((n - 1) * (n - 2))
    crossed = 2.0 / (n - 2) * (row_k * row_m).sum(-1)
    return np.asarray((paired + totals - crossed) / (n * (n - 3)), dtype=np.float64)
