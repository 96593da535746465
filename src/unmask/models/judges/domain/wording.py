"""Words and word pairs as features (TF-IDF), in a form that can be stored as plain arrays."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

_WORD = re.compile(r"\w[\w'’]*")


@dataclass(frozen=True)
class Wording:
    """A vocabulary with its inverse document frequencies.

    Attributes:
        terms: V words and pairs of neighbouring words, sorted.
        rarity: `[V]`, 1 + log((1 + n) / (1 + texts that hold the term)), in nats.
    """

    terms: tuple[str, ...]
    rarity: NDArray[np.float32]

    def features(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """`[n, V]`: (1 + log count) · rarity, each row at length 1; a text of unknown terms alone is 0."""
        column = {term: i for i, term in enumerate(self.terms)}
        rows: list[int] = []
        columns: list[int] = []
        values: list[float] = []
        for row, text in enumerate(texts):
            counts = {column[t]: n for t, n in Counter(_terms(text)).items() if t in column}
            weights = np.array([(1 + np.log(n)) * self.rarity[i] for i, n in counts.items()])
            rows += [row] * len(counts)
            columns += list(counts)
            values += list(weights / np.linalg.norm(weights)) if counts else []
        shape = (len(texts), len(self.terms))
        return sparse.csr_matrix((np.asarray(values, np.float32), (rows, columns)), shape=shape)


def fit_wording(texts: Sequence[str]) -> Wording:
    """The vocabulary of some texts."""
    found = Counter(term for text in texts for term in set(_terms(text)))
    terms = tuple(sorted(found))
    counts = np.array([found[term] for term in terms])
    return Wording(terms, (1 + np.log((1 + len(texts)) / (1 + counts))).astype(np.float32))


def _terms(text: str) -> list[str]:
    words = _WORD.findall(text.lower())
    return words + [f"{a} {b}" for a, b in pairwise(words)]
