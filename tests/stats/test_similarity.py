from itertools import permutations

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from unmask.stats import cosine, ledoit_wolf, linear_cka_debiased, mahalanobis_cosine


def hsic_by_definition(k: np.ndarray, m: np.ndarray) -> float:
    """Song et al. 2012, equation 4: the mean over distinct items i, j, q, r, one by one."""
    n = len(k)
    total = sum(k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q]) for i, j, q, r in permutations(range(n), 4))
    return total / (n * (n - 1) * (n - 2) * (n - 3))


def test_cka_agrees_with_the_definition() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 5)), rng.normal(size=(9, 3))
    y[:, 0] += x[:, 0]
    k, m = x @ x.T, y @ y.T
    witness = hsic_by_definition(k, m) / np.sqrt(hsic_by_definition(k, k) * hsic_by_definition(m, m))
    assert linear_cka_debiased(x, y) == pytest.approx(witness, rel=1e-9)
    assert linear_cka_debiased(x + 7, y - 3) == pytest.approx(witness, rel=1e-9)  # means do not matter


def test_cka_is_zero_for_unrelated_wide_data_and_one_for_a_turned_and_scaled_copy() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 50, 40, 500))
    unrelated = linear_cka_debiased(x, y)
    assert unrelated.shape == (50,)
    assert unrelated.mean() == pytest.approx(0, abs=0.02)  # the plain estimator gives about .93 here
    turn = np.linalg.qr(rng.normal(size=(500, 500)))[0]
    np.testing.assert_allclose(linear_cka_debiased(x, 3 * x @ turn + 1), 1)
    assert np.isnan(linear_cka_debiased(np.ones((5, 2)), rng.normal(size=(5, 2))))
    with pytest.raises(ValueError, match="same items"):
        linear_cka_debiased(x[0], y[0, :-1])


def test_cosines_agree_with_whitening_by_hand() -> None:
    rng = np.random.default_rng(2)
    data = rng.normal(size=(30, 60)) * np.geomspace(1, 30, 60)
    u, v = rng.normal(size=(2, 4, 60))
    np.testing.assert_allclose(
        cosine(u, v), (u * v).sum(1) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1)
    )
    precision = np.linalg.inv(LedoitWolf().fit(data).covariance_)
    whiten = np.linalg.cholesky(precision)
    np.testing.assert_allclose(
        mahalanobis_cosine(u, v, ledoit_wolf(data)), cosine(u @ whiten, v @ whiten), atol=1e-9
    )
    assert np.isnan(cosine(np.zeros(3), np.ones(3)))
