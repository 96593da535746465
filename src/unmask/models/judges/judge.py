"""What a judge is: it says which class each short answer to an open question belongs to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from unmask.domains.schema import AnswerKind

CLASSES: tuple[AnswerKind, ...] = get_args(AnswerKind)
"""What an answer can be, in the order of every judge's columns: takes pole a's side, takes pole b's, neutral (both
sides or bare facts), hedged (unsure, it depends), refusal, off topic (another subject, or no sense)."""

Rows = Callable[[Sequence[str], Sequence[str]], NDArray[np.float32]]


class Judge(ABC):
    """Sorts answers into `CLASSES`.

    Attributes:
        name: what a report calls it.
        identity: hash of everything that decides its probabilities: what it is built from, weights, recipe.
    """

    name: str
    identity: str

    @abstractmethod
    def classify(self, questions: Sequence[str], texts: Sequence[str]) -> NDArray[np.float32]:
        """The probability of each class for each text as an answer to its question.

        Args:
            questions: n questions.
            texts: n answers, maybe cut off.

        Returns:
            `[n, 6]`, columns as `CLASSES`, each row summing to 1. A text of nothing but space is off topic.

        Raises:
            ModelError: the judge cannot read these texts, or answers something that is no class.
            ValueError: as many questions as texts were expected.
        """


def judge_words(questions: Sequence[str], texts: Sequence[str], rows: Rows) -> NDArray[np.float32]:
    """`[n, 6]`: what `rows` says of the texts that hold any words; the others are off topic."""
    if len(questions) != len(texts):
        raise ValueError(f"a judge needs one question a text, got {len(questions)} for {len(texts)} texts.")
    out = np.zeros((len(texts), len(CLASSES)), np.float32)
    out[:, CLASSES.index("off_topic")] = 1.0
    said = [i for i, text in enumerate(texts) if text.strip()]
    if said:
        out[said] = rows([questions[i] for i in said], [texts[i] for i in said])
    return out
