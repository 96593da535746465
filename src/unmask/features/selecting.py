"""Which latents are active: the k largest of a token, or the n·k largest of a batch."""

from __future__ import annotations

import torch
from torch import Tensor


def top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Each row's k largest of `[n, F]`: values and columns `[n, k]`, in no order."""
    values, columns = scores.topk(min(k, scores.shape[1]), dim=1, sorted=False)
    return values, columns


def batch_top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The n·k largest of all of `[n, F]`, wherever they are: values and columns `[n, c]`, the rest of c set to 0.

    A row rarely takes more than a few times k, so the batch's bar is found among each row's largest, and the search
    widened only where a row might have had more.

    Source: Bussmann et al. 2412.06410.
    """
    wide = scores.shape[1]
    kept = min(4 * k, wide)
    while True:
        values, columns = top_k(scores, kept)
        bar = values.flatten().topk(min(len(scores) * k, values.numel())).values[-1]
        if kept == wide or not bool((values.amin(1) >= bar).any()):
            return torch.where(values >= bar, values, 0), columns
        kept = min(2 * kept, wide)
