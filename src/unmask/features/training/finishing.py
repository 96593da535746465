"""From trained weights to the frozen dictionary that reads activations as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from unmask.features.autoencoder import (
    Activation,
    JumpReLU,
    SparseAutoencoder,
    TopK,
    rescaled,
    with_unit_decoder,
)
from unmask.features.training.trainer import TINY, Trainer


def finished_autoencoder(trainer: Trainer, held_out: Tensor, facts: Mapping[str, Any]) -> SparseAutoencoder:
    """The autoencoder of one model, with decoder rows of length 1.

    Args:
        trainer: of one model's tokens.
        held_out: `[n, 1, d_model]`, tokens that it was not trained on; they set BatchTopK's threshold.
        facts: what the autoencoder says of itself.
    """
    coder = trainer.coder
    plain = SparseAutoencoder(
        coder.encoder.clone(),
        coder.encoder_bias.clone(),
        coder.decoder.clone(),
        coder.bias.clone(),
        final_activation(trainer, held_out),
        facts=dict(facts),
    )
    return with_unit_decoder(rescaled(plain, 1 / float(trainer.scale[0])))


def final_activation(trainer: Trainer, held_out: Tensor) -> Activation:
    """What chooses latents once the weights are settled, in units of pre-activations.

    BatchTopK's bar is that of the batch at hand, which one token does not have. It becomes the one bar under which
    held-out tokens have k latents on average, so that nothing hangs on how the last batches moved it.
    """
    recipe = trainer.recipe
    if trainer.gate is not None:
        return JumpReLU(trainer.gate.threshold.clone())
    if recipe.kind == "topk":
        return TopK(recipe.k)
    norms = trainer.coder.norms().clamp_min(TINY)
    return JumpReLU(_common_bar(trainer, held_out) / norms)


def _common_bar(trainer: Trainer, held_out: Tensor) -> float:
    """The score that k latents of a held-out token exceed on average."""
    k, width = trainer.recipe.k, trainer.recipe.width
    wanted = len(held_out) * k
    kept = min(8 * k, width)
    while True:
        # Few tokens have many more than k, and the bar is found among each one's largest unless some might have.
        parts = held_out.split(trainer.recipe.batch)
        scores = (trainer.forward(trainer.prepared(part)).scores for part in parts)
        largest = torch.cat([found.topk(kept, dim=1).values for found in scores])
        ranked = largest.flatten().sort(descending=True).values
        bar = float(ranked[wanted]) if len(ranked) > wanted else 0.0
        if kept == width or not bool((largest[:, -1] > bar).any()):
            return max(bar, 0.0)
        kept = min(2 * kept, width)
