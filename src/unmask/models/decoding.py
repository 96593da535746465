"""Sampling answers over one cache of prompts: each distinct prompt is run once, and finished rows leave the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unmask.models import forward
from unmask.models.attention import Cache
from unmask.models.edits import Edit
from unmask.models.ending import Ending
from unmask.models.sampling import NoTokenError, draws, pick
from unmask.models.taps import hooked, on_layer
from unmask.models.tokens import Generated, Sampling, Tokens
from unmask.models.tree import Tree, stages

if TYPE_CHECKING:
    from unmask.models.model import Model

_LEAVE = (
    8  # finished rows leave together, when they are one in so many: letting go of a row copies the others'
)


def generate(
    model: Model,
    rows: Sequence[Tokens],
    seeds: Sequence[int],
    sampling: Sampling,
    edits: Sequence[Edit | None] | None,
) -> list[Generated]:
    """Answer each row; see `Model.generate`, which checks what is given.

    Raises:
        NoTokenError: a row's logits are NaN or infinite.
    """
    decoder = _Decoder(model, rows, sampling.max_new_tokens, edits)
    ending = Ending(model, sampling)
    uniform = draws(seeds, sampling)
    new: list[list[int]] = [[] for _ in rows]
    going = np.arange(len(rows))  # rows in the cache; some may have finished
    done = np.zeros(len(rows), dtype=bool)
    states = decoder.prompts()
    for step in range(sampling.max_new_tokens):
        logits = model.anatomy.unembed(states).float()
        finite = logits.amax(dim=-1).isfinite().tolist()  # NaN is the largest of all
        for row, sound in zip(going, finite, strict=True):
            if not sound and not done[row]:
                raise NoTokenError(int(row), tuple(new[row]))
        if sampling.temperature:
            numbers = uniform[going, step].to(logits.device)
            tokens = pick(logits, numbers, sampling.temperature, sampling.top_p)
        else:
            tokens = logits.argmax(dim=-1)
        for row, token in zip(going, tokens.tolist(), strict=True):
            if not done[row]:
                new[row].append(token)
                done[row] = ending.reached(new[row])
        left = done[going]
        if left.all() or step + 1 == sampling.max_new_tokens:
            break
        if left.sum() * _LEAVE >= len(going):
            stay = np.flatnonzero(~left)
            going = going[stay]
            on_device = torch.from_numpy(stay).to(tokens.device)
            decoder.keep(stay, on_device)
            tokens = tokens[on_device]
        states = decoder.step(tokens)
    return [ending.answer(ids) for ids in new]


class _Decoder:
    """Rows that grow by a token at a time."""

    def __init__(
        self, model: Model, rows: Sequence[Tokens], room: int, edits: Sequence[Edit | None] | None
    ) -> None:
        self._anatomy = model.anatomy
        self._rows = rows
        starts = [len(row) for row in rows]
        self._edits = model.row_edits(edits, starts, max(starts) + room)
        self._cache = Cache(starts, room, model.anatomy.device)
        self._going = np.arange(len(rows))
        self._next: NDArray[np.int64] = np.array(starts, dtype=np.int64)

    @torch.inference_mode()
    def prompts(self) -> Tensor:
        """Run the prompts -> `[rows, d]`, the normed states of their last tokens."""
        depth = self._anatomy.n_layers
        asked = [self._edits.path(i, row.ids, depth) for i, row in enumerate(self._rows)]
        kept: list[Tensor] = []

        def take(_: int, tree: Tree, states: Tensor) -> None:
            last = np.array([path[-1] for path in tree.paths])
            kept.append(states[torch.from_numpy(last).to(states.device)])

        forward.run(self._anatomy, stages(asked), self._edits, [depth], take, self._cache)
        return self._anatomy.final_norm(kept[0])

    @torch.inference_mode()
    def step(self, tokens: Tensor) -> Tensor:
        """Run one more token of each row `[rows]` -> `[rows, d]`, its normed states."""
        positions = self._cache.step()
        kept: list[Tensor] = []
        depth = self._anatomy.n_layers

        def edit(layer: int, states: Tensor) -> Tensor:
            return self._edits.apply(layer, states[0], self._going, self._next)[None]

        def last(states: Tensor) -> None:
            kept.append(states[0])

        taps = [
            on_layer(self._anatomy.blocks, layer, lambda h, layer=layer: edit(layer, h))
            for layer in sorted(self._edits.layers)
        ]
        with hooked([*taps, on_layer(self._anatomy.blocks, depth, last)]):
            forward.along(self._anatomy, tokens, positions, self._cache)
        self._next = self._next + 1
        return self._anatomy.final_norm(kept[0])

    def keep(self, stay: NDArray[np.int64], on_device: Tensor) -> None:
        """Let go of all rows but these places."""
        self._going, self._next = self._going[stay], self._next[stay]
        self._cache.keep(on_device)
