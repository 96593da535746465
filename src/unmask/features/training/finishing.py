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
    k, largest = trainer.recipe.k, []
    for part in held_out.split(trainer.recipe.batch):
        scores = trainer.forward(trainer.prepared(part)).scores
        largest.append(scores.topk(min(8 * k, scores.shape[1]), dim=1).values.flatten())
    ranked = torch.cat(largest).sort(descending=True).values
    return max(float(ranked[len(held_out) * k]), 0.0) if len(ranked) > len(held_out) * k else 0.0
