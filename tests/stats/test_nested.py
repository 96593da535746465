import numpy as np
import pytest

from unmask.stats import auc, group_folds, nested_layer_auc, permutation_p, permuted_labels


def test_a_planted_layer_is_found_and_each_fold_is_scored_on_its_scale() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    folds = np.arange(60) // 2 % 5
    scores = rng.normal(size=(4, 60))
    scores[2] = 50 + 10 * (scores[2] + 3 * labels)
    found = nested_layer_auc(scores, labels, folds)
    np.testing.assert_array_equal(found.layers, 2)
    for fold in range(5):
        out = folds == fold
        expected = (scores[2, out] - scores[2, ~out].mean()) / scores[2, ~out].std()
        np.testing.assert_allclose(found.scores[out], expected)
    assert found.auc == pytest.approx(auc(found.scores, labels))
    assert found.auc > 0.95


def test_batches_are_the_same_as_one_at_a_time() -> None:
    rng = np.random.default_rng(1)
    scores, labels = rng.normal(size=(3, 5, 40)), permuted_labels(np.arange(40) % 2, 3, rng)
    folds = group_folds(np.arange(40) // 2, 4, rng)
    batch = nested_layer_auc(scores, labels, folds)
    assert batch.layers.shape == (3, 4)
    for p in range(3):
        single = nested_layer_auc(scores[p], labels[p], folds)
        np.testing.assert_array_equal(batch.layers[p], single.layers)
        np.testing.assert_allclose(batch.scores[p], single.scores)
        assert batch.auc[p] == pytest.approx(single.auc)


def test_on_noise_the_nested_choice_is_fair_where_the_best_layer_is_not() -> None:
    rng = np.random.default_rng(2)
    labels = np.arange(100) % 2
    scores = rng.normal(size=(600, 20, 100))
    folds = group_folds(np.arange(100), 5, rng, labels)
    nested = nested_layer_auc(scores, labels, folds).auc
    assert nested.mean() == pytest.approx(0.5, abs=0.01)  # standard error .0025
    assert auc(scores, labels).max(-1).mean() > 0.58
    # And the p-value of one against the others, which made the same choice, keeps its level.
    p = np.array([permutation_p(nested[i], nested[100:]) for i in range(100)])
    assert (p <= 0.1).mean() < 0.18


def test_folds_keep_groups_whole_and_share_out_the_classes() -> None:
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(60), rng.integers(1, 6, 60))
    labels = (rng.random(60) < 0.3).astype(int)[groups]  # whole groups of one class
    folds = group_folds(groups, 5, rng, labels)
    for group in range(60):
        assert np.unique(folds[groups == group]).size == 1
    per_fold = np.array([[np.sum((folds == f) & (labels == c)) for c in (0, 1)] for f in range(5)])
    even = np.array([np.sum(labels == c) / 5 for c in (0, 1)])
    assert np.abs(per_fold - even).max() <= 2
    assert not np.array_equal(folds, group_folds(groups, 5, rng, labels))
    with pytest.raises(ValueError, match="cannot fill"):
        group_folds([0, 0, 1], 3, rng)
