"""Transfer on planted activations: a shared axis is found at its size, noise is noise, words explain their own."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from scipy.stats import kstest
from sklearn.metrics import roc_auc_score

from measurements.planted import rng_of
from unmask.measurements.sets import ProbeSet
from unmask.measurements.transfer import SHRINKAGE, Resampling, Transfer, draw, transfer
from unmask.stats import standardise, word_counts
from unmask.stats.bootstrap import STEP

LAYERS, D = 4, 10


def people(name: str, n: int) -> ProbeSet:
    """A set without a word in common with any other, so that a bag of words stands at exactly .5."""
    texts = tuple(f"{name}word{k}" for k in range(n))
    return ProbeSet(name, texts, np.arange(n) % 2 * 1.0, texts)


def pairs(name: str, n: int, per_topic: int = 4) -> ProbeSet:
    texts = tuple(f"{name}word{k}" for k in range(n))
    topics = tuple(f"topic {k // (2 * per_topic)}" for k in range(n))
    return ProbeSet(name, texts, np.arange(n) % 2 * 1.0, topics)


def drawn(*sets: ProbeSet, seed: int = 0, resamples: int = 200, permutations: int = 99) -> Resampling:
    return draw({s.name: s for s in sets}, resamples, permutations, lambda name: rng_of(seed, name))


def activations(probe_set: ProbeSet, seed: int, sizes: list[float], along: int = 0) -> np.ndarray:
    """Unit noise, a shift of the format's own, and at each layer the pole along one axis, `size` sd apart."""
    rng = rng_of(seed, probe_set.name, "x")
    x = rng.normal(size=(len(probe_set.texts), len(sizes), D)) + 3 * rng.normal(size=(len(sizes), D))
    for layer, size in enumerate(sizes):
        x[:, layer, along] += size * (probe_set.labels - 0.5)
    return standardise(x)


def run(fit: ProbeSet, test: ProbeSet, sizes: list[float], seed: int, **more: int) -> Transfer:
    return transfer(
        fit,
        test,
        activations(fit, seed, sizes),
        activations(test, seed, sizes, more.pop("test_along", 0)),
        drawn(fit, test, seed=seed, **more),
    )


def test_a_shared_axis_is_found_at_its_planted_size() -> None:
    """AUC of two unit normals `size` apart is Φ(size/√2); the interval holds it at about its level."""
    size = 1.4
    planted = NormalDist().cdf(size / np.sqrt(2)) - 0.5
    inside = 0
    for seed in range(40):
        t = run(pairs("statements", 240), people("implied", 120), [0, 0, size, 0], seed)
        assert set(t.layers) == {2}
        np.testing.assert_array_equal(t.words, 0.5)
        low, high = np.quantile(t.excess[1:], [0.025, 0.975])
        inside += low <= planted <= high
        assert t.excess[0] == pytest.approx(planted, abs=0.16)
        assert (t.null < t.auc[0]).mean() > 0.9
    assert inside >= 34


