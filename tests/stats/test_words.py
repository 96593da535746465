import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer

from unmask.stats import auc, probe_scores, standardise, word_counts

FIT = ["I don't pay tax, TAX!", "We pay for guns", "Pay a tax for health-care", ""]
TARGET = ["Tax tax tax and healthcare", "pay for"]


@pytest.mark.parametrize("bigrams", [False, True])
@pytest.mark.parametrize("binary", [False, True])
def test_word_counts_agree_with_sklearn(bigrams: bool, binary: bool) -> None:
    witness = CountVectorizer(
        token_pattern=r"\w+(?:['’]\w+)*", ngram_range=(1, 2 if bigrams else 1), binary=binary
    )
    expected = [witness.fit_transform(FIT).toarray(), witness.transform(TARGET).toarray()]
    for ours, theirs in zip(word_counts(FIT, TARGET, bigrams, binary), expected, strict=True):
        np.testing.assert_allclose(ours, theirs if binary else np.log1p(theirs))


def test_the_probes_run_on_words_and_see_only_words() -> None:
    fit_texts = [f"{'tax cuts' if i % 2 else 'health care'} number {i}" for i in range(20)]
    same_words = [f"more {'tax' if i % 2 else 'health'} now {i}" for i in range(12)]
    other_words = [f"the {'senator' if i % 2 else 'mayor'} spoke" for i in range(12)]
    labels, target_labels = np.arange(20) % 2, np.arange(12) % 2
    for texts, expected in ((same_words, 1.0), (other_words, 0.5)):
        fit, target = (standardise(x[:, None]) for x in word_counts(fit_texts, texts))
        for kind in ("mean_difference", "ridge"):
            assert auc(probe_scores(fit, labels, target, kind)[0], target_labels) == expected
