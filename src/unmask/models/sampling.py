"""Picking the next token so that a row's choices depend on its seed and its text alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor, StoppingCriteria

from unmask.models.tokens import Sampling

_HEAD = 512
"""How many of the likeliest tokens are ranked at first; a whole vocabulary is sorted for flatter rows only."""


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
    probabilities = torch.softmax(logits.float() / temperature, dim=-1)
    if top_p >= 1:
        return _invert(probabilities, uniform)
    ranked, tokens = probabilities.topk(min(_HEAD, probabilities.shape[-1]))
    picked = tokens.gather(1, _invert(_nucleus(ranked, top_p), uniform)[:, None])[:, 0]
    flat = ranked.sum(dim=-1) < top_p  # each row by itself, so that it does not depend on its batch mates
    if flat.any():
        ranked, tokens = probabilities[flat].sort(dim=-1, descending=True, stable=True)
        picked[flat] = tokens.gather(1, _invert(_nucleus(ranked, top_p), uniform[flat])[:, None])[:, 0]
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


class SeededPick(LogitsProcessor):
    """Leaves only the sampled token standing, so that greedy decoding takes it.

    Row i's numbers come from `seeds[i]` alone: its batch mates and their number do not matter.
    """

    def __init__(self, seeds: Sequence[int], sampling: Sampling, prompt_width: int) -> None:
        draws = [
            np.random.Generator(np.random.Philox(seed)).random(sampling.max_new_tokens) for seed in seeds
        ]
        self._draws = torch.from_numpy(np.stack(draws).astype(np.float32)).clamp_max(1 - 2**-24)
        self._sampling = sampling
        self._width = prompt_width

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]  # theirs wants LongTensor
        uniform = self._draws[:, input_ids.shape[1] - self._width].to(scores.device)
        tokens = pick(scores, uniform, self._sampling.temperature, self._sampling.top_p)
        return torch.full_like(scores, -torch.inf).scatter(1, tokens[:, None], 0.0)


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


class CheckFinite(LogitsProcessor):
    """Ends generation with NoTokenError where a row's largest logit is NaN or infinite."""

    def __init__(self, prompt_width: int) -> None:
        self._width = prompt_width

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]  # theirs wants LongTensor
        finite = scores.amax(dim=-1).isfinite()  # NaN is the largest of all
        if not finite.all():
            row = finite.tolist().index(False)
            raise NoTokenError(row, tuple(input_ids[row, self._width :].tolist()))
        return scores


class StopAtText(StoppingCriteria):
    """A row is done when its new text holds one of the stop strings."""

    def __init__(self, decode: Callable[[list[int]], str], stops: Sequence[str], prompt_width: int) -> None:
        self._decode = decode
        self._stops = tuple(stops)
        self._width = prompt_width
        self._tail = (
            max(map(len, stops)) + 8
        )  # a token is at least a character, bar the bytes of one not yet whole

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]  # as above
        new = input_ids[:, self._width :][:, -self._tail :].tolist()
        done = [any(stop in self._decode(ids) for stop in self._stops) for ids in new]
        return torch.tensor(done, device=input_ids.device)
