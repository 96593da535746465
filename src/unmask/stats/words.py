"""A bag of words as features for the very same probes: the control that says what mere words give away."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from unmask.stats._arrays import Floats

_WORD = re.compile(r"\w+(?:['’]\w+)*")


def word_counts(
    fit_texts: Sequence[str], target_texts: Sequence[str], bigrams: bool = False, binary: bool = False
) -> tuple[Floats, Floats]:
    """Word features of two sets of texts, over the vocabulary of the first.

    Words are lower-cased runs of letters and digits, one-letter words and inner apostrophes included ("i",
    "don't").

    Args:
        fit_texts: n texts, which make the vocabulary.
        target_texts: m texts; their words outside the vocabulary are dropped, as a fitted probe would have
            to.
        bigrams: count neighbouring words too.
        binary: 1 for present, else log(1 + count).

    Returns:
        `(fit [n, V], target [m, V])`, columns in alphabetical order; add a layer axis, `fit[:, None]`, for
        the probes.
    """
    fit = [Counter(_terms(text, bigrams)) for text in fit_texts]
    target = [Counter(_terms(text, bigrams)) for text in target_texts]
    column = {term: index for index, term in enumerate(sorted(set[str]().union(*fit)))}
    return _matrix(fit, column, binary), _matrix(target, column, binary)


def _terms(text: str, bigrams: bool) -> list[str]:
    words = _WORD.findall(text.lower())
    return words + [f"{a} {b}" for a, b in pairwise(words)] if bigrams else words


def _matrix(texts: Sequence[Counter[str]], column: dict[str, int], binary: bool) -> Floats:
    counts = np.zeros((len(texts), len(column)))
    for row, terms in enumerate(texts):
        for term, count in terms.items():
            if term in column:
                counts[row, column[term]] = count
    return np.minimum(counts, 1.0) if binary else np.log1p(counts)
