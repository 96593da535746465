from __future__ import annotations

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from unmask.models.judges.domain.wording import fit_wording

FIT = ["Taxes should be lower, much lower.", "Taxes should not be lower.", "I don't know."]


def test_it_agrees_with_sklearn() -> None:
    theirs = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w[\w'’]*")
    theirs.fit(FIT)
    texts = [*FIT, "Lower taxes, lower prices", "zebra", ""]
    ours = fit_wording(FIT)
    assert list(ours.terms) == list(theirs.get_feature_names_out())
    np.testing.assert_allclose(ours.features(texts).todense(), theirs.transform(texts).todense(), atol=1e-6)