def test_the_estimate_is_the_auc_of_held_out_scores_by_hand() -> None:
    fit, test = pairs("statements", 48), people("implied", 40)
    sizes = [0.5, 1.0, 0.0, 1.0]
    x, y = activations(fit, 5, sizes), activations(test, 5, sizes)
    draws = drawn(fit, test, seed=5)
    t = transfer(fit, test, x, y, draws)

    def probe(x: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """`[layers, m]` scores: the difference of means through the covariance of the whole fitting set, shrunk."""
        b, a = (np.average(x[labels == pole], axis=0, weights=weights[labels == pole]) for pole in (1, 0))
        gap = b - a
        covariance = np.einsum("nld,nle->lde", x, x) + SHRINKAGE * len(x) * np.eye(D)
        return np.einsum("mld,ld->lm", y, np.linalg.solve(covariance, gap[..., None])[..., 0])

    scores = probe(x, fit.labels, np.ones(48))
    np.testing.assert_allclose(t.curve, [roc_auc_score(test.labels, row) for row in scores])
    pooled = np.empty(40)
    folds = draws.folds["implied"]
    for index, fold in enumerate(np.unique(folds)):
        seen = folds != fold
        layer = int(np.argmax([roc_auc_score(test.labels[seen], row[seen]) for row in scores]))
        assert t.layers[index] == layer
        pooled[~seen] = (scores[layer, ~seen] - scores[layer, seen].mean()) / scores[layer, seen].std()
    assert t.auc[0] == pytest.approx(roc_auc_score(test.labels, pooled))
    np.testing.assert_allclose(t.scores, pooled)
    # A resample by hand, whole and a quarter of the way to it: weighted means and a weighted AUC.
    for step, found in ((1.0, t.auc[7]), (STEP, t.steps[7])):
        w, v = (1 + step * (draws.weights[name][7] - 1) for name in ("statements", "implied"))
        scores = probe(x, fit.labels, w)
        for index, fold in enumerate(np.unique(folds)):
            seen, layer = folds != fold, t.layers[index]
            pooled[~seen] = (scores[layer, ~seen] - scores[layer, seen].mean()) / scores[layer, seen].std()
        reached = roc_auc_score(test.labels, pooled, sample_weight=v)
        assert found == pytest.approx(t.auc[0] + (reached - t.auc[0]) / step)


def test_poles_that_hardly_overlap_are_not_without_doubt() -> None:
    """Many a sample of 40 persons a pole shows no overlap, or one that no resample in small steps would change."""
    size = NormalDist().inv_cdf(0.9989) * np.sqrt(2)
    found = [run(people("stated", 80), people("implied", 80), [size], seed).auc for seed in range(80)]
    ends = [np.quantile(auc[1:] - auc[1:].mean() + auc[0], [0.025, 0.975]) for auc in found]
    reached = np.mean([auc[0] for auc in found])
    assert reached > 0.985
    assert min(high - low for low, high in ends) > 0.001
    assert np.mean([low <= reached <= high for low, high in ends]) > 0.91


def test_noise_has_no_excess_and_its_p_is_uniform() -> None:
    excesses, p_values = [], []
    for seed in range(120):
        t = run(pairs("statements", 48), people("implied", 40), [0.0] * 3, seed, resamples=1)
        excesses.append(t.excess[0])
        p_values.append((1 + (t.null >= t.auc[0]).sum()) / (1 + len(t.null)))
    assert np.mean(excesses) == pytest.approx(0, abs=3 * np.std(excesses) / np.sqrt(120) + 0.01)
    assert kstest(p_values, "uniform").pvalue > 0.01
    assert np.mean(np.array(p_values) <= 0.05) <= 0.11


def test_an_axis_that_only_one_format_has_does_not_transfer() -> None:
    t = run(pairs("statements", 240), people("implied", 120), [0, 0, 2.0, 0], 3, test_along=1)
    assert abs(t.excess[0]) < 0.15
    assert t.excess[0] < np.quantile(t.null, 0.975) - 0.5


def test_an_inverted_axis_counts_as_none() -> None:
    fit, test = pairs("statements", 240), people("implied", 120)
    x, y = activations(fit, 1, [2.0]), -activations(test, 1, [2.0])
    t = transfer(fit, test, x, y, drawn(fit, test))
    assert t.excess[0] < -0.3


def test_an_axis_made_of_words_has_no_excess() -> None:
    """Both formats use the poles' words; a model that embeds words alone transfers no better than they do."""
    rng = np.random.default_rng(0)
    lean, plain = [f"l{k}" for k in range(12)], [f"p{k}" for k in range(40)]

    def texts(n: int) -> tuple[tuple[str, ...], np.ndarray]:
        labels = np.arange(n) % 2 * 1.0
        rows = []
        for label in labels:
            half = lean[:6] if label else lean[6:]
            marks = [w for w in rng.choice(half, 3) if rng.random() < 0.5]
            rows.append(" ".join([*marks, *rng.choice(plain, 6)]))
        return tuple(rows), labels

    sets = {}
    for name, n in (("statements", 240), ("implied", 160)):
        rows, labels = texts(n)
        sets[name] = ProbeSet(name, rows, labels, tuple(map(str, range(n))))
    fit, test = sets["statements"], sets["implied"]
    vocabulary = word_counts(fit.texts, test.texts, binary=True)
    embed = rng.normal(size=(vocabulary[0].shape[1], 2, 64))
    x, y = (standardise(np.einsum("nv,vld->nld", counts, embed)) for counts in vocabulary)
    t = transfer(fit, test, x, y, drawn(fit, test))
    assert t.auc[0] > 0.75  # it transfers all right
    assert t.words[0] > 0.75
    assert t.excess[0] < 0.03


def test_labels_are_swapped_within_pairs_and_shuffled_among_people() -> None:
    statements, implied = pairs("statements", 48), people("implied", 20)
    draws = drawn(statements, implied)
    np.testing.assert_array_equal(draws.labels["statements"][0], statements.labels)
    within = draws.labels["statements"].reshape(100, 24, 2)
    np.testing.assert_array_equal(within.sum(-1), 1)
    assert 0.3 < (draws.labels["statements"][1:] != statements.labels).mean() < 0.7
    np.testing.assert_array_equal(draws.labels["implied"].sum(1), 10)
    np.testing.assert_array_equal(draws.weights["statements"][0], 1)
    # Topics are drawn whole, and folds keep them whole.
    by_topic = draws.weights["statements"].reshape(201, 6, 8)
    assert (by_topic == by_topic[:, :, :1]).all()
    folds = draws.folds["statements"].reshape(6, 8)
    assert (folds == folds[:, :1]).all()
