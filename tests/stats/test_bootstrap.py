from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats as scipy_stats

from unmask.stats import (
    Interval,
    auc,
    bootstrap_weights,
    cluster_interval,
    cluster_weights,
    difference_interval,
    leave_one_out_weights,
    log_ratio_of_sd_interval,
    mean_interval,
    n_clusters,
    percentile_interval,
    weighted_mean,
    weighted_nanmean,
    weighted_sd,
    weighted_slope,
)

SIMULATIONS = 400


def coverage(interval_of: Callable[[np.random.Generator], Interval], truth: float) -> float:
    """Share of simulated data sets whose interval holds the truth; the binomial error of .95 here is .011."""
    held = 0
    for seed in range(SIMULATIONS):
        interval = interval_of(np.random.default_rng(seed))
        held += interval.low <= truth <= interval.high
    return held / SIMULATIONS


def clusters_of_one_to_four(rng: np.random.Generator, count: int) -> np.ndarray:
    return np.repeat(np.arange(count), rng.integers(1, 5, count))


def test_whole_clusters_are_drawn_and_each_stratum_keeps_its_number() -> None:
    rng = np.random.default_rng(0)
    clusters = np.array(["tax", "guns", "tax", "health", "guns", "courts"])
    weights = cluster_weights(clusters, 20_000, rng)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    np.testing.assert_array_equal(weights[:, 1], weights[:, 4])
    first_of_each = weights[:, [0, 1, 3, 5]]
    np.testing.assert_array_equal(first_of_each.sum(1), 4)
    # Counts of 4 draws among 4: mean 1, variance 3/4.
    np.testing.assert_allclose(first_of_each.mean(0), 1, atol=0.03)
    np.testing.assert_allclose(first_of_each.var(0), 0.75, atol=0.03)

    poles = np.array([0, 1, 0, 0, 1, 1])
    stratified = cluster_weights(clusters, 100, rng, strata=poles)
    np.testing.assert_array_equal(stratified[:, [0, 3]].sum(1), 2)
    np.testing.assert_array_equal(stratified[:, [1, 5]].sum(1), 2)
    assert n_clusters(clusters) == 4
    assert n_clusters(clusters, poles) == 2
    with pytest.raises(ValueError, match="two strata"):
        cluster_weights(clusters, 5, rng, strata=[0, 1, 1, 0, 1, 1])


def test_leave_one_out_drops_each_cluster_once() -> None:
    np.testing.assert_array_equal(leave_one_out_weights(["b", "a", "b"]), [[1, 0, 1], [0, 1, 0]])


