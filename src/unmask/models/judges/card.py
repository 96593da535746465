"""A judge's card: how well it does on labelled answers that it was not built on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unmask.domains.schema import AnswerKind
from unmask.models.judges.judge import CLASSES
from unmask.stats.agreement import accuracy, cohen_kappa, confusion_matrix


@dataclass(frozen=True)
class JudgeCard:
    """How a judge did.

    Attributes:
        accuracy: share of answers put into their own class.
        kappa: agreement beyond chance (Cohen 1960); NaN where there is one class only.
        recall: by class, the share of its answers that were found; NaN for a class without answers.
        confusion: `[6, 6]`, rows true, columns judged, in answers; read-only.
        n: answers.
    """

    accuracy: float
    kappa: float
    recall: dict[AnswerKind, float]
    confusion: NDArray[np.float64]
    n: int


def judge_card(probabilities: NDArray[np.floating], labels: Sequence[AnswerKind]) -> JudgeCard:
    """The card of a judge, from its probabilities for labelled answers.

    Args:
        probabilities: `[n, 6]`, columns as `CLASSES`.
        labels: n true classes.

    Raises:
        ValueError: no answers, shapes that do not fit, or a label that is no class.
    """
    if not labels or probabilities.shape != (len(labels), len(CLASSES)):
        raise ValueError(
            f"a card needs one row of {len(CLASSES)} probabilities a label, got {probabilities.shape} "
            f"for {len(labels)} labels."
        )
    unknown = sorted(set(labels) - set(CLASSES))
    if unknown:
        raise ValueError(f"labels must be of {', '.join(CLASSES)}, got {', '.join(map(repr, unknown))}.")
    truth = [CLASSES.index(label) for label in labels]
    confusion = confusion_matrix(truth, probabilities.argmax(1), len(CLASSES))
    confusion.setflags(write=False)
    per_class = confusion.sum(1)
    return JudgeCard(
        accuracy=float(accuracy(confusion)),
        kappa=float(cohen_kappa(confusion)),
        recall={
            kind: float(confusion[k, k] / per_class[k]) if per_class[k] else float("nan")
            for k, kind in enumerate(CLASSES)
        },
        confusion=confusion,
        n=len(labels),
    )
