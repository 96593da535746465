"""What goes into a model's verbs and what comes out of `generate`: plain frozen data, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Pick = Literal["mean", "last", "each"]


@dataclass(frozen=True)
class Tokens:
    """One row of a batch.

    Attributes:
        ids: token ids of prompt and continuation, without padding.
        content: token span `[start, end)` of the words under study. The sequence's first token and the
            template's tokens are never in it; it is empty (`start == end`) where nothing else was studied.
        start: index of the first continuation token; `len(ids)` where there is none.
    """

    ids: tuple[int, ...]
    content: tuple[int, int]
    start: int

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Sampling:
    """How `generate` picks tokens.

    Attributes:
        max_new_tokens: most tokens that a row may add.
        temperature: 0 is greedy.
        top_p: nucleus mass in (0, 1]; 1 keeps the whole vocabulary.
        stop: an answer ends before the first of these strings (`Frame.stop` gives a frame's own).
    """

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {self.max_new_tokens}; it must be at least 1.")
        if self.temperature < 0:
            raise ValueError(f"temperature is {self.temperature}; it must be 0 (greedy) or more.")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; it must be above 0 and at most 1.")


@dataclass(frozen=True)
class Generated:
    """One sampled answer.

    Attributes:
        ids: the new tokens, without the token that ended the answer.
        text: the answer, without special tokens and cut before a stop string.
        finished: the model ended the answer itself; False where `max_new_tokens` cut it off.
    """

    ids: tuple[int, ...]
    text: str
    finished: bool
