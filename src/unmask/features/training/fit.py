"""Training from the first shard to the last, and resumable."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from unmask.features.errors import DictionaryError
from unmask.features.training.checkpoint import Cursor, load_checkpoint, save_checkpoint
from unmask.features.training.recipe import Recipe
from unmask.features.training.trainer import Step, Trainer

LEAST = 4
"""Tokens a latent, below which a dictionary learns its texts by heart."""
FIRST = 16_384
"""Tokens that set the scale, the centre and the variance."""
EVERY = 60.0
"""Seconds between checkpoints, at the end of a shard: those of a wide dictionary take longer to write than a shard."""


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
        checkpoint: a file; written at the end of a shard, about once a minute.
        watch: told of every step.

    Raises:
        DictionaryError: too few tokens for the width, a checkpoint of other training, or training diverged.
    """
    check_enough(recipe, stream.tokens)
    found = load_checkpoint(checkpoint, recipe, stream.digest)
    if found is None:
        found = Trainer.begin(recipe, stream.shard(0).states[:FIRST]), Cursor(stream.digest)
    trainer, cursor = found
    saved = time.monotonic()
    while trainer.step < recipe.steps:
        order = torch.randperm(stream.n_shards, generator=_draws(recipe, cursor.passes, 0)).tolist()
        for place in range(cursor.shards, len(order)):
            states = stream.shard(order[place]).states
            mixed = torch.randperm(len(states), generator=_draws(recipe, cursor.passes, 1 + place))
            # What is left over comes in other batches of the next pass; a batch of a few tokens would count as much.
            enough = min(recipe.batch, stream.tokens // stream.n_shards)
            whole = len(states) // recipe.batch or int(2 * len(states) >= enough)
            for batch in mixed.split(recipe.batch)[: min(whole, recipe.steps - trainer.step)]:
                watch(trainer.train(states[batch]))
            cursor = Cursor(stream.digest, cursor.passes, place + 1)
            done = trainer.step == recipe.steps
            if done or time.monotonic() - saved > EVERY:
                save_checkpoint(checkpoint, trainer, cursor)
                saved = time.monotonic()
            if done:
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
    if tokens < recipe.batch:
        raise DictionaryError(
            f"the corpus has {tokens:,} tokens, fewer than a batch of {recipe.batch:,}: give more text, or a smaller "
            "batch."
        )


def _draws(recipe: Recipe, passes: int, part: int) -> torch.Generator:
    drawn = np.random.SeedSequence((recipe.seed, passes, part)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(drawn >> np.uint64(1)))
