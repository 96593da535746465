from __future__ import annotations

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge

from unmask.models.judges.domain.ridge import choose_ridge, fit_ridge


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 6))
    return x @ x.T + 1, rng.standard_normal((40, 2)), rng.uniform(0.2, 2, 40), np.arange(40) // 5


def test_it_agrees_with_sklearn(data) -> None:
    kernel, targets, weights, groups = data
    ours = fit_ridge(kernel, targets, weights, groups, 0.7)
    theirs = KernelRidge(alpha=0.7, kernel="precomputed").fit(kernel, targets, sample_weight=weights)
    np.testing.assert_allclose(kernel @ ours.shares, theirs.predict(kernel), atol=1e-8)


def test_held_out_predictions_are_those_of_fits_without_the_group(data) -> None:
    kernel, targets, weights, groups = data
    ours = fit_ridge(kernel, targets, weights, groups, 0.7)
    for group in range(8):
        out, rest = np.flatnonzero(groups == group), np.flatnonzero(groups != group)
        fit = fit_ridge(kernel[np.ix_(rest, rest)], targets[rest], weights[rest], groups[rest], 0.7)
        np.testing.assert_allclose(ours.held_out[out], kernel[np.ix_(out, rest)] @ fit.shares, atol=1e-8)


def test_the_largest_of_equal_penalties_is_chosen(data) -> None:
    assert choose_ridge(*data, (0.1, 1.0, 10.0), lambda held_out: 0.0).penalty == 10.0
