from __future__ import annotations

import numpy as np
import pytest

from unmask.models.judges import CLASSES, judge_card


def test_the_card_counts_by_hand() -> None:
    labels = ["a", "a", "b", "neutral"]
    judged = ["a", "b", "b", "neutral"]
    card = judge_card(np.eye(6)[[CLASSES.index(kind) for kind in judged]], labels)
    assert (card.accuracy, card.n) == (0.75, 4)
    assert card.kappa == pytest.approx((0.75 - 5 / 16) / (1 - 5 / 16))
    assert card.recall["a"] == 0.5
    assert card.recall["b"] == card.recall["neutral"] == 1
    assert np.isnan(card.recall["refusal"])
    assert card.confusion[0].tolist() == [1, 1, 0, 0, 0, 0]
    assert not card.confusion.flags.writeable


@pytest.mark.parametrize("labels", [[], ["a"], ["a", "left"]])
def test_what_does_not_fit_is_refused(labels: list[str]) -> None:
    with pytest.raises(ValueError, match=r"a card needs|labels must be"):
        judge_card(np.eye(6)[:2], labels)  # type: ignore[arg-type]  # a wrong kind is the point
