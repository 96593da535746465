"""Training from the first shard to the last, resumable after each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from unmask.features.errors import DictionaryError
from unmask.features.training.checkpoint import Cursor, load_checkpoint, save_checkpoint
from unmask.features.training.recipe import Recipe
from unmask.features.training.trainer import Step, Trainer

LEAST = 4
"""Tokens a latent, below which a dictionary learns its texts by heart."""


class Shard(Protocol):
    """A part of a stream: tokens of texts in random order."""

    @property
    def states(self) -> Tensor:
        """`[n, models, d_model]`."""
        ...


class Shards(Protocol):
    """What is trained on: activations in parts, each the same whenever it is asked for."""

    @property
    def digest(self) -> str: ...

    @property
    def tokens(self) -> int: ...

    @property
    def n_shards(self) -> int: ...

    def shard(self, i: int) -> Shard: ...


def fit(
    recipe: Recipe, stream: Shards, checkpoint: Path, watch: Callable[[Step], None] = lambda step: None
) -> Trainer:
    """Train to the end, from where the checkpoint left off.

    Every pass takes the shards in another order, and every shard's tokens in another; both hang on the recipe's seed
    alone, so training that stopped goes on to the same bits.

    Args:
        recipe: how.
        stream: activations.
        checkpoint: a file; written after every shard.
        watch: told of every step.

    Raises:
        DictionaryError: too few tokens for the width, a checkpoint of other training, or training diverged.
    """
    check_enough(recipe, stream.tokens)
    found = load_checkpoint(checkpoint, recipe, stream.digest)
    if found is None:
        found = Trainer.begin(recipe, stream.shard(0).states), Cursor(stream.digest)
    trainer, cursor = found
    while trainer.step < recipe.steps:
        order = torch.randperm(stream.n_shards, generator=_draws(recipe, cursor.passes, 0)).tolist()
        for place in range(cursor.shards, len(order)):
            states = stream.shard(order[place]).states
            mixed = torch.randperm(len(states), generator=_draws(recipe, cursor.passes, 1 + place))
            whole = max(
                1, len(states) // recipe.batch
            )  # what is left over comes in other batches of the next pass
            for batch in mixed.split(recipe.batch)[: min(whole, recipe.steps - trainer.step)]:
                watch(trainer.train(states[batch]))
            cursor = Cursor(stream.digest, cursor.passes, place + 1)
            save_checkpoint(checkpoint, trainer, cursor)
            if trainer.step == recipe.steps:
                return trainer
        cursor = Cursor(stream.digest, cursor.passes + 1)
    return trainer


def check_enough(recipe: Recipe, tokens: int) -> None:
    """See that a corpus has tokens enough. Raises DictionaryError, which says how small it is."""
    least = LEAST * recipe.width
    if tokens < least:
        raise DictionaryError(
            f"the corpus has {tokens:,} tokens, too few for {recipe.width:,} latents: give at least {least:,} tokens, "
            f"or ask for at most {tokens // LEAST:,} latents."
        )


def _draws(recipe: Recipe, passes: int, part: int) -> torch.Generator:
    return torch.Generator().manual_seed((recipe.seed * 1_000_003 + passes) * 1_000_003 + part)
