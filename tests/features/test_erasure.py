"""LEACE agrees with the authors' own code, and does what it promises."""

import numpy as np
import torch
from concept_erasure import LeaceFitter as Reference
from sklearn.linear_model import LogisticRegression

from unmask.features import LeaceFitter, leace_rank_one


def planted(n: int = 600, d: int = 24, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(d, d))
    z = rng.integers(0, 2, (n, k)).astype(float)
    return rng.normal(size=(n, d)) @ mixing + 3 * z @ mixing[:k] + 5, z


def test_agrees_with_concept_erasure():
    for k in (1, 3):
        x, z = planted(k=k)
        fitter = LeaceFitter(x.shape[1], k)
        for part in range(0, len(x), 130):
            fitter.update(x[part : part + 130], z[part : part + 130])
        # Plain LEACE: without the covariance shrinkage and trace constraint that their class adds by default.
        reference = Reference(x.shape[1], k, dtype=torch.float64, shrinkage=False, constrain_cov_trace=False)
        reference.update(torch.from_numpy(x), torch.from_numpy(z))
        expected = reference.eraser(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(fitter.eraser()(x), expected, rtol=1e-6, atol=1e-6)


def test_no_linear_classifier_finds_the_concept_and_one_direction_moves():
    x, z = planted()
    erased = LeaceFitter(x.shape[1]).update(x, z).eraser()(x)
    before = LogisticRegression(max_iter=5000).fit(x, z[:, 0]).score(x, z[:, 0])
    after = LogisticRegression(max_iter=5000).fit(erased, z[:, 0])
    assert before > 0.9
    assert np.abs(after.predict_proba(erased)[:, 1] - z.mean()).max() < 0.01
    assert np.linalg.matrix_rank(x - erased, tol=1e-8) == 1


def test_the_rank_one_form_is_the_same_map():
    x, z = planted()
    left, right, at = leace_rank_one(x, z[:, 0])
    expected = LeaceFitter(x.shape[1]).update(x, z).eraser()(x)
    np.testing.assert_allclose(x - (x @ right - at)[:, None] * left, expected, rtol=1e-4, atol=1e-4)
    # The decomposition leaves the sign open; an edit is known by its numbers, so it must not hang on the machine.
    for labels in (z[:, 0], 1 - z[:, 0]):
        _, towards, _ = leace_rank_one(x, labels)
        assert (x @ towards)[labels == 1].mean() > (x @ towards)[labels == 0].mean()


def test_where_the_activations_do_not_vary_nothing_happens():
    x, z = planted()
    x = np.concatenate([x, np.full((len(x), 4), 7.0)], axis=1)
    erased = LeaceFitter(x.shape[1]).update(x, z).eraser()(x)
    np.testing.assert_allclose(erased[:, -4:], x[:, -4:])
