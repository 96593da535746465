"""Was an axis squeezed, and were its classes squeezed together with it?"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import fdtrc

from unmask.stats._arrays import Floats, as_floats, centred


@dataclass(frozen=True, slots=True)
class SpreadTest:
    """Do independent groups differ in spread?"""

    statistic: float
    """F on the absolute deviations from each group's median."""

    p: float
    """Its p-value."""


@dataclass(frozen=True, slots=True)
class Separation:
    """Two classes along one axis; each field is `[...]`."""

    between: Floats
    """Mean of class 1 minus mean of class 0, in the unit of the values."""

    within: Floats
    """Pooled sd within the classes (divisor n − 2), in the same unit."""

    d_prime: Floats
    """between / within: unchanged when an axis is merely rescaled. NaN where neither class varies."""


def brown_forsythe(*groups: npt.ArrayLike) -> SpreadTest:
    """Brown–Forsythe test that groups have equal spread, robust to skew.

    It takes the groups as independent. Two models on the same prompts are not: there it is a companion to the
    paired bootstrap of the sd ratio (`log_ratio_of_sd_interval`), never its substitute.

    Args:
        groups: two or more lists `[n_i]`.

    Raises:
        ValueError: fewer than two groups, or no degrees of freedom left.

    Source: Brown and Forsythe 1974.
    """
    deviations = [np.abs(values - np.median(values)) for values in map(as_floats, groups)]
    k, n = len(deviations), sum(d.size for d in deviations)
    if k < 2 or n <= k:
        raise ValueError(
            f"the test needs at least 2 groups and more values than groups, got {k} groups, {n} values."
        )
    grand = float(np.concatenate(deviations).mean())
    between = sum(d.size * (float(d.mean()) - grand) ** 2 for d in deviations) / (k - 1)
    within = sum(float(((d - d.mean()) ** 2).sum()) for d in deviations) / (n - k)
    if within == 0:
        return SpreadTest(np.inf if between > 0 else np.nan, 0.0 if between > 0 else np.nan)
    return SpreadTest(between / within, float(fdtrc(k - 1, n - k, between / within)))


def separation(
    values: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> Separation:
    """Between-class difference, within-class spread and their ratio d′.

    Args:
        values: `[..., n]`, such as projections on an axis.
        labels: `[n]`, 0 or 1.
        weights: `[..., n]`, such as the rows of `cluster_weights`, broadcast. None: all 1.

    Returns:
        Fields of shape `[...]`; NaN where a class has no weight or fewer than 3 items have.
    """
    offsets, positive = centred(values), as_floats(labels)
    weight = np.ones(offsets.shape[-1]) if weights is None else as_floats(weights)
    with np.errstate(divide="ignore", invalid="ignore"):  # an empty class: NaN is the answer
        mean_1, squares_1 = _class_moments(offsets, weight * positive)
        mean_0, squares_0 = _class_moments(offsets, weight * (1.0 - positive))
        freedom = weight.sum(-1) - 2.0
        within = np.sqrt(np.where(freedom > 0, np.maximum(squares_1 + squares_0, 0.0) / freedom, np.nan))
        between = mean_1 - mean_0
        return Separation(between, within, np.where(within > 0, between / within, np.nan))


def _class_moments(values: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Mean and sum of squared deviations under weights."""
    total = weight.sum(-1)
    mean = np.asarray(np.vecdot(values, weight), dtype=np.float64) / total
    return mean, np.asarray(np.vecdot(values**2, weight), dtype=np.float64) - total * mean**2
