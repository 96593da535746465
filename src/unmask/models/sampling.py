"""Picking the next token so that a row's choices depend on its seed and its text alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from unmask.models.tokens import Sampling

_HEADS = (64, 1024)
"""How many of the likeliest tokens are ranked at first, and then; the whole vocabulary is for flatter rows only."""


def pick(logits: Tensor, uniform: Tensor, temperature: float, top_p: float) -> Tensor:
    """Sample one token a row by inverting the cumulative distribution at a given uniform number.

    Args:
        logits: `[B, vocabulary]`.
        uniform: `[B]` in [0, 1).
        temperature: above 0.
        top_p: the smallest set of likeliest tokens with at least this mass is kept; 1 keeps all.

    Returns:
        `[B]` token ids.
    """
    scores = logits.float() / temperature
    if top_p >= 1:
        return _invert(scores.softmax(dim=-1), uniform)
    vocabulary = scores.shape[-1]
    total = scores.logsumexp(dim=-1)
    picked = torch.zeros_like(total, dtype=torch.long)
    left = torch.arange(len(scores), device=scores.device)
    for width in (*(head for head in _HEADS if head < vocabulary), vocabulary):
        # Each row goes by its own mass, so that it does not depend on its batch mates.
        ranked, tokens = (scores if len(left) == len(scores) else scores[left]).topk(width)
        ranked = (ranked - total[left, None]).exp()
        held = ranked.sum(dim=-1) >= top_p if width < vocabulary else torch.ones_like(left, dtype=torch.bool)
        chosen = _invert(_nucleus(ranked[held], top_p), uniform[left[held]])
        picked[left[held]] = tokens[held].gather(1, chosen[:, None])[:, 0]
        left = left[~held]
        if not len(left):
            break
    return picked


def _nucleus(ranked: Tensor, top_p: float) -> Tensor:
    """Ranked probabilities with 0 outside the nucleus: a token is in it while the mass before it is short of top_p."""
    return torch.where(ranked.cumsum(dim=-1) - ranked < top_p, ranked, 0)


def _invert(weights: Tensor, uniform: Tensor) -> Tensor:
    """`[B]` indices at which the cumulative weights `[B, n]` pass `uniform` of their total."""
    cumulative = weights.cumsum(dim=-1)
    total = cumulative[:, -1]
    # Just short of the total at most: rounding must not step past the last token that has any weight.
    target = (uniform.to(total) * total).minimum(total * (1 - 1e-6))
    return torch.searchsorted(cumulative, target[:, None], right=True)[:, 0]


def draws(seeds: Sequence[int], sampling: Sampling) -> Tensor:
    """`[rows, max_new_tokens]` uniform numbers; row i's come from `seeds[i]` alone, whoever its batch mates are."""
    numbers = [np.random.Generator(np.random.Philox(seed)).random(sampling.max_new_tokens) for seed in seeds]
    return torch.from_numpy(np.stack(numbers).astype(np.float32)).clamp_max(1 - 2**-24)


class NoTokenError(Exception):
    """Logits from which no token can be picked.

    Attributes:
        row: the first such row of the batch.
        new: the tokens that it had been given before.
    """

    def __init__(self, row: int, new: tuple[int, ...]) -> None:
        super().__init__(f"The logits of row {row} are not finite after {len(new)} new tokens.")
        self.row = row
        self.new = new
