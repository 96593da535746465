"""Fits a domain judge: what kind of answer a text is, then, if it takes a side, which.

Both stages are kernel ridge regressions, which are linear in the features; what is kept are the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from unmask.models.judges.domain.material import Example
from unmask.models.judges.domain.ridge import Floats, choose_ridge, fit_ridge
from unmask.models.judges.domain.wording import Wording, fit_wording
from unmask.models.judges.judge import CLASSES

PENALTIES = (0.3, 1.0, 3.0)
OWN_TOPIC = 3.0
"""How much more two answers on one topic teach about each other's side than answers on different topics."""

_BYSTANDER = 0.3
"""Weight of answers that take no side in the fit of sides, where they stand midway between the poles."""

KINDS = 5
"""Takes a side (either), neutral, hedged, refusal, off topic."""


@dataclass(frozen=True)
class Fitted:
    """A fitted judge as plain arrays. D: a reading's features, V: terms, T: topics.

    Attributes:
        centre: `[2, D]`: of readings, and of readings less their question's blank.
        scale: `[2, D]`: sd · √D, likewise.
        kind: `[D + 1, 5]`, weights and intercept of each kind; scores are near 1 for the right one, −1 else.
        side: `[1 + T, D + V + 1]`, weights and intercept of the side (−1 pole a, +1 pole b): for questions on
            none of the topics, then for each topic.
        sharpness: `[2]`, what scores are multiplied by before softmax (kinds) and sigmoid (side).
        wording: the vocabulary.
        topics: T names, sorted.
        questions: the topic of each of Q known questions.
        blanks: `[Q, D]`, how an answer that takes no side reads after each of them.
    """

    centre: NDArray[np.float32]
    scale: NDArray[np.float32]
    kind: NDArray[np.float32]
    side: NDArray[np.float32]
    sharpness: NDArray[np.float32]
    wording: Wording
    topics: tuple[str, ...]
    questions: dict[str, str]
    blanks: NDArray[np.float32]

    def probabilities(
        self, questions: Sequence[str], texts: Sequence[str], readings: Floats, blanks: Floats
    ) -> NDArray[np.float32]:
        """`[n, 6]`, columns as `CLASSES`.

        Args:
            readings: `[n, D]`.
            blanks: `[n, D]`, the readings of an answer that takes no side.
        """
        kinds = _with_one((readings - self.centre[0]) / self.scale[0]) @ self.kind
        kinds = _softmax(self.sharpness[0] * kinds)
        stance = (readings - blanks - self.centre[1]) / self.scale[1]
        words = self.wording.features(texts)
        rows = np.array([self._row(question) for question in questions])
        scores = np.empty(len(texts))
        for row in np.unique(rows):
            mine, weights, d = rows == row, self.side[row], stance.shape[1]
            scores[mine] = stance[mine] @ weights[:d] + words[mine] @ weights[d:-1] + weights[-1]
        b = 1 / (1 + np.exp(-self.sharpness[1] * scores))
        sides = kinds[:, :1] * np.stack([1 - b, b], axis=1)
        return np.hstack([sides, kinds[:, 1:]]).astype(np.float32)

    def _row(self, question: str) -> int:
        """Which weights judge the side of an answer to this question; a known one may have words around it."""
        topic = self.questions.get(question)
        if topic is None:
            topic = next((t for known, t in self.questions.items() if known in question), None)
        return 0 if topic is None else 1 + self.topics.index(topic)


def fit(
    examples: Sequence[Example],
    readings: Floats,
    questions: Mapping[str, str],
    blanks: Mapping[str, NDArray[np.float32]],
) -> Fitted:
    """Fit both stages.

    Args:
        examples: n texts.
        readings: `[n, D]`.
        questions: the topic of every question that is to be known, those of the examples among them.
        blanks: by question, `[D]`, the reading of an answer that takes no side.
    """
    kinds = np.array([max(CLASSES.index(row.kind) - 1, 0) for row in examples])
    topics = tuple(sorted({row.topic for row in examples}))
    topic = np.array([topics.index(row.topic) for row in examples])
    groups = topic if len(topics) > 2 else np.arange(len(examples)) // 2 % 5
    by_hand = np.array([row.source != "made" for row in examples])
    weights = np.array([row.weight for row in examples])

    plain, centre_0, scale_0 = _standardised(readings)
    stance, centre_1, scale_1 = _standardised(readings - np.stack([blanks[row.question] for row in examples]))
    wording = fit_wording([row.text for row in examples])
    words = wording.features([row.text for row in examples])

    kind, kind_sharpness = _fit_kind(plain, kinds, weights, groups, by_hand)
    poles = np.array([{"a": -1.0, "b": 1.0}.get(row.kind, 0.0) for row in examples])
    side, side_sharpness = _fit_side(stance, words, poles, weights, topic, groups, by_hand)
    return Fitted(
        centre=np.stack([centre_0, centre_1]).astype(np.float32),
        scale=np.stack([scale_0, scale_1]).astype(np.float32),
        kind=kind.astype(np.float32),
        side=side.astype(np.float32),
        sharpness=np.array([kind_sharpness, side_sharpness], np.float32),
        wording=wording,
        topics=topics,
        questions=dict(questions),
        blanks=np.stack([blanks[question] for question in questions]),
    )


