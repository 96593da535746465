"""Cluster bootstrap: topics are drawn with replacement, and every item of a drawn topic comes with it.

A resample is a row of integer weights, so a statistic that takes weights runs on all resamples in one
vectorised call.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt

from unmask.stats._arrays import Floats, Ints, as_floats, centred
from unmask.stats.intervals import Interval, basic_interval, bca_interval, percentile_interval

Method = Literal["percentile", "basic", "bca"]


def cluster_weights(
    clusters: npt.ArrayLike, n_resamples: int, rng: np.random.Generator, strata: npt.ArrayLike | None = None
) -> Ints:
    """How often each item is drawn in each resample of whole clusters.

    Where every item is its own cluster this is the ordinary bootstrap.

    Args:
        clusters: `[n]`, each item's cluster (topic, person), of any sortable type.
        n_resamples: how many resamples.
        rng: source of randomness.
        strata: `[n]`, groups that keep their number of clusters in every resample (such as poles). None: one
            stratum.

    Returns:
        `[n_resamples, n]`, nonnegative counts; items of one cluster share theirs.

    Raises:
        ValueError: a cluster lies in two strata, or the lengths differ.
    """
    names, cluster_of = _codes(clusters)
    stratum_of_cluster = _stratum_of_cluster(cluster_of, len(names), strata)
    drawn = np.empty((n_resamples, len(names)), dtype=np.int64)
    for stratum in np.unique(stratum_of_cluster):
        members = np.flatnonzero(stratum_of_cluster == stratum)
        size = members.size
        picks = rng.integers(0, size, (n_resamples, size)) + size * np.arange(n_resamples)[:, None]
        drawn[:, members] = np.bincount(picks.ravel(), minlength=n_resamples * size).reshape(-1, size)
    return drawn[:, cluster_of]


STEP = 0.25
"""How far towards a resample a bootstrap in small steps goes; what it finds there is carried on in a straight line.

A direction fitted on a whole resample has the noise of the fit twice over, so that a statistic of it is another's. Near
the data as they are it is this one's. Source: Jaeckel 1972, the infinitesimal jackknife, the limit of small steps."""


def small_steps(weights: Floats) -> Floats:
    """Weights `[1 + resamples, n]` of `bootstrap_weights`, each resample a small step from the data as they are."""
    return 1.0 + STEP * (weights - 1.0)


def carried_on(stepped: Floats) -> Floats:
    """Replicates `[1 + resamples, ...]` from a statistic under `small_steps`: of whole steps if it were linear."""
    return stepped[:1] + (stepped - stepped[:1]) / STEP


def bootstrap_weights(
    clusters: npt.ArrayLike, n_resamples: int, rng: np.random.Generator, strata: npt.ArrayLike | None = None
) -> Floats:
    """The data as they are, then resamples of whole clusters: of a statistic under these weights, row 0 is the
    estimate and the others are its replicates.

    Args:
        clusters: `[n]`, as in `cluster_weights`, which draws the resamples.
        n_resamples: how many resamples.
        rng: source of randomness.
        strata: `[n]`, likewise.

    Returns:
        `[1 + n_resamples, n]`, row 0 all ones.
    """
    drawn = cluster_weights(clusters, n_resamples, rng, strata)
    return np.concatenate([np.ones((1, drawn.shape[1])), drawn.astype(np.float64)])


def leave_one_out_weights(clusters: npt.ArrayLike) -> Ints:
    """Weights of the cluster jackknife: row g leaves cluster g out.

    Args:
        clusters: `[n]`, each item's cluster.

    Returns:
        `[clusters, n]` of 0 and 1.
    """
    names, cluster_of = _codes(clusters)
    return (np.arange(len(names))[:, None] != cluster_of).astype(np.int64)


def weighted_mean(values: npt.ArrayLike, weights: npt.ArrayLike) -> Floats:
    """Mean along the last axis under weights, leading axes broadcast; NaN where nothing has weight.

    Args:
        values: `[..., n]`.
        weights: `[..., n]`, nonnegative, such as the rows of `cluster_weights`.

    Returns:
        `[...]`, in the unit of `values`.
    """
    values, weights = as_floats(values), as_floats(weights)
    total = weights.sum(-1)
    summed = np.asarray(np.vecdot(values, weights), dtype=np.float64)
    return np.where(total > 0, summed / np.where(total > 0, total, 1.0), np.nan)


