"""Closed-form linear probes, for many labellings at once.

A probe's direction is a combination of the items it was fitted on. Solving for the coefficients (one matrix
per layer, shared by all labellings) makes a permutation cost one row of a matrix product. Features are `[n,
layers, d]`; a bag of words is one more "layer" in a call of its own.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt

from unmask.stats._arrays import Floats, as_floats
from unmask.stats.covariance import shrinkage_intensity

Probe = Literal["mean_difference", "ridge"]


def standardise(x: npt.ArrayLike) -> Floats:
    """Each feature with mean 0 and sd 1 (divisor n) over the items of this set; a constant feature becomes 0.

    Standardise every set on its own: formats shift the mean.

    Args:
        x: `[n, ...]`.

    Returns:
        `[n, ...]`, in sd.
    """
    x = as_floats(x)
    centred = x - x.mean(0)
    sd = centred.std(0)
    varies = sd > 1e-12 * np.abs(x).max(0)  # below that the spread is rounding
    return np.where(varies, centred / np.where(varies, sd, 1.0), 0.0)


def class_contrasts(weights: Floats, labels: Floats) -> Floats:
    """What every item counts in mean(x | y=1) − mean(x | y=0) under weights: `[r, n]`, so that `contrasts @ x` are the
    differences."""
    contrasts = np.zeros_like(weights)
    for label, sign in ((1.0, 1.0), (0.0, -1.0)):
        mine = weights * (labels == label)
        contrasts += sign * mine / np.maximum(mine.sum(1, keepdims=True), 1e-12)
    return contrasts


def direction(
    x: npt.ArrayLike, y: npt.ArrayLike, kind: Probe = "mean_difference", penalty: float | None = None
) -> Floats:
    """Probe directions, pointing to larger y.

    Args:
        x: `[n, layers, d]`, features, usually standardised.
        y: `[..., n]`, one labelling or many: 0/1 for poles, or numbers such as ideal points.
        kind: `mean_difference`, mean(x | y=1) − mean(x | y=0), which for numeric y is the slope of x on y; or
            `ridge`, the same corrected by the covariance, as in mass-mean probes and LDA.
        penalty: ridge's λ in ‖y − Xw‖² + λ‖w‖²; None takes each layer's Ledoit–Wolf intensity, which looks at
            x only, so that every labelling shares it.

    Returns:
        `[..., layers, d]`. NaN for a labelling that does not vary.

    Raises:
        ValueError: shapes that do not fit one another, or a penalty that is not positive.

    Source: Marks and Tegmark 2310.06824, whose θ = Σ⁻¹δ ridge is, with Σ shrunk: within-class and total
    covariance differ by a multiple of δδᵀ, which by Sherman–Morrison changes only the length of Σ⁻¹δ.
    """
    features, labels = _checked(x, y, penalty)
    layers = [as_floats(features[:, layer]) for layer in range(features.shape[1])]
    directions = np.stack([_coefficients(fit, labels, kind, penalty) @ fit for fit in layers], axis=1)
    return directions.reshape(*np.shape(y)[:-1], *features.shape[1:])


def probe_scores(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    targets: npt.ArrayLike,
    kind: Probe = "mean_difference",
    penalty: float | None = None,
) -> Floats:
    """Target items projected on the direction that each labelling of x gives.

    Args:
        x: `[n, layers, d]`, features to fit on, standardised over their set.
        y: `[..., n]`, one labelling or many.
        targets: `[m, layers, d]`, features to score, standardised over theirs.
        kind: as in `direction`.
        penalty: as in `direction`.

    Returns:
        `[..., layers, m]`, up to a shift: ranks, AUC and correlations are meant, not the zero.

    Raises:
        ValueError: shapes that do not fit one another, or a penalty that is not positive.
    """
    features, labels = _checked(x, y, penalty)
    aims = np.asarray(targets)
    if aims.ndim != 3 or features.shape[1:] != aims.shape[1:]:
        raise ValueError(f"targets must be [m, layers, d] like x, got {aims.shape} beside {features.shape}.")
    n, layers, d = features.shape
    m, labellings = aims.shape[0], labels.shape[0]
    # The same product in either order; which is cheaper depends on how many labellings there are.
    directions_first = labellings * d * (n + m) < n * m * (d + labellings)
    scores = np.empty((labellings, layers, m))
    for layer in range(layers):
        fit, target = as_floats(features[:, layer]), as_floats(aims[:, layer])
        share = _coefficients(fit, labels, kind, penalty)
        scores[:, layer] = (share @ fit) @ target.T if directions_first else share @ (fit @ target.T)
    return scores.reshape(*np.shape(y)[:-1], layers, m)


def _checked(
    x: npt.ArrayLike, y: npt.ArrayLike, penalty: float | None
) -> tuple[npt.NDArray[np.generic], Floats]:
    """Features `[n, layers, d]` as they came, and labellings `[labellings, n]` less their mean."""
    features, labels = np.asarray(x), as_floats(y)
    if features.ndim != 3 or labels.shape[-1:] != features.shape[:1]:
        raise ValueError(f"x must be [n, layers, d] and y [..., n], got {features.shape} and {labels.shape}.")
    if penalty is not None and not penalty > 0:
        raise ValueError(f"penalty must be positive, got {penalty}; None chooses one from the data.")
    rows = labels.reshape(-1, labels.shape[-1])
    return features, rows - rows.mean(1, keepdims=True)


def _coefficients(x: Floats, labels: Floats, kind: Probe, penalty: float | None) -> Floats:
    """`[labellings, n]`, each item's share in the direction at one layer: `x [n, d]`, `labels` centred."""
    size = (labels**2).sum(1, keepdims=True)
    labels = np.where(size > 0, labels, np.nan)
    if kind == "mean_difference":
        return labels / np.where(size > 0, size, 1.0)
    centred = x - x.mean(0)
    n, d = centred.shape
    gram = centred @ centred.T if n <= d else centred.T @ centred
    added = _ledoit_wolf_penalty(centred, gram) if penalty is None else penalty
    gram[np.diag_indices_from(gram)] += added
    if n <= d:
        return np.linalg.solve(gram, labels.T).T
    # (XXᵀ + λI)⁻¹y by Woodbury, where the d × d matrix is the smaller one.
    return (labels - np.linalg.solve(gram, centred.T @ labels.T).T @ centred.T) / added


def _ledoit_wolf_penalty(centred: Floats, gram: Floats) -> float:
    """The λ for which XᵀX + λI is a multiple of X's Ledoit–Wolf covariance."""
    n, d = centred.shape
    trace = float(np.trace(gram)) / n
    if trace == 0:
        return 1.0  # nothing varies: the direction is 0 whatever λ is
    intensity = shrinkage_intensity(centred, trace, float((gram**2).sum()) / n**2)
    # At intensity 1 λ is infinite and ridge is the mean difference; one that dwarfs XᵀX gives that, finitely.
    odds = min(max(intensity, 1e-9), 1 - 1e-9)
    return n * trace / d * odds / (1.0 - odds)