def _fit_kind(
    features: Floats,
    kinds: NDArray[np.int64],
    weights: Floats,
    groups: NDArray[np.int64],
    by_hand: NDArray[np.bool_],
) -> tuple[Floats, float]:
    """Every kind weighs the same, however many examples it has."""
    weights = weights.copy()
    for kind in range(KINDS):
        weights[kinds == kind] /= weights[kinds == kind].sum()
    weights *= len(weights) / weights.sum()
    targets = 2 * np.eye(KINDS)[kinds] - 1

    def log_loss(scores: Floats, sharpness: float) -> float:
        chances = _softmax(sharpness * scores[by_hand])[np.arange(by_hand.sum()), kinds[by_hand]]
        return float(-np.average(np.log(chances), weights=weights[by_hand]))

    ridge = choose_ridge(
        features @ features.T + 1, targets, weights, groups.tolist(), PENALTIES,
        lambda scores: min(log_loss(scores, s) for s in _SHARPNESS),
    )  # fmt: skip
    sharpness = min(_SHARPNESS, key=lambda s: log_loss(ridge.held_out, s))
    return np.vstack([features.T @ ridge.shares, ridge.shares.sum(0)]), sharpness


def _fit_side(
    stance: Floats,
    words: sparse.csr_matrix,
    poles: Floats,
    weights: Floats,
    topic: NDArray[np.int64],
    groups: NDArray[np.int64],
    by_hand: NDArray[np.bool_],
) -> tuple[Floats, float]:
    """Weights that hold for any topic, and beside them weights that lean on each topic's own examples."""
    weights = np.where(poles == 0, _BYSTANDER, 1.0) * weights
    kernel = stance @ stance.T + np.asarray((words @ words.T).todense()) + 1
    judged = by_hand & (poles != 0)

    def log_loss(scores: Floats, sharpness: float) -> float:
        margins = sharpness * scores[judged, 0] * poles[judged]
        return float(np.average(np.logaddexp(0, -margins), weights=weights[judged]))

    ridge = choose_ridge(
        kernel, poles[:, None], weights, groups.tolist(), PENALTIES,
        lambda scores: min(log_loss(scores, s) for s in _SHARPNESS),
    )  # fmt: skip
    sharpness = min(_SHARPNESS, key=lambda s: log_loss(ridge.held_out, s))

    def as_weights(shares: Floats) -> Floats:
        return np.concatenate([stance.T @ shares, words.T @ shares, [shares.sum()]])

    rows = [as_weights(ridge.shares[:, 0])]
    same = topic[:, None] == topic[None]
    near = fit_ridge(kernel * (1 + OWN_TOPIC * same), poles[:, None], weights, groups.tolist(), ridge.penalty)
    for t in range(topic.max() + 1):
        rows.append(as_weights(near.shares[:, 0] * (1 + OWN_TOPIC * (topic == t))))
    return np.stack(rows), sharpness


_SHARPNESS = tuple(2.0**power for power in np.arange(-1, 4.5, 0.5))


def _standardised(readings: Floats) -> tuple[Floats, Floats, Floats]:
    """Readings at mean 0 and a squared length near 1, their centre, and what they were divided by."""
    centre = readings.mean(0)
    scale = (readings.std(0) + 1e-6) * np.sqrt(readings.shape[1])
    return (readings - centre) / scale, centre, scale


def _with_one(features: Floats) -> Floats:
    return np.hstack([features, np.ones((len(features), 1))])


def _softmax(scores: Floats) -> Floats:
    raised = np.exp(scores - scores.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)