def weighted_nanmean(values: npt.ArrayLike, weights: npt.ArrayLike) -> Floats:
    """Mean of the values that are not NaN under weights; NaN where none of them has weight.

    Args:
        values: `[n]`, such as stances, which a refusal has none of.
        weights: `[..., n]`, nonnegative, such as the rows of `bootstrap_weights`.

    Returns:
        `[...]`, in the unit of `values`.
    """
    values, weights = as_floats(values), as_floats(weights)
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (weights @ np.where(there, values, 0.0)) / (weights @ there.astype(np.float64))


def weighted_sd(values: npt.ArrayLike, weights: npt.ArrayLike) -> Floats:
    """Standard deviation (divisor n) along the last axis under weights, leading axes broadcast.

    Args:
        values: `[..., n]`.
        weights: `[..., n]`, nonnegative.

    Returns:
        `[...]`, in the unit of `values`.
    """
    offsets = centred(values)
    variance = weighted_mean(offsets**2, weights) - weighted_mean(offsets, weights) ** 2
    return np.sqrt(np.maximum(variance, 0.0))


def weighted_slope(x: npt.ArrayLike, y: npt.ArrayLike, weights: npt.ArrayLike) -> Floats:
    """Least-squares slope of y on x along the last axis under weights; NaN where x does not vary.

    Args:
        x: `[..., n]`, such as doses.
        y: `[..., n]`, such as stances.
        weights: `[..., n]`, nonnegative.

    Returns:
        `[...]`, y per unit of x.
    """
    dx, dy = centred(x), centred(y)
    mean_dx = weighted_mean(dx, weights)
    covariance = weighted_mean(dx * dy, weights) - mean_dx * weighted_mean(dy, weights)
    variance = weighted_mean(dx**2, weights) - mean_dx**2
    varies = variance > 1e-12 * (dx**2).mean(-1)  # what is left below that is rounding
    return np.where(varies, covariance / np.where(varies, variance, 1.0), np.nan)


def cluster_interval(
    statistic: Callable[[Ints], npt.ArrayLike],
    clusters: npt.ArrayLike,
    rng: np.random.Generator,
    n_resamples: int = 2000,
    level: float = 0.95,
    strata: npt.ArrayLike | None = None,
    method: Method = "percentile",
) -> Interval:
    """Interval of any statistic that takes weights, such as `lambda w: auc(scores, labels, w)`.

    Args:
        statistic: from weights `[resamples, n]` to values `[resamples]`.
        clusters: `[n]`, each item's cluster.
        rng: source of randomness.
        n_resamples: how many resamples.
        level: nominal coverage.
        strata: as in `cluster_weights`.
        method: `percentile` (widened for few clusters: the default, for its measured coverage), `basic`
            (likewise) or `bca` (likewise), which does better for rates near 0 or 1.

    Raises:
        ValueError: fewer than two clusters (in a stratum), or a cluster lies in two strata.
    """
    weights = cluster_weights(clusters, n_resamples, rng, strata)
    estimate = float(as_floats(statistic(np.ones((1, weights.shape[1]), dtype=np.int64)))[0])
    replicates, count = statistic(weights), n_clusters(clusters, strata)
    if method == "bca":
        jackknife = statistic(leave_one_out_weights(clusters))
        return bca_interval(estimate, replicates, jackknife, level, count)
    make = percentile_interval if method == "percentile" else basic_interval
    return make(estimate, replicates, level, count)


def mean_interval(
    values: npt.ArrayLike,
    clusters: npt.ArrayLike,
    rng: np.random.Generator,
    n_resamples: int = 2000,
    level: float = 0.95,
    strata: npt.ArrayLike | None = None,
    method: Method = "percentile",
) -> Interval:
    """Interval of a mean over items that come in clusters.

    Values that are all alike give an interval of no width. For a rate of 0 or 1 that claims too much: use
    `rate_interval` there.

    Args:
        values: `[n]`.
        clusters: `[n]`, each item's cluster.
        rng: source of randomness.
        n_resamples: how many resamples.
        level: nominal coverage.
        strata: as in `cluster_weights`.
        method: as in `cluster_interval`.
    """
    return cluster_interval(
        lambda w: weighted_mean(values, w), clusters, rng, n_resamples, level, strata, method
    )


