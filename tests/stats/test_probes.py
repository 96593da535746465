import numpy as np
import pytest
from sklearn.covariance import LedoitWolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.preprocessing import StandardScaler

from unmask.stats import auc, cosine, direction, permuted_labels, probe_scores, standardise

SHAPES = [(40, 90), (90, 40)]  # more dimensions than items, and the other way about


def planted(n: int, d: int, layers: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 3 == 0).astype(float)
    # A few shared factors, as activations have: without them nothing but the round covariance would be left.
    factors = np.einsum("nlk,lkd->nld", rng.normal(size=(n, layers, 5)), rng.normal(size=(layers, 5, d)))
    x = 2 * factors + rng.normal(size=(n, layers, d))
    x[..., :4] += labels[:, None, None]
    return standardise(x), labels


def test_standardise_agrees_with_sklearn_and_drops_what_is_constant() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(5, 3, size=(20, 2, 6))
    x[:, 1, 3] = 0.1
    witness = StandardScaler().fit_transform(x.reshape(20, 12)).reshape(20, 2, 6)
    witness[:, 1, 3] = 0
    np.testing.assert_allclose(standardise(x), witness, atol=1e-9)


def test_mean_difference_is_the_difference_of_means_and_a_slope_for_numbers() -> None:
    x, labels = planted(40, 90)
    found = direction(x, labels)
    np.testing.assert_allclose(found, x[labels == 1].mean(0) - x[labels == 0].mean(0), atol=1e-12)
    points = np.random.default_rng(1).normal(size=40)
    slopes = [[np.polyfit(points, x[:, layer, j], 1)[0] for j in range(90)] for layer in range(3)]
    np.testing.assert_allclose(direction(x, points), slopes, atol=1e-9)


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_ridge_agrees_with_sklearn(n: int, d: int) -> None:
    x, labels = planted(n, d)
    x, labels = x[: n - 7], labels[: n - 7]  # a fold: no longer centred, so the intercept matters
    points = np.random.default_rng(2).normal(size=n - 7)
    found = direction(x, np.stack([labels, points]), "ridge", penalty=3.0)
    assert found.shape == (2, 3, d)
    for layer in range(3):
        signs = RidgeClassifier(alpha=3.0).fit(x[:, layer], labels)
        np.testing.assert_allclose(2 * found[0, layer], np.ravel(signs.coef_), atol=1e-9)  # classes as ±1
        numbers = Ridge(alpha=3.0).fit(x[:, layer], points)
        np.testing.assert_allclose(found[1, layer], numbers.coef_, atol=1e-9)


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_the_default_ridge_is_a_mass_mean_probe_with_ledoit_wolf_s_shrinkage(n: int, d: int) -> None:
    x, labels = planted(n, d)
    found = direction(x, labels, "ridge")
    for layer in range(3):
        features = x[:, layer]
        shrunk = LedoitWolf().fit(features)
        difference = features[labels == 1].mean(0) - features[labels == 0].mean(0)
        with_total = np.linalg.solve(shrunk.covariance_, difference)
        assert cosine(found[layer], with_total) == pytest.approx(1, abs=1e-9)
        assert shrunk.shrinkage_ < 1
        # The same axis as LDA's, whose covariance is within classes, with as much added to the diagonal.
        within = features - np.where(
            labels[:, None] == 1, features[labels == 1].mean(0), features[labels == 0].mean(0)
        )
        added = shrunk.shrinkage_ / (1 - shrunk.shrinkage_) * np.trace(shrunk.covariance_) / d
        corrected = np.linalg.solve(within.T @ within / n + added * np.eye(d), difference)
        assert cosine(found[layer], corrected) == pytest.approx(1, abs=1e-9)


def test_ridge_finds_what_noisy_dimensions_hide_from_the_mean_difference() -> None:
    rng = np.random.default_rng(3)
    labels = np.arange(400) % 2
    shared = (
        rng.normal(size=(800, 1)) @ rng.normal(size=(1, 30)) * 2
    )  # one strong nuisance across all features
    x = shared + rng.normal(size=(800, 30)) * 0.5
    x[:, :3] += 0.6 * np.tile(labels, 2)[:, None]
    fit, target = standardise(x[:400, None]), standardise(x[400:, None])
    by_mean = auc(probe_scores(fit, labels, target)[0], labels)
    by_ridge = auc(probe_scores(fit, labels, target, "ridge")[0], labels)
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(fit[:, 0], labels)
    assert by_ridge > by_mean + 0.1
    assert by_ridge == pytest.approx(auc(lda.decision_function(target[:, 0]), labels), abs=0.01)


@pytest.mark.parametrize("kind", ["mean_difference", "ridge"])
@pytest.mark.parametrize("labellings", [1, 300])
def test_scores_are_projections_whichever_way_the_product_is_taken(kind: str, labellings: int) -> None:
    x, labels = planted(40, 90)
    targets, _ = planted(25, 90, seed=4)
    y = permuted_labels(labels, labellings, np.random.default_rng(5))
    expected = np.einsum("pld,mld->plm", direction(x, y, kind), targets)
    np.testing.assert_allclose(probe_scores(x, y, targets, kind), expected, atol=1e-9)
    np.testing.assert_allclose(probe_scores(x, y[0], targets, kind), expected[0], atol=1e-9)


def test_degenerate_labellings_are_nan_and_harm_no_other() -> None:
    x, labels = planted(40, 90)
    both = np.stack([labels, np.ones(40)])
    for kind in ("mean_difference", "ridge"):
        found = direction(x, both, kind)
        np.testing.assert_allclose(found[0], direction(x, labels, kind), atol=1e-12)
        assert np.isnan(found[1]).all()
    assert (direction(np.zeros((40, 1, 5)), labels, "ridge") == 0).all()
    with pytest.raises(ValueError, match=r"\[n, layers, d\]"):
        direction(x[:, 0], labels)
    with pytest.raises(ValueError, match="targets"):
        probe_scores(x, labels, x[:, :2])
