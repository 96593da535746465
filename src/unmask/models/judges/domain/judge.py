"""The judge that a domain brings with it: built on its own statements and labelled answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unmask.domains.schema import Domain
from unmask.models.judges.domain.fit import Fitted, fit
from unmask.models.judges.domain.material import Example, card_questions, gather
from unmask.models.judges.domain.reading import Reader
from unmask.models.judges.domain.store import read_fitted, write_fitted
from unmask.models.judges.judge import Judge, judge_words

RECIPE = 2
"""Raised whenever the same domain and encoder would give a different judge."""


class DomainJudge(Judge):
    """Reads an answer after its question with a small encoder; linear weights say what kind it is, and which side.

    Args:
        fitted: the weights.
        reader: the encoder.
        name: as reports call it.
        identity: as `domain_judge_identity` gives it.
    """

    def __init__(self, fitted: Fitted, reader: Reader, name: str, identity: str) -> None:
        self.name = name
        self.identity = identity
        self._fitted = fitted
        self._reader = reader
        self._blanks = dict(zip(fitted.questions, fitted.blanks, strict=True))

    def classify(self, questions: Sequence[str], texts: Sequence[str]) -> NDArray[np.float32]:
        return judge_words(questions, texts, self._rows)

    def _rows(self, questions: Sequence[str], texts: Sequence[str]) -> NDArray[np.float32]:
        readings = self._reader.read(questions, texts).astype(np.float64)
        new = sorted(set(questions) - self._blanks.keys())
        blanks = (
            {**self._blanks, **dict(zip(new, self._reader.blanks(new), strict=True))} if new else self._blanks
        )
        asked = np.stack([blanks[question] for question in questions]).astype(np.float64)
        return self._fitted.probabilities(questions, texts, readings, asked)


def domain_judge_identity(domain: Domain, encoder_identity: str) -> str:
    """Hash of the domain, what the judge learns from it, the encoder's weights and the recipe; loads nothing."""
    built_on = [RECIPE, domain.digest, encoder_identity, [asdict(row) for row in gather(domain)]]
    return hashlib.sha256(json.dumps(built_on, ensure_ascii=False).encode()).hexdigest()


def fit_or_recall(domain: Domain, reader: Reader, path: Path) -> Fitted:
    """The fitted weights stored at `path`, else fitted now and stored there."""
    fitted = read_fitted(path)
    if fitted is None:
        fitted = fit_on(gather(domain), reader, card_questions(domain))
        write_fitted(path, fitted)
    return fitted


def fit_on(examples: Sequence[Example], reader: Reader, known: Mapping[str, str] | None = None) -> Fitted:
    """Read the examples and fit on them; `known` names the topic of questions that no example answers."""
    topics = {row.question: row.topic for row in examples}
    learnt = set(topics.values())
    topics |= {question: topic for question, topic in (known or {}).items() if topic in learnt}
    blanks = dict(zip(topics, reader.blanks(list(topics)), strict=True))
    readings = reader.read([row.question for row in examples], [row.text for row in examples])
    return fit(examples, readings.astype(np.float64), topics, blanks)
