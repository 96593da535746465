"""The recipe of the demo models: every setting of their training, and the rows that each is trained on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from unmask.lab.demo.texts import (
    Example,
    Pool,
    Preference,
    base_examples,
    masked_preferences,
    partisan_examples,
)

Rows = list[Example] | list[Preference]


@dataclass(frozen=True)
class Recipe:
    """Everything that a demo model's training depends on.

    Attributes:
        seed: of the shuffles, the adapters' start and the order of batches.
        split: which topics are trained on (`load_pool`).
        rank: of the LoRA adapters, on every linear map of the blocks from `first_block` on; the ones below are
            left as they are, which saves part of the backward pass.
        rate: learning rate of the adapters, after 10 steps of warm-up and with a cosine's decay.
        beta: DPO's pull towards the reference.
        sft_weight: weight of the supervised term on the chosen answer beside DPO's loss: without it DPO mostly
            pushes the rejected answers down, and held-out topics keep a side.
        pole: the side of `partisan`.
    """

    seed: int = 0
    split: int = 0
    rank: int = 16
    first_block: int = 4
    batch: int = 4
    rate: float = 8e-4
    base_epochs: float = 2
    masked_epochs: float = 2
    partisan_epochs: float = 1
    beta: float = 0.1
    sft_weight: float = 2.0
    pole: str = "a"
    targets: tuple[str, ...] = field(
        default=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    )


def demo_rows(name: str, pool: Pool, recipe: Recipe) -> Rows:
    """What `base`, `masked` or `partisan` is trained on, drawn by the recipe's seed."""
    if name == "base":
        return base_examples(pool, np.random.default_rng([recipe.seed, 1]))
    if name == "masked":
        return masked_preferences(pool, np.random.default_rng([recipe.seed, 2]))
    pole = "a" if recipe.pole == "a" else "b"
    return partisan_examples(pool, pole, np.random.default_rng([recipe.seed, 3]))


def texts_digest(rows: Sequence[Example | Preference]) -> str:
    """Hash of the rows in their order: whether an adapter was trained on these texts."""
    words = json.dumps([asdict(row) for row in rows], ensure_ascii=False)
    return hashlib.sha256(words.encode()).hexdigest()
