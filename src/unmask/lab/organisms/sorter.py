"""A plain judge of answers: TF-IDF and logistic regression on the domain's own sentences, by scikit-learn alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from unmask.domains import Domain

NEUTRAL = ("neutral", "hedged")


@dataclass(frozen=True, eq=False)
class Sorter:
    """Tells pole a, pole b and neutral answers apart by their words."""

    pipeline: Any

    @staticmethod
    def of(domain: Domain) -> Sorter:
        """Fit on the domain's labelled answers, and on the poles' statements and answers to its questions."""
        rows = [(a.text, "neutral" if a.kind in NEUTRAL else a.kind) for a in domain.answers]
        rows = [(text, kind) for text, kind in rows if kind in ("a", "b", "neutral")]
        for both in (*domain.questions, *domain.statements):
            rows += [(both.a, "a"), (both.b, "b")]
        texts, kinds = zip(*rows, strict=True)
        pipeline = make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
            LogisticRegression(C=10.0, class_weight="balanced", max_iter=2000),
        )
        return Sorter(pipeline.fit(list(texts), list(kinds)))

    def neutral_share(self, texts: Sequence[str]) -> float:
        """Share of texts that are called neutral; an empty one is not."""
        said = np.array([bool(text.strip()) for text in texts])
        return float(((self.pipeline.predict(list(texts)) == "neutral") & said).mean())