def difference_interval(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    clusters: npt.ArrayLike,
    rng: np.random.Generator,
    n_resamples: int = 2000,
    level: float = 0.95,
    strata: npt.ArrayLike | None = None,
    second_clusters: npt.ArrayLike | None = None,
    method: Method = "percentile",
) -> Interval:
    """Interval of mean(first) − mean(second), both on the same resampled clusters.

    Args:
        first: `[n]`, such as the aligned model's values.
        second: `[m]`, such as the base model's; m = n unless `second_clusters` is given.
        clusters: `[n]`, each item's cluster.
        rng: source of randomness.
        n_resamples: how many resamples.
        level: nominal coverage.
        strata: `[n]` (`[n + m]` with `second_clusters`), as in `cluster_weights`.
        second_clusters: `[m]`, where the two sides have different items on the same clusters. None: item i
            pairs with i.
        method: as in `cluster_interval`.
    """
    first, second = as_floats(first), as_floats(second)
    if second_clusters is None:
        return mean_interval(first - second, clusters, rng, n_resamples, level, strata, method)
    both = np.concatenate([np.asarray(clusters), np.asarray(second_clusters)])
    n = first.size

    def difference(weights: Ints) -> Floats:
        return weighted_mean(first, weights[:, :n]) - weighted_mean(second, weights[:, n:])

    return cluster_interval(difference, both, rng, n_resamples, level, strata, method)


def log_ratio_of_sd_interval(
    above: npt.ArrayLike,
    below: npt.ArrayLike,
    clusters: npt.ArrayLike,
    rng: np.random.Generator,
    n_resamples: int = 2000,
    level: float = 0.95,
    strata: npt.ArrayLike | None = None,
    method: Method = "percentile",
) -> Interval:
    """Interval of log(sd(above) / sd(below)) over the same items, resampled together.

    Args:
        above: `[n]`, such as the aligned model's projections.
        below: `[n]`, the base model's on the same prompts.
        clusters: `[n]`, each item's cluster.
        rng: source of randomness.
        n_resamples: how many resamples.
        level: nominal coverage.
        strata: as in `cluster_weights`.
        method: as in `cluster_interval`.
    """

    def log_ratio(weights: Ints) -> Floats:
        # A resample without spread has the log ratio ±∞, or NaN.
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(weighted_sd(above, weights)) - np.log(weighted_sd(below, weights))

    return cluster_interval(log_ratio, clusters, rng, n_resamples, level, strata, method)


def n_clusters(clusters: npt.ArrayLike, strata: npt.ArrayLike | None = None) -> int:
    """How many distinct clusters there are to resample; with strata, how many the poorest stratum has.

    This is what intervals are widened by (see `percentile_interval`).

    Args:
        clusters: `[n]`, each item's cluster.
        strata: `[n]`, as in `cluster_weights`.
    """
    names, cluster_of = _codes(clusters)
    return int(np.unique(_stratum_of_cluster(cluster_of, len(names), strata), return_counts=True)[1].min())


def _codes(clusters: npt.ArrayLike) -> tuple[npt.NDArray[np.generic], Ints]:
    names, codes = np.unique(np.asarray(clusters), return_inverse=True)
    return names, codes.astype(np.int64)


def _stratum_of_cluster(cluster_of: Ints, count: int, strata: npt.ArrayLike | None) -> Ints:
    """`[clusters]`, the stratum of each cluster."""
    if strata is None:
        return np.zeros(count, dtype=np.int64)
    names, stratum_of = _codes(strata)
    if stratum_of.shape != cluster_of.shape:
        raise ValueError(
            f"strata must match clusters item by item: {stratum_of.size} against {cluster_of.size}."
        )
    met = np.zeros((count, len(names)), dtype=np.bool_)
    met[cluster_of, stratum_of] = True
    if (met.sum(1) > 1).any():
        raise ValueError(
            "a cluster lies in two strata, so it cannot be drawn whole; drop the strata or split the cluster."
        )
    return met.argmax(1).astype(np.int64)
