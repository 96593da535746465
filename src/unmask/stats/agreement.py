"""How good a judge is, and what rates would have been under a judge who makes no mistakes."""

from itertools import combinations

import numpy as np
import numpy.typing as npt

from unmask.stats._arrays import Floats, as_floats

_MOST_CLASSES = 10


def confusion_matrix(
    truth: npt.ArrayLike, judged: npt.ArrayLike, n_classes: int, weights: npt.ArrayLike | None = None
) -> Floats:
    """How often each true class was judged as each class.

    Args:
        truth: `[n]`, classes 0 … n_classes−1.
        judged: `[n]`, likewise.
        n_classes: k.
        weights: `[..., n]`, such as the rows of `cluster_weights`. None: all 1.

    Returns:
        `[..., k, k]`, rows true, columns judged, in items.

    Raises:
        ValueError: a class is out of range, or the lengths differ.
    """
    true, said = np.asarray(truth, dtype=np.int64), np.asarray(judged, dtype=np.int64)
    if true.shape != said.shape or true.ndim != 1:
        raise ValueError(
            f"truth and judged must be two lists of one length, got {true.shape} and {said.shape}."
        )
    classes = np.concatenate([true, said])
    if classes.size and not np.isin(classes, np.arange(n_classes)).all():
        raise ValueError(f"classes must be 0 to {n_classes - 1}, got {np.unique(classes)}.")
    cell = np.zeros((true.size, n_classes * n_classes))
    cell[np.arange(true.size), true * n_classes + said] = 1.0
    weight = np.ones(true.size) if weights is None else as_floats(weights)
    return (weight @ cell).reshape(*weight.shape[:-1], n_classes, n_classes)


def accuracy(confusion: npt.ArrayLike) -> Floats:
    """Share of items judged right: `[..., k, k] -> [...]`."""
    confusion = as_floats(confusion)
    return np.trace(confusion, axis1=-2, axis2=-1) / confusion.sum((-2, -1))


def cohen_kappa(confusion: npt.ArrayLike) -> Floats:
    """Agreement beyond what the two margins give by chance: `[..., k, k] -> [...]`.

    1 is perfect, 0 is chance; NaN where one class is all that either side knows.

    Source: Cohen 1960.
    """
    confusion = as_floats(confusion)
    total = confusion.sum((-2, -1))
    by_chance = (confusion.sum(-1) * confusion.sum(-2)).sum(-1) / total**2
    varies = by_chance < 1
    beyond = accuracy(confusion) - by_chance
    return np.where(varies, beyond / np.where(varies, 1.0 - by_chance, 1.0), np.nan)


def correct_by_confusion(observed: npt.ArrayLike, confusion: npt.ArrayLike) -> Floats:
    """True class rates from judged ones, undoing the judge's confusion.

    The rates π on the simplex that minimise ‖observed − π·C‖², C being the confusion with rows made to sum to
    1. With few classes this is exact: the minimum over every face of the simplex is a linear solve, and the
    best one that is nonnegative is the answer. Where plain inversion gives valid rates, these are they; a
    perfect judge changes nothing.

    Args:
        observed: `[..., k]`, judged rates or counts.
        confusion: `[..., k, k]`, rows true, columns judged, in counts or rates; broadcast against `observed`.

    Returns:
        `[..., k]`, nonnegative, summing to 1. NaN where a true class has no labelled item or nothing was
        observed.

    Raises:
        ValueError: shapes that do not fit, or more than 10 classes (the faces number 2ᵏ).

    Source: Rogan and Gladen 1978 for two classes; Hopkins and King 2010 for more.
    """
    observed, confusion = as_floats(observed), as_floats(confusion)
    k = observed.shape[-1]
    if confusion.shape[-2:] != (k, k) or k > _MOST_CLASSES:
        raise ValueError(
            f"{k} rates need a {k} × {k} confusion (at most {_MOST_CLASSES}), got {confusion.shape}."
        )
    per_class, total = confusion.sum(-1, keepdims=True), observed.sum(-1, keepdims=True)
    defined = (per_class > 0).all((-2, -1)) & (total > 0).all(-1)
    rates = observed / np.where(total > 0, total, 1.0)
    says = confusion / np.where(per_class > 0, per_class, 1.0)

    lead = defined.shape
    flat_rates = np.broadcast_to(rates, (*lead, k)).reshape(-1, k)
    flat_says = np.broadcast_to(says, (*lead, k, k)).reshape(-1, k, k)
    best = np.maximum(_nearest_on_simplex(flat_rates, flat_says), 0.0)
    best = (best / best.sum(-1, keepdims=True)).reshape(*lead, k)
    return np.where(defined[..., None], best, np.nan)


