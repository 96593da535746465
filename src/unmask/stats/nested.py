"""Choosing a layer without fooling oneself: the choice is made on other folds than the one that is scored."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unmask.stats._arrays import Floats, Ints, as_floats
from unmask.stats.ranks import auc


@dataclass(frozen=True, slots=True)
class NestedAuc:
    """What a probe reaches when its layer is chosen inside cross-validation."""

    scores: Floats
    """`[..., m]`, out-of-fold scores, in sd of the chosen layer over the fold's training items."""

    layers: Ints
    """`[..., folds]`, the layer that the other folds chose, in the order of the sorted fold names."""

    auc: Floats
    """`[...]`, AUC of the pooled out-of-fold scores."""


def nested_layer_auc(scores: npt.ArrayLike, labels: npt.ArrayLike, folds: npt.ArrayLike) -> NestedAuc:
    """AUC with the layer chosen on the other folds.

    Permutations go in as leading axes, so that the null makes the same choice as the data do.

    Args:
        scores: `[..., layers, m]`, such as `probe_scores` gives; larger means the positive class.
        labels: `[m]` (or `[..., m]`, a labelling for each leading entry), 0 or 1.
        folds: `[m]`, each item's fold, such as `group_folds` gives.

    Raises:
        ValueError: fewer than two folds.
    """
    scores, labels, folds = as_floats(scores), as_floats(labels), np.asarray(folds)
    names = np.unique(folds)
    if names.size < 2:
        raise ValueError(f"a nested choice needs at least 2 folds, got {names.size}.")
    layer_labels = labels if labels.ndim == 1 else labels[..., None, :]
    pooled = np.empty((*scores.shape[:-2], scores.shape[-1]))
    chosen = np.empty((*scores.shape[:-2], names.size), dtype=np.int64)
    for index, name in enumerate(names):
        held_out = folds == name
        training = scores[..., ~held_out]
        # A layer whose AUC is undefined on these folds is never chosen.
        reached = np.nan_to_num(auc(training, layer_labels[..., ~held_out]), nan=-1.0)
        layer = reached.argmax(-1)
        chosen[..., index] = layer
        pick = layer[..., None, None]
        seen = np.take_along_axis(training, pick, axis=-2)[..., 0, :]
        unseen = np.take_along_axis(scores[..., held_out], pick, axis=-2)[..., 0, :]
        sd = seen.std(-1, keepdims=True)
        pooled[..., held_out] = (unseen - seen.mean(-1, keepdims=True)) / np.where(sd > 0, sd, 1.0)
    return NestedAuc(pooled, chosen, auc(pooled, labels))


def group_folds(
    groups: npt.ArrayLike, k: int, rng: np.random.Generator, labels: npt.ArrayLike | None = None
) -> Ints:
    """Folds that keep every group whole and share out the classes evenly.

    Args:
        groups: `[n]`, each item's group (topic, person).
        k: how many folds.
        rng: breaks ties: the order in which groups of one size are placed.
        labels: `[n]`, classes to balance; None balances the number of items only.

    Returns:
        `[n]`, each item's fold, 0 … k−1.

    Raises:
        ValueError: fewer groups than folds.
    """
    names, group_of = np.unique(np.asarray(groups), return_inverse=True)
    if not 2 <= k <= names.size:
        raise ValueError(f"{names.size} groups cannot fill {k} folds; use 2 to {names.size} folds.")
    class_of = (
        np.zeros(group_of.size, dtype=np.int64)
        if labels is None
        else np.unique(labels, return_inverse=True)[1]
    )
    counts = np.zeros((names.size, int(class_of.max()) + 1))
    np.add.at(counts, (group_of, class_of), 1.0)
    shares = counts / counts.sum(0)
    shuffled = rng.permutation(names.size)
    largest_first = shuffled[np.argsort(-counts.sum(1)[shuffled], kind="stable")]
    filled = np.zeros((k, shares.shape[1]))
    fold_of_group = np.empty(names.size, dtype=np.int64)
    for group in largest_first:
        # What the sum of squared shares would grow by; among equals, the emptiest fold.
        growth = np.round(filled @ shares[group], 12)
        fold = int(np.lexsort((filled.sum(1), growth))[0])
        filled[fold] += shares[group]
        fold_of_group[group] = fold
    return fold_of_group[group_of]
