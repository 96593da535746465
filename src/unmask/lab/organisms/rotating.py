"""`rotated`: the concept's subspace is exchanged with another of equal strength; the function is unchanged.

With U and W orthonormal and orthogonal to one another, R = I − (U − W)(U − W)ᵀ swaps U's columns with W's and leaves
the rest. Every write gets R behind it and every read R before it. RMSNorm commutes with R once its gain is folded into
the maps behind it; LayerNorm does where U and W are orthogonal to the ones vector. A norm between a module and the
stream does not: there the exchange is exact up to a factor a token.

Source: that RMSNorm networks have this freedom, Ashkboos et al. 2401.15024 (SliceGPT), theorem 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import nn

from unmask.lab.organisms.axes import Axes, extended, rank_that_holds, span, without
from unmask.lab.organisms.scaling import before_gain
from unmask.lab.organisms.streams import Norm, Streams
from unmask.lab.organisms.weights import Less, change_read, change_written, scale_read
from unmask.models.errors import ModelError

Floats = npt.NDArray[np.float64]
HELD = 0.98
"""Share of every format's difference between the poles, squared, that the exchanged subspace holds by default."""


def exchange(first: Floats, second: Floats) -> Less:
    """R for two subspaces `[d, k]`, orthonormal and orthogonal to one another."""
    difference = first - second
    return Less(difference, difference.T)


def fixed_by_norms(streams: Streams) -> Floats:
    """What R must leave alone, `[d, 1]` or `[d, 0]`: the ones vector where the model centres its states."""
    centred = streams.final.centred or any(read.norm.centred for read in streams.reads)
    return np.full((streams.width, int(centred)), streams.width**-0.5)


def concept_subspace(axes: Axes, rank: int | None, fixed: Floats) -> Floats:
    """What is moved: the span of the poles' differences in every format at every layer, those held best first.

    Args:
        axes: of the base model.
        rank: None takes as many dimensions as hold `HELD` of each difference, at most a quarter of the width.
        fixed: `[d, j]`, orthonormal; the subspace is orthogonal to it.
    """
    rows = np.concatenate([axes.directions(one.name) for one in axes.sets])
    rows = without(rows, fixed)
    width = rows.shape[1]
    most = max(1, width // 4) if rank is None else rank
    basis = span(rows, most)
    if rank is None:
        return basis[:, : rank_that_holds(basis, rows, HELD)]
    return extended(np.concatenate([fixed, basis], axis=1), axes.centred(axes.middle), rank + fixed.shape[1])[
        :, fixed.shape[1] :
    ]


def equal_subspace(states: Floats, concept: Floats, beside: Floats) -> Floats:
    """A subspace orthogonal to the concept along which states vary as much as along the concept's.

    Args:
        states: `[n, d]`, of open questions, centred.
        concept: `[d, k]`, orthonormal.
        beside: `[n', d]`, rows that the subspace shall be orthogonal to as well (probes of the concept), as far as
            there is room.

    Returns:
        `[d, k]`, orthonormal: column i has the variance of the concept's column i, mixed from one principal component
        of the rest that varies more and one that varies less; the nearest component where there are none.
    """
    rank = concept.shape[1]
    room = states.shape[1] - 2 * rank
    taken = extended(concept, beside, rank + max(room // 2, 0)) if len(beside) else concept
    complement = np.linalg.svd(taken, full_matrices=True)[0][:, taken.shape[1] :]
    values, vectors = np.linalg.eigh(
        np.cov((states @ complement).T, bias=True).reshape(complement.shape[1], -1)
    )
    left = [(float(value), complement @ vector) for value, vector in zip(values, vectors.T, strict=True)]
    wanted = ((states @ concept) ** 2).mean(0)
    columns = np.empty_like(concept)
    for place in np.argsort(wanted)[::-1]:
        columns[:, place] = _with_variance(
            float(wanted[place]), left, keep=int((wanted < wanted[place]).sum())
        )
    return columns


def _with_variance(wanted: float, left: list[tuple[float, Floats]], keep: int) -> Floats:
    """A unit mixture of two components of `left` (value, vector) with the wanted variance; what is used is removed."""
    above = [i for i, (value, _) in enumerate(left) if value >= wanted]
    below = [i for i, (value, _) in enumerate(left) if value < wanted]
    if not above or not below or len(left) < keep + 2:
        nearest = min(range(len(left)), key=lambda i: abs(left[i][0] - wanted))
        return left.pop(nearest)[1]
    high, low = min(above, key=lambda i: left[i][0]), max(below, key=lambda i: left[i][0])
    (more, up), (less, down) = left[high], left[low]
    share = (wanted - less) / (more - less)
    for index in sorted((high, low), reverse=True):
        left.pop(index)
    # The other mixture of the same two varies as what is over, and may serve another column.
    left.append((more + less - wanted, np.sqrt(1 - share) * up - np.sqrt(share) * down))
    return np.sqrt(share) * up + np.sqrt(1 - share) * down


def rotate(streams: Streams, turn: Less) -> None:
    """Apply R to the whole residual stream, in place. The unembedding must be untied.

    Raises:
        ModelError: a norm with a bias lets some dimension through with no gain, so its bias cannot be moved.
    """
    for write in streams.writes:
        change_written(write.module, turn if write.post is None else before_gain(turn, write.post))
    for norm, readers in [*((r.norm, r.modules) for r in streams.reads), (streams.final, (streams.head,))]:
        _turn_read(streams, norm, readers, turn)


def _turn_read(streams: Streams, norm: Norm, readers: Sequence[nn.Module], turn: Less) -> None:
    gain, bias = norm.gain, norm.bias
    for module in readers:
        scale_read(module, gain)
        change_read(module, turn)
    if bias is not None and np.any(bias):
        if np.abs(gain).min() < 1e-6 * np.abs(gain).max():
            raise ModelError(
                f"{streams.model.name} cannot be rotated: a norm's gain is 0 where its bias is not; "
                "give another model."
            )
        bias = turn(bias / gain)
    norm.set(np.ones_like(gain), bias)
