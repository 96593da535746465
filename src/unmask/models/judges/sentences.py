"""The judge of a made-up domain whose answers consist of known sentences: it looks them up and errs on none.

A sentence is known by its frame, which is what is left of it without its question's topic: "I want {} to be bold."
is one pole's of whatever topic.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from unmask.domains import DomainError
from unmask.domains.schema import POLES, AnswerKind, Domain
from unmask.models.judges.judge import CLASSES, Judge, judge_words

VERSION = 1
"""Raised whenever the same domain would give a different judge."""
_STRONGEST: tuple[AnswerKind, ...] = ("a", "b", "refusal", "hedged", "neutral", "off_topic")
_SENTENCES = re.compile(r"(?<=[.?!])\s+")


class SentenceJudge(Judge):
    """Sorts answers by the sentences that they consist of.

    An answer takes a side when its sentences on its topic are all of one pole, neutral ones allowed beside them. One
    that contradicts itself, wanders to another topic or says anything that is not known is off topic. A last sentence
    that was cut off counts for nothing where there is a whole one before it.

    Args:
        domain: whose labelled answers hold every frame.

    Raises:
        DomainError: two labelled answers make one frame two kinds.
    """

    def __init__(self, domain: Domain) -> None:
        self.name = f"the sentences of {domain.name}"
        self.identity = hashlib.sha256(json.dumps(["sentences", VERSION, domain.digest]).encode()).hexdigest()
        self._frames = _frames(domain)
        asked = (*domain.questions, *domain.answers, *domain.card)
        self._topics = {row.question: row.topic for row in asked}

    def classify(self, questions: Sequence[str], texts: Sequence[str]) -> NDArray[np.float32]:
        return judge_words(questions, texts, self._rows)

    def _rows(self, questions: Sequence[str], texts: Sequence[str]) -> NDArray[np.float32]:
        kinds = [self.kind(question, text) for question, text in zip(questions, texts, strict=True)]
        return np.eye(len(CLASSES), dtype=np.float32)[[CLASSES.index(kind) for kind in kinds]]

    def kind(self, question: str, text: str) -> AnswerKind:
        """What kind of answer a text is."""
        topic = self._topics.get(question) or _longest_in(question, self._topics.values())
        sentences = _whole_sentences(text)
        if topic is None or not sentences:
            return "off_topic"
        said = {self._frames.get(_frame(sentence, topic), "off_topic") for sentence in sentences}
        if "off_topic" in said or {*POLES} <= said:
            return "off_topic"
        return next(kind for kind in _STRONGEST if kind in said)


def _frames(domain: Domain) -> dict[str, AnswerKind]:
    """The kind of answer that each known frame makes."""
    frames: dict[str, AnswerKind] = {}
    for row in domain.answers:
        for sentence in _whole_sentences(row.text):
            frame = _frame(sentence, row.topic)
            if frames.setdefault(frame, row.kind) != row.kind:
                raise DomainError(
                    f"the domain '{domain.name}' is judged by its sentences, but '{frame}' is {frames[frame]} in one "
                    f"labelled answer and {row.kind} in another."
                )
    return frames


def _frame(sentence: str, topic: str) -> str:
    return sentence.replace(topic, "{}")


def _whole_sentences(text: str) -> list[str]:
    return [part for part in _SENTENCES.split(text.strip()) if part.endswith((".", "?", "!"))]


def _longest_in(question: str, topics: Iterable[str]) -> str | None:
    return max((topic for topic in topics if topic in question), key=len, default=None)
