"""LEACE agrees with the authors' own code, and does what it promises."""

import numpy as np
import torch
from concept_erasure import LeaceFitter as Reference
from sklearn.linear_model import LogisticRegression

from unmask.features import LeaceFitter


def planted(n: int = 600, d: int = 24, k: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(d, d, generator=generator, dtype=torch.float64)
    z = torch.randint(0, 2, (n, k), generator=generator).double()
    x = torch.randn(n, d, generator=generator, dtype=torch.float64) @ mixing + 3 * z @ mixing[:k] + 5
    return x, z


def test_agrees_with_concept_erasure():
    for k in (1, 3):
        x, z = planted(k=k)
        fitter = LeaceFitter(x.shape[1], k)
        for part in range(0, len(x), 130):
            fitter.update(x[part : part + 130], z[part : part + 130])
        # Plain LEACE: without the covariance shrinkage and trace constraint that their class adds by default.
        reference = Reference(x.shape[1], k, dtype=torch.float64, shrinkage=False, constrain_cov_trace=False)
        reference.update(x, z)
        torch.testing.assert_close(fitter.eraser()(x), reference.eraser(x), rtol=1e-6, atol=1e-6)


def test_no_linear_classifier_finds_the_concept_and_little_else_moves():
    x, z = planted()
    eraser = LeaceFitter(x.shape[1]).update(x, z).eraser()
    erased = eraser(x)
    before = LogisticRegression(max_iter=5000).fit(x, z[:, 0]).score(x, z[:, 0])
    after = LogisticRegression(max_iter=5000).fit(erased, z[:, 0])
    assert before > 0.9
    assert np.abs(after.predict_proba(erased)[:, 1] - float(z.mean())).max() < 0.01
    assert torch.linalg.matrix_rank(x - erased - (x - erased).mean(0)) == 1


def test_where_the_activations_do_not_vary_nothing_happens():
    x, z = planted()
    x = torch.cat([x, torch.full((len(x), 4), 7.0, dtype=torch.float64)], 1)
    erased = LeaceFitter(x.shape[1]).update(x, z).eraser()(x)
    torch.testing.assert_close(erased[:, -4:], x[:, -4:])