def test_weighted_statistics_are_those_of_the_copied_items() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(1e4, 1, (2, 50))
    weights = rng.integers(0, 4, (6, 50))
    for row, mean, sd, slope in zip(
        weights,
        weighted_mean(x, weights),
        weighted_sd(x, weights),
        weighted_slope(x, y, weights),
        strict=True,
    ):
        xs, ys = np.repeat(x, row), np.repeat(y, row)
        assert mean == pytest.approx(xs.mean(), rel=1e-12)
        assert sd == pytest.approx(xs.std(), rel=1e-9)
        assert slope == pytest.approx(scipy_stats.linregress(xs, ys).slope, rel=1e-8)
    assert np.isnan(weighted_mean([1.0, 2.0], [0, 0]))
    assert np.isnan(weighted_slope([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [0, 2, 0]))


def test_an_ordinary_bootstrap_agrees_with_scipy() -> None:
    rng = np.random.default_rng(4)
    values = rng.exponential(size=80)
    witness = scipy_stats.bootstrap(
        (values,), np.mean, n_resamples=40_000, method="percentile", rng=rng
    ).confidence_interval
    replicates = weighted_mean(values, cluster_weights(np.arange(80), 40_000, rng))
    ours = percentile_interval(values.mean(), replicates)
    np.testing.assert_allclose([ours.low, ours.high], [witness.low, witness.high], atol=0.008)


@pytest.mark.parametrize("count", [20, 40, 120])
def test_mean_interval_covers_on_clustered_data_where_ignoring_clusters_does_not(count: int) -> None:
    def sample(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        clusters = clusters_of_one_to_four(rng, count)
        return 2.0 + rng.normal(0, 1, count)[clusters] + rng.normal(0, 1, clusters.size), clusters

    clustered = coverage(lambda rng: mean_interval(*sample(rng), rng, 1000), 2.0)
    assert 0.92 <= clustered <= 0.975

    def ignoring(rng: np.random.Generator) -> Interval:
        values, _ = sample(rng)
        return mean_interval(values, np.arange(values.size), rng, 1000)

    assert coverage(ignoring, 2.0) < clustered - 0.03


def test_bca_covers_a_small_rate_that_varies_between_clusters() -> None:
    def interval(rng: np.random.Generator) -> Interval:
        clusters = clusters_of_one_to_four(rng, 40)
        happened = rng.random(clusters.size) < rng.beta(0.3, 2.7, 40)[clusters]
        return mean_interval(happened, clusters, rng, 1000, method="bca")

    assert 0.92 <= coverage(interval, 0.1) <= 0.975


def test_paired_difference_covers_and_gains_from_pairing() -> None:
    def sample(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        clusters = clusters_of_one_to_four(rng, 40)
        shared = 3 * rng.normal(size=40)[clusters]
        base, aligned = (shared + rng.normal(size=clusters.size) for _ in range(2))
        return aligned - 0.3, base, clusters

    assert 0.92 <= coverage(lambda rng: difference_interval(*sample(rng), rng, 1000), -0.3) <= 0.975

    rng = np.random.default_rng(0)
    aligned, base, clusters = sample(rng)
    # The same items said to be two sets on the same clusters: the same estimate, nearly the same interval.
    paired = difference_interval(aligned, base, clusters, rng, 20_000)
    order = rng.permutation(base.size)
    matched = difference_interval(
        aligned, base[order], clusters, rng, 20_000, second_clusters=clusters[order]
    )
    np.testing.assert_allclose([matched.low, matched.high], [paired.low, paired.high], atol=0.02)


@pytest.mark.parametrize("n", [40, 84])
def test_log_ratio_of_sd_covers_a_planted_squeeze(n: int) -> None:
    def interval(rng: np.random.Generator) -> Interval:
        clusters = np.arange(n) // 2
        base = 5 + rng.normal(size=n) + rng.normal(size=n // 2)[clusters]
        own = rng.normal(size=n) + rng.normal(size=n // 2)[clusters]
        aligned = 0.3 * (0.8 * (base - 5) + 0.6 * own) - 1
        return log_ratio_of_sd_interval(aligned, base, clusters, rng, 1000)

    assert 0.92 <= coverage(interval, np.log(0.3)) <= 0.975


def test_auc_interval_covers_with_each_pole_resampled_apart() -> None:
    truth = float(scipy_stats.norm.cdf(1.2 / np.sqrt(2)))
    poles = np.repeat([0, 1], 25)

    def interval(rng: np.random.Generator) -> Interval:
        scores = rng.normal(1.2 * poles, 1)
        return cluster_interval(lambda w: auc(scores, poles, w), np.arange(50), rng, 1000, strata=poles)

    assert 0.92 <= coverage(interval, truth) <= 0.975


def test_bootstrap_weights_are_the_data_and_then_their_resamples() -> None:
    clusters = np.arange(12) // 3
    weights = bootstrap_weights(clusters, 50, np.random.default_rng(3))
    np.testing.assert_array_equal(weights[0], 1)
    np.testing.assert_array_equal(weights[1:], cluster_weights(clusters, 50, np.random.default_rng(3)))


def test_nanmean_leaves_out_what_is_not_there() -> None:
    values = np.array([1.0, np.nan, 4.0, np.nan, -2.0])
    weights = np.array([[1, 1, 1, 1, 1], [2, 5, 0, 0, 1], [0, 3, 0, 1, 0]])
    means = weighted_nanmean(values, weights)
    assert means[0] == np.nanmean(values)
    assert means[1] == np.nanmean(np.repeat(values, weights[1]))
    assert np.isnan(means[2])


def test_the_same_seed_gives_the_same_interval() -> None:
    values, clusters = np.arange(30.0), np.arange(30) // 3
    first, second = (mean_interval(values, clusters, np.random.default_rng(7)) for _ in range(2))
    assert first == second
    assert first.value == values.mean()