def invert_confusion(observed: npt.ArrayLike, confusion: npt.ArrayLike) -> Floats:
    """True class rates from judged ones by plain inversion, which may give rates below 0.

    `correct_by_confusion` gives rates that can be, and for that is biased upwards where a rate is near 0; these are
    not, so differences of rates have their intervals from them.

    Args:
        observed: `[..., k]`, judged rates or counts.
        confusion: `[..., k, k]`, as there.

    Returns:
        `[..., k]`; they sum to 1 where the judge can tell all classes apart. NaN as there.

    Source: Rogan and Gladen 1978.
    """
    observed, confusion = as_floats(observed), as_floats(confusion)
    per_class, total = confusion.sum(-1, keepdims=True), observed.sum(-1, keepdims=True)
    defined = (per_class > 0).all((-2, -1)) & (total > 0).all(-1)
    rates = observed / np.where(total > 0, total, 1.0)
    says = confusion / np.where(per_class > 0, per_class, 1.0)
    return np.where(defined[..., None], (rates[..., None, :] @ np.linalg.pinv(says))[..., 0, :], np.nan)


def _nearest_on_simplex(rates: Floats, says: Floats) -> Floats:
    """`[n, k]`, the rates on the simplex that fit best.

    The minimum over a face is the one over the simplex where it is nonnegative and no corner off the face would lower
    the misfit (the conditions of Karush, Kuhn and Tucker). So a face is left as soon as its minimum has a negative
    rate; only rows that this walk does not settle are held against every face.
    """
    n, k = rates.shape
    best = np.full((n, k), np.nan)
    face_of = np.full(n, 2**k - 1)
    open_ = np.arange(n)
    for _ in range(k):
        left: list[npt.NDArray[np.intp]] = []
        for code in np.unique(face_of[open_]):
            rows = open_[face_of[open_] == code]
            on_face = (code >> np.arange(k)) & 1 == 1
            found = _best_on_face(rates[rows], says[rows], np.flatnonzero(on_face))
            valid = (found >= -1e-12).all(-1)
            # Half the misfit's slope along each rate, less its slope along the face, where it is all one.
            slope = (((found[:, None] @ says[rows])[:, 0] - rates[rows])[:, None] @ says[rows].mT)[:, 0]
            level = slope[:, on_face].mean(-1, keepdims=True)
            settled = valid & ((slope - level)[:, ~on_face] >= -1e-12).all(-1)
            best[rows[settled]] = found[settled]
            bits = ((found >= -1e-12) & on_face) @ (1 << np.arange(k))
            moves = ~settled & ~valid & (bits > 0)
            face_of[rows[moves]] = bits[moves]
            left.append(rows[moves])
        open_ = np.concatenate(left) if left else open_[:0]
    rest = np.flatnonzero(np.isnan(best[:, 0]))
    if rest.size:
        best[rest] = _best_of_all_faces(rates[rest], says[rest])
    return best


def _best_of_all_faces(rates: Floats, says: Floats) -> Floats:
    """`[n, k]`, as `_nearest_on_simplex`, by looking at every face."""
    n, k = rates.shape
    best, least = np.full((n, k), np.nan), np.full(n, np.inf)
    for size in range(k, 0, -1):
        for face in combinations(range(k), size):
            candidate = _best_on_face(rates, says, np.asarray(face))
            misfit = ((rates - (candidate[:, None] @ says)[:, 0]) ** 2).sum(-1)
            # Smaller faces come later and must truly be better, so that rounding does not drop a class.
            better = (candidate >= -1e-12).all(-1) & (misfit < least - 1e-15)
            best = np.where(better[:, None], candidate, best)
            least = np.where(better, misfit, least)
    return best


def _best_on_face(rates: Floats, says: Floats, face: npt.NDArray[np.intp]) -> Floats:
    """Least squares over rates that sum to 1 and are 0 off the face, signs free: `[..., k]`."""
    lead = np.broadcast_shapes(rates.shape[:-1], says.shape[:-2])
    last, others = face[-1], face[:-1]
    candidate = np.zeros((*lead, rates.shape[-1]))
    if others.size:
        # The last rate is 1 − the others, which leaves an ordinary least squares in the others.
        corner = says[..., last, :]
        steps = says[..., others, :] - corner[..., None, :]
        solved = (rates - corner)[..., None, :] @ np.linalg.pinv(steps)
        candidate[..., others] = solved[..., 0, :]
    candidate[..., last] = 1.0 - candidate[..., others].sum(-1)
    return candidate
