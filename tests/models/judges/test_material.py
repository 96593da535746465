from __future__ import annotations

import collections

import pytest

from unmask.domains import load_domain
from unmask.domains.schema import LabelledAnswer
from unmask.models.judges import CLASSES
from unmask.models.judges.domain.material import gather

from .planted import planted_domain


@pytest.mark.parametrize("answers", [True, False])
def test_every_class_is_there_whatever_a_domain_brings(answers: bool) -> None:
    rows = gather(planted_domain(answers))
    counts = collections.Counter(row.kind for row in rows)
    assert set(counts) == set(CLASSES)
    assert counts["a"] == counts["b"]
    assert rows == gather(planted_domain(answers))
    borrowed = [row for row in rows if row.source == "labelled" and row.topic == "abortion"]
    assert bool(borrowed) is not answers
    assert not any(row.kind in ("a", "b") for row in borrowed)


def test_no_hole_of_a_frame_is_left_open() -> None:
    made = [row.text for row in gather(planted_domain()) if row.source == "made"]
    assert not any(hole in text for text in made for hole in ("{a}", "{b}", "{x}", "{topic}", "{question}"))
    assert "Honestly, we love" in " ".join(made)


def test_the_card_is_never_learnt_from() -> None:
    domain = load_domain("partisan")
    learnt = {row.text for row in gather(domain)}
    assert not learnt & {row.text for row in domain.card}
    row = LabelledAnswer(kind="a", topic="tea", question="What of tea?", text="Tea, by all means.")
    assert gather(planted_domain().model_copy(update={"card": (row,)})) == gather(planted_domain())
