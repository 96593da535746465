import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from unmask.stats import ledoit_wolf


@pytest.mark.parametrize(("n", "d"), [(30, 100), (200, 20), (25, 25)])
def test_ledoit_wolf_agrees_with_sklearn(n: int, d: int) -> None:
    rng = np.random.default_rng(n)
    data = 3 + rng.normal(size=(n, d)) * np.geomspace(1, 20, d)
    vectors = rng.normal(size=(4, d))
    witness = LedoitWolf().fit(data)
    ours = ledoit_wolf(data)
    assert ours.shrinkage == pytest.approx(witness.shrinkage_, rel=1e-9)
    np.testing.assert_allclose(
        ours.solve(vectors), np.linalg.solve(witness.covariance_, vectors.T).T, rtol=1e-6
    )


def test_without_shrinkage_a_full_sample_is_inverted_and_a_thin_one_refused() -> None:
    rng = np.random.default_rng(0)
    full = ledoit_wolf(rng.normal(size=(50, 5)))
    plain = type(full)(full.basis, full.variances, 0.0, full.scale)
    covariance = (full.basis.T * full.variances) @ full.basis
    np.testing.assert_allclose(plain.solve(np.eye(5)), np.linalg.inv(covariance))

    thin = ledoit_wolf(rng.normal(size=(4, 9)))
    with pytest.raises(ValueError, match="no inverse"):
        type(thin)(thin.basis, thin.variances, 0.0, thin.scale).solve(np.ones(9))
    with pytest.raises(ValueError, match="do not vary"):
        ledoit_wolf(np.ones((3, 4)))


def test_where_the_fast_driver_finds_no_end_the_plain_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    data = np.random.default_rng(0).normal(size=(30, 12)) @ np.diag(np.arange(1.0, 13.0))
    expected = ledoit_wolf(data).solve(data[:3])

    def no_end(*_: object, **__: object) -> None:
        raise np.linalg.LinAlgError("SVD did not converge")

    monkeypatch.setattr(np.linalg, "svd", no_end)
    np.testing.assert_allclose(ledoit_wolf(data).solve(data[:3]), expected, rtol=1e-10)
