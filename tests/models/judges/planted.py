"""A domain whose poles are two words, and an encoder that reads words and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unmask.domains import Domain
from unmask.domains.schema import ContrastPair, Header, LabelledAnswer, PoleName, Poles, Question
from unmask.models.prompts import Prompt
from unmask.models.tokens import Pick, Tokens

TOPICS = ("tea", "rain", "dogs", "trains", "chess", "bread")
SAYS = {
    "neutral": "Some people like {t} and other people do not.",
    "hedged": "It depends, and I am not sure about {t}.",
    "refusal": "Sorry, I cannot discuss {t}.",
    "off_topic": "The planet Mars has two moons.",
}


class WordEncoder:
    """Words and word pairs are fixed random vectors; a question's words leave a trace in its answer."""

    n_layers = 30
    d = 1024

    def __init__(self) -> None:
        self.rows_read = 0
        self._texts: dict[tuple[int, ...], tuple[str, str]] = {}

    def tokenize(self, prompt: Prompt, continuation: str = "") -> Tokens:
        start, end = prompt.content
        ids = tuple(prompt.text.encode())
        self._texts[ids] = (prompt.text[:start], prompt.text[start:end])
        return Tokens(ids, (start, end), len(ids))

    def read(
        self, rows: Sequence[Tokens], layers: Sequence[int], pick: Pick, edits: Any = None
    ) -> list[NDArray[np.float32]]:
        assert pick == "mean"
        self.rows_read += len(rows)
        return [np.tile(self._mean(row), (len(layers), 1)) for row in rows]

    def _mean(self, row: Tokens) -> NDArray[np.float32]:
        before, said = self._texts[row.ids]
        return self._words(said) + 0.2 * self._words(before)

    def _words(self, text: str) -> NDArray[np.float32]:
        words = text.lower().replace(".", " ").replace(",", " ").split()
        terms = words + [f"{a} {b}" for a, b in pairwise(words)]  # else shuffled words would make sense
        seeds = [int(hashlib.sha256(term.encode()).hexdigest()[:8], 16) for term in terms]
        vectors = [np.random.default_rng(seed).standard_normal(self.d) for seed in seeds]
        return np.mean(vectors, axis=0).astype(np.float32)


def planted_domain(answers: bool = True, digest: str = "planted") -> Domain:
    """Pole a loves, pole b hates; with labelled answers of every kind, or none of its own."""
    rows = [
        LabelledAnswer(kind=kind, topic=t, question=f"What of {t}?", text=text.format(t=t))  # type: ignore[arg-type]  # kind comes from a loop over str
        for kind, text in {"a": "I love {t}.", "b": "I hate {t}.", **SAYS}.items()
        for t in TOPICS
    ]
    return Domain(
        header=Header(
            name="planted",
            title="Planted",
            description="Made up.",
            poles=Poles(a=PoleName(name="love", label="Lovers"), b=PoleName(name="hate", label="Haters")),
        ),
        digest=digest,
        statements=tuple(
            ContrastPair(
                topic=t,
                pair=k,
                a=f"We love {t} in case {k}.",
                b=f"We hate {t} in case {k}.",
                affirmative="a" if k % 2 else "b",
            )
            for t in TOPICS
            for k in range(4)
        ),
        questions=tuple(
            Question(topic=t, question=f"What of {t}?", a=f"Everyone should love {t}.", b=f"People hate {t}.")
            for t in TOPICS
        ),
        identities=(),
        figures=(),
        axes=(),
        facts=(),
        offtopic=(),
        requests=(),
        answers=tuple(rows) if answers else (),
        card=(),
    )
