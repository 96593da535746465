"""`compressed`: the concept's component scaled in every write. `rescaled`: everything scaled, the logits as well."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from unmask.lab.organisms.streams import Norm, Streams
from unmask.lab.organisms.weights import Less, change_written, scale_all

Floats = npt.NDArray[np.float64]
LEAST_GAIN = 1e-3
"""A post-norm's gain below this share of its largest lets nothing through that is worth scaling."""


def compress(streams: Streams, basis: Floats, factor: float, layer: int) -> None:
    """Scale the component in a subspace in every write from a layer on, in place; the read side is untouched.

    Args:
        streams: the model's parts.
        basis: `[d, k]`, orthonormal.
        factor: what the component is multiplied by.
        layer: first layer whose writes are scaled; 0 is the embedding.
    """
    less = Less((1 - factor) * basis, basis.T)
    for write in streams.writes:
        if write.layer >= layer:
            change_written(write.module, less if write.post is None else before_gain(less, write.post))


def before_gain(less: Less, post: Norm) -> Less:
    """The map over written values, as a map over what the norm before them takes.

    What the norm divides by changes a little with it, so behind a norm the map is exact up to a factor a token.
    """
    gain = post.gain
    large = np.abs(gain) > LEAST_GAIN * np.abs(gain).max()
    inverse = np.where(large, 1 / np.where(large, gain, 1.0), 0.0)
    return Less(inverse[:, None] * less.left, less.right * gain)


def rescale(streams: Streams, factor: float) -> None:
    """Scale every write by one factor, which the norms undo, and the read-out by the same, in place.

    Every logit is then the factor times what it was (before a soft cap, where there is one), but for what a norm adds
    to the mean square. A tied unembedding is scaled with the embedding; else the final norm's gain is.
    """
    for write in streams.writes:
        if write.post is None:
            scale_all(write.module, factor)
        else:
            write.post.scale(factor)
    if not streams.tied:
        streams.final.scale(factor)
