"""What chance alone would give: permutation nulls and directions that know the data's covariance but not the
concept."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unmask.stats._arrays import Floats, Tail, as_floats


@dataclass(frozen=True, slots=True)
class Null:
    """An observed value held against a sample of what chance gives."""

    kind: str
    """What was made random, in words: "max over layers, permuted labels"."""

    q95: float
    """The value that chance passes 5 % of the time: the 95 % quantile of the null (of its size when
    two-sided, the 5 % quantile when the tail is `less`)."""

    n: int
    """How many null samples."""

    p: float
    """Permutation p-value of the observed value."""

    @classmethod
    def from_samples(
        cls, kind: str, samples: npt.ArrayLike, observed: float, tail: Tail = "greater"
    ) -> "Null":
        """Summarise null samples `[n]` against one observed value."""
        samples = as_floats(samples)
        sized = np.abs(samples) if tail == "two-sided" else samples
        q95 = float(np.nanquantile(sized, 0.05 if tail == "less" else 0.95))
        return cls(kind, q95, samples.size, float(permutation_p(observed, samples, tail)))


def permutation_p(observed: npt.ArrayLike, null: npt.ArrayLike, tail: Tail = "greater") -> Floats:
    """Permutation p-value with the observed labelling counted among the permutations, so it is never 0.

    Args:
        observed: `[...]`.
        null: `[perms, ...]`; a NaN counts as at least as extreme.
        tail: `greater`, `less`, or `two-sided`, which compares sizes and so wants a null centred on 0.

    Returns:
        `[...]`, in (0, 1].

    Source: Phipson and Smyth 2010.
    """
    observed, null = as_floats(observed), as_floats(null)
    if tail == "two-sided":
        observed, null = np.abs(observed), np.abs(null)
    elif tail == "less":
        observed, null = -observed, -null
    # A permutation that restores the labelling must tie with it, though its sums were taken in another order.
    bar = observed - 1e-12 * np.maximum(np.abs(observed), 1e-3)
    return (1.0 + np.sum(~(null < bar), axis=0)) / (1.0 + null.shape[0])


def max_null(null: npt.ArrayLike) -> Floats:
    """The null of the best layer: each permutation's maximum over layers, `[perms, layers] -> [perms]`.

    A maximum over layers must be held against this, never against one layer's null. Source: Westfall and
    Young 1993.
    """
    return np.max(as_floats(null), axis=-1)


def swap_signs(n_pairs: int, n_perms: int, rng: np.random.Generator) -> Floats:
    """Random signs `[n_perms, n_pairs]`: −1 where the labels of a contrast pair are swapped, +1 where they
    stay.

    Multiply pair differences, or within-pair ±1 labels, by them.
    """
    return 1.0 - 2.0 * rng.integers(0, 2, size=(n_perms, n_pairs)).astype(np.float64)


def permuted_labels(
    labels: npt.ArrayLike, n_perms: int, rng: np.random.Generator, groups: npt.ArrayLike | None = None
) -> Floats:
    """Random relabellings.

    Args:
        labels: `[n]`, of any number of values.
        n_perms: how many.
        rng: source of randomness.
        groups: `[n]`; labels move only within their group (with one contrast pair a group: within-pair
            swaps). None: they move freely.

    Returns:
        `[n_perms, n]`.
    """
    labels = as_floats(labels)
    group = np.zeros(labels.size) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    home = np.argsort(group, kind="stable")
    # Sorting by group plus a fraction shuffles every group in its own place.
    shuffled = np.argsort(group + rng.random((n_perms, labels.size)), axis=1)
    permuted = np.empty((n_perms, labels.size))
    permuted[:, home] = labels[shuffled]
    return permuted


def matched_directions(data: npt.ArrayLike, count: int, rng: np.random.Generator) -> Floats:
    """Random unit directions distributed as the data's own covariance has it.

    A direction drawn evenly over the sphere mostly meets dimensions in which nothing varies, so it is too
    easy a rival. These are Gaussian with the data's covariance: gᵀ·centred / √(n−1) for Gaussian g, and no d
    × d matrix is formed.

    Args:
        data: `[n, d]`, activations; n ≥ 2, not all alike.
        count: how many directions.
        rng: source of randomness.

    Returns:
        `[count, d]`, each of norm 1.

    Raises:
        ValueError: the data do not vary.
    """
    data = as_floats(data)
    centred = data - data.mean(0)
    if not np.any(centred):
        raise ValueError(
            "the data do not vary, so they have no covariance to match; give at least two distinct rows."
        )
    directions = rng.standard_normal((count, data.shape[0])) @ centred
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)
