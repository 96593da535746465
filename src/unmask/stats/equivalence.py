"""Two one-sided tests: the only way in which `unmask` may say "no effect".

A large p-value of a difference test says that the data were few, not that the effect is nil. "No effect" is
claimed only when the effect is shown to lie within a margin that is named beforehand and printed.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtr, stdtrit

from unmask.stats._arrays import as_floats
from unmask.stats.intervals import Interval, percentile_interval


@dataclass(frozen=True, slots=True)
class Equivalence:
    """Is an effect within ±margin of 0?"""

    p: float
    """The larger of the two one-sided p-values: against "effect ≤ −margin" and against "effect ≥ margin"."""

    interval: Interval
    """The interval at level 1 − 2α, which lies inside ±margin exactly when both tests reject at α."""

    margin: float
    """Half-width of the zone that counts as no effect, in the unit of the effect."""

    equivalent: bool
    """Whether no effect beyond the margin may be claimed at α."""


def tost_bootstrap(
    estimate: float,
    replicates: npt.ArrayLike,
    margin: float,
    alpha: float = 0.05,
    clusters: int | None = None,
) -> Equivalence:
    """Two one-sided tests from bootstrap replicates.

    Args:
        estimate: the effect on the data as they are.
        replicates: `[resamples]`, the effect on each resample; NaN (undefined) counts against equivalence.
        margin: half-width of the zone that counts as no effect.
        alpha: error rate of claiming equivalence.
        clusters: how many clusters were resampled, to widen for few (see `percentile_interval`).

    Raises:
        ValueError: the margin is not positive.

    Source: Schuirmann 1987; Lakens 2017.
    """
    _check(margin)
    interval = percentile_interval(estimate, replicates, 1.0 - 2.0 * alpha, clusters)
    values = as_floats(replicates)
    undefined = np.isnan(values)
    outside = max(int((undefined | (values <= -margin)).sum()), int((undefined | (values >= margin)).sum()))
    p = (1 + outside) / (1 + values.size)
    if clusters is not None:  # the widening of the interval, run backwards
        p = float(stdtr(clusters - 1, float(ndtri(p)) * sqrt((clusters - 1) / clusters)))
    return Equivalence(p, interval, margin, p <= alpha and interval.inside(-margin, margin))


def tost_t(values: npt.ArrayLike, margin: float, alpha: float = 0.05) -> Equivalence:
    """Two one-sided t-tests that a mean is within ±margin of 0.

    Args:
        values: `[n]`, one independent value each: average within clusters first.
        margin: half-width of the zone that counts as no effect.
        alpha: error rate of claiming equivalence.

    Raises:
        ValueError: the margin is not positive, or there are fewer than two values.

    Source: Schuirmann 1987.
    """
    _check(margin)
    values = as_floats(values)
    if values.size < 2:
        raise ValueError(f"a t-test needs at least 2 values, got {values.size}.")
    mean, error = float(values.mean()), float(values.std(ddof=1)) / sqrt(values.size)
    freedom = values.size - 1
    reach = -float(stdtrit(freedom, alpha)) * error
    interval = Interval(mean, mean - reach, mean + reach, 1.0 - 2.0 * alpha)
    exact = 0.0 if abs(mean) < margin else 1.0
    p = exact if error == 0 else float(stdtr(freedom, (abs(mean) - margin) / error))
    return Equivalence(p, interval, margin, interval.inside(-margin, margin))


def _check(margin: float) -> None:
    if not margin > 0:
        raise ValueError(
            f"margin must be positive, got {margin}: it is the largest effect that counts as none."
        )
