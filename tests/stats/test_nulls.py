import numpy as np
import pytest
from scipy import stats as scipy_stats

from unmask.stats import (
    Null,
    auc,
    matched_directions,
    max_null,
    permutation_p,
    permuted_labels,
    swap_signs,
)


def test_permutation_p_counts_the_observed_labelling_too() -> None:
    null = np.arange(99.0)
    assert permutation_p(200.0, null) == pytest.approx(1 / 100)
    assert permutation_p(98.0, null) == pytest.approx(2 / 100)
    assert permutation_p(98.0 + 1e-11, null) == pytest.approx(2 / 100)  # a tie but for rounding
    assert permutation_p(0.0, null, "less") == pytest.approx(2 / 100)
    assert permutation_p(-98.0, null, "two-sided") == pytest.approx(2 / 100)
    assert permutation_p(5.0, [np.nan, 1.0, 2.0]) == pytest.approx(2 / 4)
    np.testing.assert_allclose(permutation_p([0.0, 9.0], np.zeros((9, 2))), [1.0, 0.1])


@pytest.mark.parametrize("tail", ["greater", "less", "two-sided"])
def test_permutation_p_agrees_with_scipy_where_every_permutation_can_be_listed(tail: str) -> None:
    rng = np.random.default_rng(0)
    differences = rng.normal(0.5, 1, 9)
    every_sign = 1.0 - 2.0 * ((np.arange(2**9)[:, None] >> np.arange(9)) & 1)
    null = (every_sign * differences).mean(1)
    witness = scipy_stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", alternative=tail, n_resamples=np.inf
    ).pvalue
    # scipy lists all 2⁹ and needs no +1; all but the observed one are our null sample.
    assert permutation_p(differences.mean(), null[1:], tail) == pytest.approx(witness, abs=1e-12)


def test_p_is_uniform_when_labels_mean_nothing_and_one_layer_s_null_is_not_enough_for_the_best() -> None:
    rng = np.random.default_rng(0)
    with_max, with_one = [], []
    for _ in range(1000):
        scores = rng.normal(size=40) + 0.7 * rng.normal(size=(8, 40))  # layers agree, as real ones do
        labels = rng.permutation(np.repeat([0, 1], 20))
        null = auc(scores, permuted_labels(labels, 199, rng)[:, None])
        best = float(auc(scores, labels).max())
        with_max.append(Null.from_samples("max over layers", max_null(null), best).p)
        with_one.append(Null.from_samples("one layer", null[:, 0], best).p)
    # p takes 200 values; spreading each over its step makes exact validity an exactly uniform p.
    spread = np.array(with_max) - rng.random(1000) / 200
    assert scipy_stats.kstest(spread, "uniform").pvalue > 0.05
    assert np.mean(np.array(with_max) <= 0.05) < 0.065
    assert np.mean(np.array(with_one) <= 0.05) > 0.1


def test_null_summary() -> None:
    null = Null.from_samples("permuted labels", np.arange(101.0), 99.5)
    assert (null.kind, null.q95, null.n) == ("permuted labels", 95.0, 101)
    assert null.p == pytest.approx(2 / 102)
    assert Null.from_samples("k", np.arange(101.0), 1.0, "less").q95 == 5.0
    assert Null.from_samples("k", -np.arange(101.0), 1.0, "two-sided").q95 == 95.0


def test_permuted_labels_keep_each_group_s_labels_and_reach_every_arrangement() -> None:
    rng = np.random.default_rng(1)
    labels, groups = np.array([0, 1, 0, 1, 1, 0, 2]), np.array(["a", "b", "a", "b", "b", "a", "a"])
    drawn = permuted_labels(labels, 6000, rng, groups)
    for group in ("a", "b"):
        inside = groups == group
        np.testing.assert_array_equal(
            np.sort(drawn[:, inside], 1), np.sort(np.tile(labels[inside], (6000, 1)), 1)
        )
    # The 2 can stand in any of group a's four places, each a quarter of the time.
    np.testing.assert_allclose((drawn[:, groups == "a"] == 2).mean(0), 0.25, atol=0.025)

    free = permuted_labels(labels, 6000, rng)
    np.testing.assert_allclose((free == 2).mean(0), 1 / 7, atol=0.02)


def test_swap_signs_are_fair_coins() -> None:
    signs = swap_signs(20, 5000, np.random.default_rng(2))
    assert set(np.unique(signs)) == {-1.0, 1.0}
    np.testing.assert_allclose(signs.mean(0), 0, atol=0.06)
    np.testing.assert_allclose(np.corrcoef(signs.T), np.eye(20), atol=0.07)


def test_matched_directions_have_the_data_s_covariance_up_to_length() -> None:
    rng = np.random.default_rng(3)
    spread = np.array([8.0, 4.0, 2.0, 1.0, 1.0, 0.5])
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    data = 5 + (rng.normal(size=(400, 6)) * spread) @ turn
    axes = matched_directions(data, 60_000, rng)
    np.testing.assert_allclose(np.linalg.norm(axes, axis=1), 1)

    # The witness forms the covariance and draws from it.
    gaussian = rng.multivariate_normal(np.zeros(6), np.cov(data.T), 60_000)
    witness = gaussian / np.linalg.norm(gaussian, axis=1, keepdims=True)
    np.testing.assert_allclose(axes.T @ axes / 6e4, witness.T @ witness / 6e4, atol=0.01)
    with pytest.raises(ValueError, match="do not vary"):
        matched_directions(np.ones((3, 4)), 2, rng)
