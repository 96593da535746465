"""Rank statistics, batched and weighted, so that a bootstrap resample is one more row of integer weights."""

import numpy as np
import numpy.typing as npt

from unmask.stats._arrays import Floats, as_floats


def auc(scores: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Floats:
    """Area under the ROC curve: how often a positive outscores a negative, ties counting one half.

    Scores are sorted once; leading axes of `scores`, `labels` and `weights` broadcast against one another, so
    `scores [layers, n]` with `weights [resamples, 1, n]` gives `[resamples, layers]`.

    Args:
        scores: `[..., n]`, any unit: only their order matters.
        labels: `[..., n]`, 1 for positives and 0 for negatives.
        weights: `[..., n]`, nonnegative; an integer weight w is the same as w copies of the item. None: all
            1.

    Returns:
        `[...]` (0-d for one list), between 0 and 1. NaN where a class has no weight or a score is NaN.

    Raises:
        ValueError: a label is neither 0 nor 1, or a weight is negative.

    Source: Mann and Whitney 1947; Bamber 1975.
    """
    scores, positive = as_floats(scores), as_floats(labels)
    if not np.isin(positive, (0.0, 1.0)).all():
        raise ValueError(
            f"labels must be 0 or 1, got {np.unique(positive)[:5]}; map the two poles to 0 and 1."
        )
    weight = None if weights is None else as_floats(weights)
    if weight is not None and (weight < 0).any():
        raise ValueError("weights must be nonnegative: each says how often its item was drawn.")

    order = np.argsort(scores, axis=-1)
    positive = _reorder(positive, order)
    negative = 1.0 - positive
    if weight is not None:
        weight = _reorder(weight, order)
        positive, negative = positive * weight, negative * weight
    below = _weight_below(np.take_along_axis(scores, order, axis=-1), negative)
    pairs = positive.sum(-1) * negative.sum(-1)
    won = np.asarray((positive * below).sum(-1), dtype=np.float64)
    undefined = (pairs == 0) | np.isnan(scores).any(-1)
    return np.where(undefined, np.nan, won / np.where(pairs == 0, 1.0, pairs))


def average_ranks(values: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Floats:
    """Ranks from 1, ties sharing their mean rank, along the last axis.

    Args:
        values: `[..., n]`.
        weights: `[..., n]`, nonnegative; the ranks are then those among the weighted copies. None: all 1.

    Returns:
        `[..., n]`; a row that holds a NaN is NaN throughout.
    """
    values = as_floats(values)
    weight = np.ones(values.shape[-1]) if weights is None else as_floats(weights)
    order = np.argsort(values, axis=-1)
    ranks = _weight_below(np.take_along_axis(values, order, axis=-1), _reorder(weight, order)) + 0.5
    back = np.broadcast_to(np.argsort(order, axis=-1), ranks.shape)
    return np.where(np.isnan(values).any(-1, keepdims=True), np.nan, np.take_along_axis(ranks, back, axis=-1))


def spearman(x: npt.ArrayLike, y: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Floats:
    """Spearman's rank correlation, ties sharing their mean rank.

    Args:
        x: `[..., n]`.
        y: `[..., n]`, broadcast against `x`.
        weights: `[..., n]`, nonnegative, as in `auc`. None: all 1.

    Returns:
        `[...]`, between −1 and 1. NaN where either side is constant or holds a NaN.
    """
    rank_x, rank_y = average_ranks(x, weights), average_ranks(y, weights)
    weight = np.ones(rank_x.shape[-1]) if weights is None else as_floats(weights)
    total = weight.sum(-1, keepdims=True)
    rank_x = rank_x - (weight * rank_x).sum(-1, keepdims=True) / total
    rank_y = rank_y - (weight * rank_y).sum(-1, keepdims=True) / total
    covariance = np.asarray((weight * rank_x * rank_y).sum(-1), dtype=np.float64)
    scale = np.sqrt((weight * rank_x**2).sum(-1) * (weight * rank_y**2).sum(-1))
    return np.where(scale > 0, covariance / np.where(scale > 0, scale, 1.0), np.nan)


def _reorder(values: Floats, order: npt.NDArray[np.intp]) -> Floats:
    """`values` along the last axis in `order`, leading axes broadcast."""
    if order.ndim == 1:
        return values[..., order]
    lead = np.broadcast_shapes(values.shape[:-1], order.shape[:-1])
    values = np.broadcast_to(values, (*lead, values.shape[-1]))
    return np.take_along_axis(values, np.broadcast_to(order, values.shape), axis=-1)


def _weight_below(ordered: Floats, weight: Floats) -> Floats:
    """For each place of a sorted row, the weight strictly below it plus half the weight tied with it (its own
    too)."""
    through = np.cumsum(weight, axis=-1)
    new = ordered[..., 1:] != ordered[..., :-1]
    if new.all():  # no ties: the usual case for activations, and twice as fast
        return through - 0.5 * weight
    place = np.arange(ordered.shape[-1])
    edge = np.ones((*ordered.shape[:-1], 1), dtype=np.bool_)
    first = np.maximum.accumulate(np.where(np.concatenate([edge, new], axis=-1), place, 0), axis=-1)
    last_or_end = np.where(np.concatenate([new, edge], axis=-1), place, ordered.shape[-1])
    last = np.minimum.accumulate(last_or_end[..., ::-1], axis=-1)[..., ::-1]
    before = through - weight
    return 0.5 * (_reorder(before, first) + _reorder(through, last))
