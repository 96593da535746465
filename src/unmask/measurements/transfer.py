"""Cross-format transfer: a direction fitted on one format of a concept, tested on another.

Within one format words give the answer away; across formats a bag of words stands near chance, so what a
direction still tells apart it knows. The layer is chosen on other folds of the test set than the one scored,
and permuted labels go through the same choice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unmask.measurements.sets import ProbeSet
from unmask.stats import (
    auc,
    bootstrap_weights,
    carried_on,
    class_contrasts,
    group_folds,
    nested_layer_auc,
    permuted_labels,
    probe_scores,
    small_steps,
    swap_signs,
    word_counts,
)

Floats = npt.NDArray[np.float64]
FOLDS = 5
SHRINKAGE = 3.0
"""How the probe's covariance is shrunk: ridge with λ = 3 n on standardised features, three parts of the identity
to one of the data. Chosen among 0.3, 1, 3, 10, 30, Ledoit–Wolf and none (the mean difference) by looking at transfers
of SmolLM2 and gemma-3-270m on the built-in domain, so those two models' AUCs are a little flattered. Over the three
deciding transfers it is level with the mean difference (mean .85 against .83 on gemma, .78 against .77 on SmolLM2);
single transfers go either way by up to .1."""


@dataclass(frozen=True)
class Transfer:
    """One direction from one set to another.

    Attributes:
        curve: `[layers]`, AUC at every layer.
        curve_null_q95: 95 % quantile of the best layer's AUC under permuted labels.
        auc: with the layer chosen inside cross-validation, `[1 + resamples]`, index 0 on the data as they are.
        steps: the same by a bootstrap in small steps, for the change between two models. A probe of a hundred texts is
            noisy, and one fitted on a whole resample is noisier and moves less: whole steps alone gave intervals of the
            change with a coverage of .90 to .93 (`lab.replicates`); of one model's AUC they are right.
        null: the same under permuted labels, `[permutations]`.
        words: a bag of words on the same split, never below chance, `[1 + resamples]`.
        layers: `[folds]`, the layers chosen.
        scores: `[m]`, the test items' out-of-fold scores.
    """

    fit: str
    test: str
    curve: Floats
    curve_null_q95: float
    auc: Floats
    steps: Floats
    null: Floats
    words: Floats
    layers: npt.NDArray[np.int64]
    scores: Floats

    @property
    def excess(self) -> Floats:
        """AUC above words, `[1 + resamples]`."""
        return self.auc - self.words


Transfers = Mapping[tuple[str, str], Transfer]
"""By the names of the set fitted on and the set tested on."""


@dataclass(frozen=True)
class Resampling:
    """The draws that every transfer of a run shares, so that differences between models are paired.

    Attributes:
        weights: for each set, `[1 + resamples, n]`; row 0 is all ones.
        labels: for each set, `[1 + permutations, n]`; row 0 is the true labels.
        folds: for each set, `[n]`.
    """

    weights: dict[str, Floats]
    labels: dict[str, Floats]
    folds: dict[str, npt.NDArray[np.int64]]


def draw(
    sets: dict[str, ProbeSet],
    resamples: int,
    permutations: int,
    rng: Callable[[str], np.random.Generator],
) -> Resampling:
    """Draw once for all sets. Topics are resampled, or persons within their pole; labels are swapped within pairs
    where a set consists of pairs, else shuffled."""
    weights, labels, folds = {}, {}, {}
    for name, probe_set in sets.items():
        weights[name] = bootstrap_weights(
            probe_set.clusters, resamples, rng(f"bootstrap.{name}"), probe_set.strata
        )
        labels[name] = np.concatenate(
            [probe_set.labels[None], _permuted(probe_set, permutations, rng(f"permute.{name}"))]
        )
        folds[name] = group_folds(probe_set.clusters, FOLDS, rng(f"folds.{name}"), probe_set.labels)
    return Resampling(weights, labels, folds)


def _permuted(probe_set: ProbeSet, permutations: int, rng: np.random.Generator) -> Floats:
    labels = probe_set.labels
    if np.array_equal(labels[::2], 1.0 - labels[1::2]) and len(set(probe_set.clusters)) < len(labels):
        flips = np.repeat(swap_signs(len(labels) // 2, permutations, rng), 2, axis=1)
        return np.where(flips > 0, labels, 1.0 - labels)
    return permuted_labels(labels, permutations, rng)


def transfer(
    fit: ProbeSet,
    test: ProbeSet,
    fit_x: Floats,
    test_x: Floats,
    drawn: Resampling,
    words: Floats | None = None,
) -> Transfer:
    """Fit on one set's activations, test on another's; the two may come from different models.

    Args:
        fit: the set that the direction is fitted on.
        test: the set that it is tested on.
        fit_x: `[n, layers, d]`, standardised over `fit`.
        test_x: `[m, layers, d]`, standardised over `test`.
        drawn: shared resamples, permutations and folds.
        words: `[1 + resamples]` from an earlier call on the same two sets.
    """
    # [1 + permutations, layers, m]
    scores = probe_scores(fit_x, drawn.labels[fit.name], test_x, "ridge", SHRINKAGE * len(fit.texts))
    nested = nested_layer_auc(scores, test.labels, drawn.folds[test.name])
    layer_auc = auc(scores, test.labels)
    chosen = nested.layers[0]
    auc_of = _resampled_auc(fit, test, fit_x, test_x, drawn, chosen)
    return Transfer(
        fit.name,
        test.name,
        curve=layer_auc[0],
        curve_null_q95=float(np.quantile(layer_auc[1:].max(-1), 0.95)),
        auc=auc_of[0],
        steps=auc_of[1],
        null=nested.auc[1:],
        words=word_auc(fit, test, drawn) if words is None else words,
        layers=chosen,
        scores=nested.scores[0],
    )


def word_auc(fit: ProbeSet, test: ProbeSet, drawn: Resampling) -> Floats:
    """What a bag of words reaches on the same split and the same resamples, never below chance."""
    fit_words, test_words = word_counts(fit.texts, test.texts, binary=True)
    sd = np.maximum(fit_words.std(0), 1e-9)
    one_layer = np.zeros(FOLDS, dtype=np.int64)
    scaled = (fit_words / sd)[:, None], (test_words / sd)[:, None]
    scored = _scored(fit, test, *scaled, drawn.folds[test.name], one_layer)
    return np.maximum(scored(drawn.weights[fit.name], drawn.weights[test.name]), 0.5)


def _resampled_auc(
    fit: ProbeSet,
    test: ProbeSet,
    fit_x: Floats,
    test_x: Floats,
    drawn: Resampling,
    chosen: npt.NDArray[np.int64],
) -> Floats:
    """AUC of the probe, `[2, 1 + resamples]`: on the data as they are, then on resamples of both sets, whole ones in
    the first row and in small steps in the second. The layers chosen and the shrunk covariance are kept."""
    weights = [drawn.weights[one.name] for one in (fit, test)]
    scored = _scored(fit, test, fit_x, test_x, drawn.folds[test.name], chosen)
    stepped = scored(*(small_steps(some) for some in weights))
    return np.stack([scored(*weights), carried_on(stepped)])


def _scored(
    fit: ProbeSet,
    test: ProbeSet,
    fit_x: Floats,
    test_x: Floats,
    folds: npt.NDArray[np.int64],
    chosen: npt.NDArray[np.int64],
) -> Callable[[Floats, Floats], Floats]:
    """The probe's AUC as a function of the weights `[r, n]` of the fitted items and `[r, m]` of the tested ones.

    The ridge direction is (Σ + λ)⁻¹ times the difference of class means. Weights change the means only, so all
    directions' scores are one product through one `[n, m]` matrix a layer.
    """
    through = {int(layer): _through(fit_x[:, layer], test_x[:, layer]) for layer in set(chosen)}

    def reached(weights: Floats, tested: Floats) -> Floats:
        contrast = class_contrasts(weights, fit.labels)
        pooled = np.empty((len(weights), len(test.texts)))
        scores_at = {layer: contrast @ matrix for layer, matrix in through.items()}
        for layer, fold in zip(chosen, np.unique(folds), strict=True):
            scores = scores_at[int(layer)]
            seen = scores[:, folds != fold]
            sd = seen.std(1, keepdims=True)
            held_out = folds == fold
            pooled[:, held_out] = (scores[:, held_out] - seen.mean(1, keepdims=True)) / np.where(
                sd > 0, sd, 1.0
            )
        return np.asarray(auc(pooled, test.labels, tested))

    return reached


def _through(fit: Floats, test: Floats) -> Floats:
    """`[n, m]`: what each fitted item gives each test item, through the shrunk covariance (Woodbury's form where there
    are fewer items than features)."""
    centred = fit - fit.mean(0)
    n, d = fit.shape
    gram = centred @ centred.T if n <= d else centred.T @ centred
    gram[np.diag_indices_from(gram)] += SHRINKAGE * n
    if n <= d:
        return np.linalg.solve(gram, centred @ test.T)
    return centred @ np.linalg.solve(gram, test.T)
