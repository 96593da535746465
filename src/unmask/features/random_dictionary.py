"""A dictionary that learned nothing: random directions in the place of features.

What a trained dictionary shows counts only beyond what this one shows as well. Its directions are drawn with the
states' own covariance, so they meet what varies; a token's code is its k largest projections, k what the trained one
has active on average; and one factor makes up for their overlap. Nothing else is fitted. The frozen decoders of
Korznikov et al. 2602.14111 learn an encoder to their random directions and come nearer to a trained dictionary; that
takes a training run, for which an audit has no time.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unmask.features.autoencoder import SparseAutoencoder, TopK

_MOST_TOKENS = 2048
"""Of those that are given: enough for a covariance's random mixtures."""
_AT_ONCE = 4096


def random_dictionary(sae: SparseAutoencoder, states: Tensor, seed: int) -> SparseAutoencoder:
    """A dictionary of random directions, of the size and sparsity of another.

    Args:
        sae: the other, in float32.
        states: `[n, d]`, tokens of base.
        seed: of the directions.
    """
    draws = torch.Generator().manual_seed(seed)
    some = states[torch.randperm(len(states), generator=draws)[:_MOST_TOKENS]].float()
    bias = some.mean(0)
    centred = some - bias
    rows = torch.cat(
        [
            torch.randn(min(_AT_ONCE, sae.n_latents - first), len(centred), generator=draws) @ centred
            for first in range(0, sae.n_latents, _AT_ONCE)
        ]
    )
    rows /= rows.norm(dim=1, keepdim=True)
    l0 = len(sae.encode(some).latents) / len(some)
    k = min(max(1, round(l0)), sae.n_latents)
    nothing = torch.zeros(sae.n_latents)
    made = SparseAutoencoder(rows, nothing, rows, bias, TopK(k))
    written = made.reconstruct(some) - bias
    factor = float((written * centred).sum() / written.pow(2).sum())
    return SparseAutoencoder(rows, nothing, factor * rows, bias, TopK(k))
