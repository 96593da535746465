import numpy as np
import pytest
from scipy import stats as scipy_stats

from unmask.stats import cluster_weights, tost_bootstrap, tost_t, weighted_mean


@pytest.mark.parametrize("shift", [0.0, 0.05, -0.12, 0.4])
def test_tost_t_is_two_one_sided_t_tests(shift: float) -> None:
    values = np.random.default_rng(0).normal(shift, 0.5, 60)
    margin = 0.2
    above_low = scipy_stats.ttest_1samp(values, -margin, alternative="greater").pvalue
    below_high = scipy_stats.ttest_1samp(values, margin, alternative="less").pvalue
    result = tost_t(values, margin)
    assert result.p == pytest.approx(max(above_low, below_high), rel=1e-9)
    assert result.equivalent == (result.p < 0.05)
    witness = scipy_stats.ttest_1samp(values, 0).confidence_interval(0.9)
    np.testing.assert_allclose([result.interval.low, result.interval.high], [witness.low, witness.high])


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.4])
def test_tost_bootstrap_agrees_with_the_t_test_on_normal_data(shift: float) -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(shift, 0.5, 30)
    replicates = weighted_mean(values, cluster_weights(np.arange(30), 200_000, rng))
    by_bootstrap = tost_bootstrap(values.mean(), replicates, 0.3, clusters=30)
    by_t = tost_t(values, 0.3)
    assert by_bootstrap.p == pytest.approx(by_t.p, abs=0.01)
    assert by_bootstrap.equivalent == by_t.equivalent
    assert by_bootstrap.interval.level == pytest.approx(0.9)


def test_an_effect_on_the_margin_is_called_none_at_most_one_time_in_twenty() -> None:
    """The error that matters: saying "no effect" of an effect as large as the margin."""
    wrong = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        values = rng.normal(0.3, 0.5, 30)
        replicates = weighted_mean(values, cluster_weights(np.arange(30), 1000, rng))
        wrong += tost_bootstrap(values.mean(), replicates, 0.3, clusters=30).equivalent
    assert 0.02 <= wrong / 400 <= 0.075


def test_few_data_are_not_evidence_of_no_effect() -> None:
    values = np.random.default_rng(2).normal(0, 1, 5)
    assert scipy_stats.ttest_1samp(values, 0).pvalue > 0.05
    assert not tost_t(values, 0.3).equivalent
    undefined = np.r_[np.zeros(900), np.full(100, np.nan)]
    assert not tost_bootstrap(0.0, undefined, 0.1).equivalent
    with pytest.raises(ValueError, match="margin must be positive"):
        tost_t(values, 0.0)
