"""A judge that is a user's own function."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from unmask.domains.schema import AnswerKind
from unmask.models.errors import ModelError
from unmask.models.judges.judge import CLASSES, Judge, judge_words

Verdict = str | Mapping[str, float] | Sequence[float] | NDArray[np.floating]
JudgeFunction = Callable[[str, str], Verdict]


class FunctionJudge(Judge):
    """Asks a function `(question, text)` for a class name, probabilities by class name, or six numbers.

    Its records are found again by name and version alone: change the version whenever the function changes.

    Args:
        function: what to ask.
        name: the judge's name; None takes the function's.
        version: of the function.
    """

    def __init__(self, function: JudgeFunction, name: str | None = None, version: str = "1") -> None:
        self.name = name or str(getattr(function, "__qualname__", type(function).__qualname__))
        self.identity = hashlib.sha256(f"function\n{self.name}\n{version}".encode()).hexdigest()
        self._function = function

    def classify(self, questions: Sequence[str], texts: Sequence[str]) -> NDArray[np.float32]:
        return judge_words(questions, texts, self._rows)

    def _rows(self, questions: Sequence[str], texts: Sequence[str]) -> NDArray[np.float32]:
        asked = zip(questions, texts, strict=True)
        return np.asarray([self._row(self._function(*pair)) for pair in asked], dtype=np.float32)

    def _row(self, verdict: Verdict) -> NDArray[np.float64]:
        if isinstance(verdict, str):
            return self._weights({verdict: 1.0})
        return self._weights(verdict if isinstance(verdict, Mapping) else _by_class(verdict))

    def _weights(self, weights: Mapping[str, float]) -> NDArray[np.float64]:
        unknown = sorted(str(name) for name in weights if name not in CLASSES)
        row = np.array([float(weights.get(kind, 0.0)) for kind in CLASSES])
        if unknown or not np.isfinite(row).all() or row.min() < 0 or row.sum() <= 0:
            raise ModelError(
                f"The judge {self.name!r} answered {dict(weights)!r}; it must answer one of {', '.join(CLASSES)}, "
                "or their probabilities by name, or six probabilities in that order."
            )
        return row / row.sum()


def _by_class(numbers: Sequence[float] | NDArray[np.floating]) -> dict[AnswerKind | str, float]:
    extra = {f"number {k + 1}": float(numbers[k]) for k in range(len(CLASSES), len(numbers))}
    return {**{kind: float(p) for kind, p in zip(CLASSES, numbers, strict=False)}, **extra}
