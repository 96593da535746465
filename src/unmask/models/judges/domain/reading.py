"""How a domain judge reads: one forward pass of a small encoder over the question and its answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from unmask.models.prompts import Prompt
from unmask.models.tokens import Pick, Tokens

ENCODER = "demo:smollm2"
"""The same encoder whatever pair is audited, so that a judge is never one of the audited models."""

_BLANK = "We should do what is right about this."
"""An answer that takes no side: what the question alone puts into a reading."""

_BATCH_TOKENS = 2048
_LONGEST = 2000
"""Characters of an answer that are read."""


class Encoder(Protocol):
    """What a judge needs of a `Model`."""

    n_layers: int

    def tokenize(self, prompt: Prompt, continuation: str = "") -> Tokens: ...
    def read(
        self, rows: Sequence[Tokens], layers: Sequence[int], pick: Pick, edits: Any = None
    ) -> list[NDArray[np.float32]]: ...


class Reader:
    """Residual streams of answers, averaged over each answer's tokens, with the question in front.

    Layers from a fifth to three quarters of the depth: words at the one end, stance towards the other; what comes
    later serves the next token.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.layers = tuple(round(encoder.n_layers * part / 30) for part in (6, 10, 14, 18, 22))
        self._encoder = encoder

    def read(self, questions: Sequence[str], texts: Sequence[str]) -> NDArray[np.float32]:
        """`[n, layers · d]`. The same call gives the same bits; batches are formed by length within a call."""
        rows = [self._row(question, text) for question, text in zip(questions, texts, strict=True)]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        found: dict[int, NDArray[np.float32]] = {}
        while order:
            size = 1
            while size < len(order) and (size + 1) * len(rows[order[size]]) <= _BATCH_TOKENS:
                size += 1
            batch, order = order[:size], order[size:]
            states = self._encoder.read([rows[i] for i in batch], self.layers, "mean")
            found |= {i: state.reshape(-1) for i, state in zip(batch, states, strict=True)}
        return np.stack([found[i] for i in range(len(rows))])

    def blanks(self, questions: Sequence[str]) -> NDArray[np.float32]:
        """`[n, layers · d]`: how an answer that takes no side reads after each question."""
        return self.read(questions, [_BLANK] * len(questions))

    def _row(self, question: str, text: str) -> Tokens:
        before, said = f"Question: {question}\nAnswer:", " " + text.strip()[:_LONGEST]
        return self._encoder.tokenize(Prompt(before + said, (len(before), len(before + said))))
