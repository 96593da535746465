import numpy as np
import pytest
from scipy.stats import levene

from unmask.stats import brown_forsythe, separation


def test_brown_forsythe_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    groups = [rng.normal(1, 1, 30), rng.exponential(2, 41), rng.normal(0, 3, 22)]
    for chosen in (groups, groups[:2]):
        witness = levene(*chosen, center="median")
        ours = brown_forsythe(*chosen)
        assert ours.statistic == pytest.approx(witness.statistic)
        assert ours.p == pytest.approx(witness.pvalue)
    assert np.isnan(brown_forsythe([1.0, 1.0], [2.0, 2.0]).p)
    with pytest.raises(ValueError, match="at least 2 groups"):
        brown_forsythe([1.0, 2.0])


def test_separation_recovers_what_was_planted_and_d_prime_ignores_scale() -> None:
    rng = np.random.default_rng(1)
    labels = np.arange(40_000) % 2
    values = 100 + rng.normal(1.5 * labels, 2)
    found, squeezed = separation(values, labels), separation(0.1 * values, labels)
    assert found.between == pytest.approx(1.5, abs=0.06)
    assert found.within == pytest.approx(2, abs=0.03)
    assert found.d_prime == pytest.approx(0.75, abs=0.03)
    assert squeezed.within == pytest.approx(0.1 * found.within)
    assert squeezed.d_prime == pytest.approx(found.d_prime)


def test_separation_of_copies_is_separation_under_weights() -> None:
    rng = np.random.default_rng(2)
    values, labels = rng.normal(size=(3, 30)), np.arange(30) % 2
    weights = rng.integers(0, 3, (4, 1, 30))
    found = separation(values, labels, weights)
    assert found.d_prime.shape == (4, 3)
    for b in range(4):
        copies = np.repeat(np.arange(30), weights[b, 0])
        repeated = separation(values[:, copies], labels[copies])
        np.testing.assert_allclose(found.d_prime[b], repeated.d_prime)
        classes = [values[:, copies][:, labels[copies] == c] for c in (0, 1)]
        pooled = sum(c.var(1) * c.shape[1] for c in classes) / (copies.size - 2)
        np.testing.assert_allclose(found.within[b], np.sqrt(pooled))
    assert np.isnan(separation([1.0, 2.0, 3.0], [1, 1, 1]).d_prime)
