"""From bootstrap replicates to an interval.

A replicate that is NaN was undefined in its resample (a class was empty, a denominator had the wrong sign).
It could have been anything, so it counts as −∞ for the lower end and +∞ for the upper: undefined replicates
widen, never narrow.
"""

from dataclasses import dataclass
from math import ceil, floor, isfinite, sqrt

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv, ndtr, ndtri, stdtrit

from unmask.stats._arrays import Floats, as_floats


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the two-sided confidence interval around it."""

    value: float
    """The estimate on the data as they are."""

    low: float
    """Lower end; −∞ where the data do not bound it."""

    high: float
    """Upper end; +∞ where the data do not bound it."""

    level: float
    """Nominal coverage, such as 0.95."""

    def above(self, bar: float) -> bool:
        """Does the whole interval lie above `bar`?"""
        return self.low > bar

    def below(self, bar: float) -> bool:
        """Does the whole interval lie below `bar`?"""
        return self.high < bar

    def inside(self, low: float, high: float) -> bool:
        """Does the whole interval lie between `low` and `high`?"""
        return self.low > low and self.high < high


def percentile_interval(
    estimate: float, replicates: npt.ArrayLike, level: float = 0.95, clusters: int | None = None
) -> Interval:
    """Percentile interval, widened for few clusters when their number is given.

    Resampling G clusters understates the spread of a mean by √((G−1)/G) and knows nothing of Student's t;
    taking the quantiles at Φ(−√(G/(G−1))·t) instead of α/2 repairs both, and costs nothing when G is large.

    Measured coverage at nominal .95 (2,000 data sets, 1,000 resamples), of a mean over 12, 20, 40 and 120
    clusters: normal .941, .939, .945, .949 (unwidened .903, .920, .932, .946); rates near .1 .911, .915,
    .929, .938; log-normal .885, .886, .910, .923, since no bootstrap here saves the mean of few, very
    skewed clusters.

    Args:
        estimate: the statistic on the data as they are.
        replicates: `[resamples]`, the statistic on each resample; NaN where it was undefined.
        level: nominal coverage.
        clusters: how many independent clusters were resampled; None leaves the plain percentile interval.

    Source: Efron 1979; the widening is Hesterberg 2015 (The American Statistician 69(4), "expanded
    percentile").
    """
    share = tail_share((1.0 - level) / 2.0, clusters)
    return Interval(float(estimate), *_ends(replicates, share, 1.0 - share), level)


def basic_interval(
    estimate: float, replicates: npt.ArrayLike, level: float = 0.95, clusters: int | None = None
) -> Interval:
    """Basic (reverse percentile) interval: the percentile interval reflected in the estimate.

    Args:
        estimate: the statistic on the data as they are.
        replicates: `[resamples]`; NaN where undefined.
        level: nominal coverage.
        clusters: as in `percentile_interval`.

    Source: Davison and Hinkley 1997, equation 5.6.
    """
    share = tail_share((1.0 - level) / 2.0, clusters)
    low, high = _ends(replicates, share, 1.0 - share)
    return Interval(float(estimate), 2 * float(estimate) - high, 2 * float(estimate) - low, level)


def bca_interval(
    estimate: float,
    replicates: npt.ArrayLike,
    jackknife: npt.ArrayLike,
    level: float = 0.95,
    clusters: int | None = None,
) -> Interval:
    """Bias-corrected and accelerated interval.

    Measured beside `percentile_interval`, both widened: the same for normal means, better for rates near .1
    (.913, .962, .949, .947), worse for the ratio of sds of 84 paired values (.908–.937 against .931–.944).

    Args:
        estimate: the statistic on the data as they are.
        replicates: `[resamples]`; NaN where undefined.
        jackknife: `[clusters]`, the statistic with one cluster left out at a time.
        level: nominal coverage.
        clusters: as in `percentile_interval`.

    Returns:
        The interval; unbounded where the correction is undefined (every replicate on one side of the
        estimate, or a jackknife value that is NaN).

    Source: Efron 1987 (JASA 82).
    """
    replicates, jackknife = as_floats(replicates), as_floats(jackknife)
    below = ((replicates < estimate).mean() + (replicates <= estimate).mean()) / 2.0
    bias = float(ndtri(below))
    pull = jackknife.mean() - jackknife
    spread = float((pull**2).sum())
    acceleration = float((pull**3).sum()) / (6.0 * spread**1.5) if spread > 0 else 0.0
    if not (isfinite(bias) and isfinite(spread)):
        return Interval(float(estimate), -np.inf, np.inf, level)

    def corrected(share: float) -> float:
        z = bias + float(ndtri(share))
        return float(ndtr(bias + z / (1.0 - acceleration * z)))

    share = tail_share((1.0 - level) / 2.0, clusters)
    return Interval(float(estimate), *_ends(replicates, corrected(share), corrected(1.0 - share)), level)


def ratio_interval(
    numerator: float,
    denominator: float,
    numerators: npt.ArrayLike,
    denominators: npt.ArrayLike,
    level: float = 0.95,
    clusters: int | None = None,
) -> Interval:
    """Interval of a ratio of two estimates (such as slopes) from paired replicates.

    A resample whose denominator has the other sign, or is 0, says that the ratio could be anything, so it
    counts at both ends. Once more than α/2 of them do, the denominator cannot be told from 0 and the interval
    is unbounded: the same condition under which Fieller's interval is.

    Args:
        numerator: estimate above the line.
        denominator: estimate below the line.
        numerators: `[resamples]`, its replicates.
        denominators: `[resamples]`, from the same resamples in the same order.
        level: nominal coverage.
        clusters: as in `percentile_interval`.

    Raises:
        ValueError: the two sets of replicates differ in number, so they cannot be paired.

    Source: Fieller 1954; Franz 2007 (arXiv 0710.2024) on why a bootstrap of a ratio needs this.
    """
    ratios = ratio_replicates(denominator, numerators, denominators)
    if denominator == 0:
        return Interval(float("nan"), -np.inf, np.inf, level)
    return percentile_interval(numerator / denominator, ratios, level, clusters)


def ratio_replicates(denominator: float, numerators: npt.ArrayLike, denominators: npt.ArrayLike) -> Floats:
    """A ratio on each resample, NaN where the denominator has not the sign of its estimate.

    Args:
        denominator: estimate below the line.
        numerators: `[resamples]`.
        denominators: `[resamples]`, from the same resamples in the same order.

    Raises:
        ValueError: the two sets of replicates differ in number, so they cannot be paired.
    """
    above, under = as_floats(numerators), as_floats(denominators)
    if above.shape != under.shape:
        raise ValueError(
            f"replicates must be paired, got {above.shape} numerators and {under.shape} denominators."
        )
    sound = under * np.sign(denominator) > 0
    return np.where(sound, above / np.where(sound, under, 1.0), np.nan)


def rate_interval(hits: int, trials: int, level: float = 0.95) -> Interval:
    """Exact interval of a rate from independent trials.

    0 hits in n bound the rate not by 0 but by about 3.7/n (3/n where only the upper end is asked: level .9).

    Args:
        hits: how often it happened.
        trials: how often it could have.
        level: nominal coverage, which is kept at every rate (and mostly exceeded).

    Raises:
        ValueError: hits outside 0 … trials, or no trials.

    Source: Clopper and Pearson 1934.
    """
    if not (trials > 0 and 0 <= hits <= trials):
        raise ValueError(f"hits must lie between 0 and a positive number of trials, got {hits} of {trials}.")
    alpha = 1.0 - level
    low = float(betaincinv(hits, trials - hits + 1, alpha / 2)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, trials - hits, 1.0 - alpha / 2)) if hits < trials else 1.0
    return Interval(hits / trials, low, high, level)


def tail_share(alpha: float, clusters: int | None) -> float:
    """The share of replicates to cut from one end for one-sided error `alpha` (see `percentile_interval`).

    Raises:
        ValueError: fewer than two clusters, which carry no information about spread.
    """
    if clusters is None:
        return alpha
    if clusters < 2:
        raise ValueError(
            f"an interval needs at least 2 clusters, got {clusters}: add topics or resample items."
        )
    return float(ndtr(sqrt(clusters / (clusters - 1)) * float(stdtrit(clusters - 1, alpha))))


def _ends(replicates: npt.ArrayLike, low_share: float, high_share: float) -> tuple[float, float]:
    """The outer order statistics at two shares; no interpolation, which ∞ would turn into NaN."""
    values = as_floats(replicates)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"replicates must be one non-empty list, got shape {values.shape}.")
    undefined = np.isnan(values)
    low = np.sort(np.where(undefined, -np.inf, values))[floor(low_share * (values.size - 1))]
    high = np.sort(np.where(undefined, np.inf, values))[ceil(high_share * (values.size - 1))]
    return float(low), float(high)
