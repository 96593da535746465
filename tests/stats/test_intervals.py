import numpy as np
import pytest
from scipy import stats as scipy_stats

from unmask.stats import (
    Interval,
    basic_interval,
    bca_interval,
    percentile_interval,
    rate_interval,
    ratio_interval,
)


def test_an_interval_says_on_which_side_of_a_bar_it_lies() -> None:
    interval = Interval(0.2, 0.1, 0.3, 0.95)
    assert interval.above(0.05)
    assert not interval.above(0.1)
    assert interval.below(0.31)
    assert interval.inside(0.0, 0.5)
    assert not interval.inside(0.15, 0.5)
    undefined = Interval(float("nan"), float("nan"), float("nan"), 0.95)
    assert not any([undefined.above(0), undefined.below(0), undefined.inside(-1, 1)])


@pytest.mark.parametrize("method", ["percentile", "basic", "BCa"])
def test_each_kind_agrees_with_scipy_on_the_same_replicates(method: str) -> None:
    rng = np.random.default_rng(0)
    values = rng.exponential(size=60)
    drawn = values[rng.integers(0, 60, (20_000, 60))].mean(1)
    # scipy goes on from replicates that it is handed, and with n_resamples=0 adds none of its own.
    carried = scipy_stats.bootstrap((values,), np.mean, n_resamples=2, method="basic", rng=rng)
    carried.bootstrap_distribution = drawn
    witness = scipy_stats.bootstrap(
        (values,), np.mean, n_resamples=0, method=method, bootstrap_result=carried
    ).confidence_interval

    jackknife = np.array([np.delete(values, i).mean() for i in range(60)])
    ours = {
        "percentile": percentile_interval(values.mean(), drawn),
        "basic": basic_interval(values.mean(), drawn),
        "BCa": bca_interval(values.mean(), drawn, jackknife),
    }[method]

    # One order statistic apart at most, since ours does not interpolate.
    np.testing.assert_allclose([ours.low, ours.high], [witness.low, witness.high], atol=2e-3)


def test_widening_for_few_clusters_makes_a_normal_sample_s_interval_student_s() -> None:
    rng = np.random.default_rng(1)
    clusters, sd = 10, 1.0
    # Bootstrap replicates of a mean of 10 normal values with sample sd 1 spread by the divisor-n sd.
    replicates = rng.normal(0, sd * np.sqrt(9 / 10) / np.sqrt(10), 2_000_000)
    interval = percentile_interval(0.0, replicates, 0.95, clusters)
    student = scipy_stats.t.ppf(0.975, 9) * sd / np.sqrt(10)
    assert interval.high == pytest.approx(student, rel=0.01)
    assert interval.low == pytest.approx(-student, rel=0.01)
    with pytest.raises(ValueError, match="at least 2 clusters"):
        percentile_interval(0.0, replicates[:10], 0.95, clusters=1)


def test_undefined_replicates_widen_and_never_narrow() -> None:
    replicates = np.linspace(0, 1, 1001)
    few, many = replicates.copy(), replicates.copy()
    few[500:510] = np.nan
    many[500:530] = np.nan
    whole, widened = percentile_interval(0.5, replicates), percentile_interval(0.5, few)
    assert widened.low < whole.low
    assert widened.high > whole.high
    unbounded = percentile_interval(0.5, many)
    assert (unbounded.low, unbounded.high) == (-np.inf, np.inf)


def test_a_ratio_is_unbounded_exactly_when_its_denominator_cannot_be_told_from_zero() -> None:
    rng = np.random.default_rng(2)
    noise = rng.normal(size=(2, 4000))
    firm = ratio_interval(0.5, 1.0, 0.5 + 0.05 * noise[0], 1.0 + 0.1 * noise[1])
    # Fieller's interval for independent normal numerator and denominator.
    g = (1.96 * 0.1) ** 2
    reach = 1.96 * np.sqrt(0.05**2 * (1 - g) + 0.5**2 * 0.1**2)
    np.testing.assert_allclose([firm.low, firm.high], (0.5 + np.array([-reach, reach])) / (1 - g), atol=0.015)

    weak = ratio_interval(0.5, 1.0, 0.5 + 0.05 * noise[0], 1.0 + 0.6 * noise[1])  # 1.7 standard errors from 0
    assert (weak.low, weak.high) == (-np.inf, np.inf)
    bounded = ratio_interval(0.5, 1.0, 0.5 + 0.05 * noise[0], 1.0 + 0.4 * noise[1])  # 2.5
    assert np.isfinite([bounded.low, bounded.high]).all()
    # The replicates of the weak one, taken at face value, would have claimed a bound.
    assert np.isfinite(percentile_interval(0.5, (0.5 + 0.05 * noise[0]) / (1.0 + 0.6 * noise[1])).low)

    mirrored = ratio_interval(0.5, -1.0, 0.5 + 0.05 * noise[0], -1.0 + 0.1 * noise[1])
    assert mirrored.value == -0.5
    assert mirrored.below(0)
    assert np.isinf(ratio_interval(1.0, 0.0, noise[0], noise[1]).high)


@pytest.mark.parametrize(("hits", "trials"), [(0, 30), (3, 30), (30, 30)])
def test_rate_interval_agrees_with_scipy(hits: int, trials: int) -> None:
    witness = scipy_stats.binomtest(hits, trials).proportion_ci(0.95, method="exact")
    ours = rate_interval(hits, trials)
    np.testing.assert_allclose([ours.low, ours.high], [witness.low, witness.high], atol=1e-12)
    assert rate_interval(0, 300, 0.9).high == pytest.approx(3 / 300, rel=0.01)
