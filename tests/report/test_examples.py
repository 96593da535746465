"""Both models' answers to the same question stand beside each other."""

from __future__ import annotations

import pandas as pd

from report import fixture
from unmask.report.examples import answer_cards, reactivated, steered

COLUMNS = ["side", "topic", "question", "sample", "text", "label", "confidence"]


def test_cards_pair_the_sides_and_show_every_question_before_a_second_sample() -> None:
    rows = [
        (side, "t", question, sample, f"{side} {question} {sample}", "neutral", 0.912)
        for side in ("base", "aligned")
        for question in ("q1", "q2")
        for sample in (0, 1)
    ]
    cards, total = answer_cards({"answers": pd.DataFrame(rows[:-1], columns=COLUMNS)})
    assert total == 4
    assert [(card.question, card.sample) for card in cards] == [
        ("q1", "0"),
        ("q2", "0"),
        ("q1", "1"),
        ("q2", "1"),
    ]
    assert all(
        card.base is not None and card.base.text == f"base {card.question} {card.sample}" for card in cards
    )
    assert cards[0].base is not None
    assert cards[0].base.confidence == "91%"
    assert cards[-1].aligned is None


def test_doses_climb() -> None:
    tables = fixture.tables()
    first = steered({"texts": tables["partisan/causality.texts"]})[0]
    assert [row.condition for row in first.rows] == ["−8.0 σ", "−4.0 σ", "dose 0", "+4.0 σ", "+8.0 σ"]


def test_askers_are_named_by_pole() -> None:
    tables = fixture.tables()
    ladders = reactivated({"answers": tables["partisan/reactivation.answers"]}, fixture.POLES)
    assert [row.condition for row in ladders[0].rows] == [
        "implied: Democratic",
        "implied: Republican",
        "no one said",
    ]
    assert all(row.base is not None and row.aligned is not None for row in ladders[0].rows)
