"""What work costs: the one account that budget, progress bar and plan go by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unmask.models.edits import Edit
from unmask.models.size import LOGITS_AT_ONCE, ModelSize
from unmask.models.tokens import Tokens
from unmask.models.tree import Path, stages

NO_SIZE = ModelSize(layers=1, width=1, parameters=1, multiplied=1)
"""Stands for a model whose size nobody asked about: its costs are tokens alone."""


@dataclass(frozen=True)
class Cost:
    """The cost of some work.

    Attributes:
        tokens: token-forwards through the whole model. A token that runs through half of the blocks is half of one;
            an unembedding counts by its share of the weights.
        bytes: activations, caches and logits held at once, beside the weights.
    """

    tokens: float = 0.0
    bytes: int = 0

    def __add__(self, other: Cost) -> Cost:
        """Of one work after the other."""
        return Cost(self.tokens + other.tokens, max(self.bytes, other.bytes))


@dataclass(frozen=True)
class Planned:
    """A request to a model, as it is planned.

    Attributes:
        tokens: prompt and continuation.
        ids: what is run of them.
        depth: the deepest layer that is needed; None for the last one and what follows it.
        scored: continuation tokens.
        new: tokens that may be sampled.
        kept: states that are read of it, over layers and tokens.
        edit: the edit.
        effect: equal for rows whose edits do the same to the same tokens.
        apart: first layer and first token that the edit touches; None where it touches nothing.
    """

    tokens: Tokens
    ids: tuple[int, ...]
    depth: int | None
    scored: int
    new: int
    kept: int
    edit: Edit | None
    effect: object
    apart: tuple[int, int] | None


def row_costs(rows: Sequence[Planned], size: ModelSize) -> Cost:
    """Of one batch: each distinct token at each depth, what is unembedded, and tokens sampled to their limit.

    Args:
        rows: the batch.
        size: of the model.
    """
    effects: dict[object, int] = {}
    asked: list[Path] = []
    for row in rows:
        depth = min(size.layers, size.layers if row.depth is None else row.depth)
        if row.apart is None or row.apart[0] > depth:
            asked.append(Path(row.ids, depth))
        else:
            asked.append(Path(row.ids, depth, effects.setdefault(row.effect, len(effects)), *row.apart))
    made = stages(asked)
    body = sum(len(stage.tree) * (stage.last - stage.first) for stage in made) / size.layers
    unembedded = sum(row.scored for row in rows) + sum(row.new for row in rows)
    sampled = sum(row.new for row in rows)
    widest = max(len(stage.tree) for stage in made)
    answers = [len(row.ids) + row.new for row in rows if row.new]
    cached = len(answers) * max(answers, default=0)  # every row's cache is as wide as the widest
    held = size.number * (widest * size.activations + cached * size.keys)
    # States that are read, and their copy row by row; logits, and their copy in fp32.
    logits = min(max(len(answers), sum(row.scored for row in rows)) * size.vocabulary, LOGITS_AT_ONCE)
    held += 4 * 2 * (sum(row.kept for row in rows) * size.width + logits)
    return Cost(body + sampled + unembedded * size.unembedding, held)
