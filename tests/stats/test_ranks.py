import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats as scipy_stats
from sklearn.metrics import roc_auc_score

from unmask.stats import auc, average_ranks, spearman

few_values = st.integers(-4, 4).map(float)  # few, so that ties are common
scores_and_labels = st.integers(2, 30).flatmap(
    lambda n: st.tuples(
        arrays(np.float64, n, elements=few_values),
        arrays(np.int64, n, elements=st.integers(0, 1)).filter(lambda y: 0 < y.sum() < y.size),
    )
)


@pytest.mark.parametrize("decimals", [0, 1, 12])
def test_auc_agrees_with_sklearn_with_ties_and_weights(decimals: int) -> None:
    rng = np.random.default_rng(decimals)
    scores = rng.normal(size=(3, 80)).round(decimals)
    labels = rng.integers(0, 2, 80)
    weights = rng.integers(0, 4, (5, 1, 80))

    plain, weighted = auc(scores, labels), auc(scores, labels, weights)

    assert weighted.shape == (5, 3)
    for layer in range(3):
        assert plain[layer] == pytest.approx(roc_auc_score(labels, scores[layer]), abs=1e-12)
        for b in range(5):
            witness = roc_auc_score(labels, scores[layer], sample_weight=weights[b, 0])
            assert weighted[b, layer] == pytest.approx(witness, abs=1e-12)


def test_auc_takes_one_list_of_scores_against_many_labellings_and_weights() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=40).round(1), rng.integers(0, 2, (6, 40))
    weights = rng.random((6, 40))
    expected = [roc_auc_score(y, scores, sample_weight=w) for y, w in zip(labels, weights, strict=True)]
    np.testing.assert_allclose(auc(scores, labels, weights), expected, atol=1e-12)


def test_auc_is_nan_for_an_empty_class_or_a_nan_score_and_refuses_other_labels() -> None:
    assert np.isnan(auc([1.0, 2.0], [1, 1]))
    assert np.isnan(auc([1.0, 2.0, 3.0], [0, 1, 1], [0, 1, 1]))
    np.testing.assert_array_equal(auc([[1.0, np.nan], [1.0, 2.0]], [0, 1]), [np.nan, 1.0])
    with pytest.raises(ValueError, match="labels must be 0 or 1"):
        auc([1.0, 2.0], [-1, 1])
    with pytest.raises(ValueError, match="nonnegative"):
        auc([1.0, 2.0], [0, 1], [1, -1])


@given(scores_and_labels)
def test_auc_sees_only_order_and_flips_with_the_labels(case: tuple[np.ndarray, np.ndarray]) -> None:
    scores, labels = case
    reached = auc(scores, labels)
    assert auc(np.exp(scores) + 3, labels) == pytest.approx(reached, abs=1e-12)
    assert auc(scores, 1 - labels) == pytest.approx(1 - reached, abs=1e-12)
    assert auc(-scores, labels) == pytest.approx(1 - reached, abs=1e-12)


@given(arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(1, 20)), elements=few_values))
def test_average_ranks_agree_with_scipy(values: np.ndarray) -> None:
    np.testing.assert_allclose(average_ranks(values), scipy_stats.rankdata(values, axis=-1))


def test_spearman_agrees_with_scipy_and_a_weight_is_a_number_of_copies() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4, 60)).round(1)
    y = (x[0] + rng.normal(size=60)).round(1)
    weights = rng.integers(0, 3, (5, 1, 60))

    plain, weighted = spearman(x, y), spearman(x, y, weights)

    assert weighted.shape == (5, 4)
    for layer in range(4):
        assert plain[layer] == pytest.approx(scipy_stats.spearmanr(x[layer], y).statistic, abs=1e-12)
        for b in range(5):
            copies = np.repeat(np.arange(60), weights[b, 0])
            witness = scipy_stats.spearmanr(x[layer][copies], y[copies]).statistic
            assert weighted[b, layer] == pytest.approx(witness, abs=1e-12)
    assert np.isnan(spearman(np.ones(5), np.arange(5)))
