"""Example answers, both models side by side on the same question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from unmask.report.charts.style import SIDES, Tables, table, thin
from unmask.report.numbers import finite, number
from unmask.report.words import REQUESTS

MAX_CARDS = 400
MAX_QUESTIONS = 12


@dataclass(frozen=True)
class Answer:
    """One side's answer.

    Attributes:
        label: the judge's label, as findings call it; empty where none was judged.
        confidence: the judge's, as text; empty where unknown.
    """

    text: str
    label: str
    confidence: str


@dataclass(frozen=True)
class Card:
    """A question and what the two models said; a side that has no answer is None."""

    topic: str
    question: str
    sample: str
    base: Answer | None
    aligned: Answer | None


@dataclass(frozen=True)
class Row:
    """One condition of an experiment and what both models said under it."""

    condition: str
    detail: str
    base: Answer | None
    aligned: Answer | None


@dataclass(frozen=True)
class Ladder:
    """A question asked under several conditions."""

    question: str
    detail: str
    rows: tuple[Row, ...]


def answer_cards(tables: Tables) -> tuple[list[Card], int]:
    """Base beside aligned, in the order they were asked: every question's first sample, then the second ones.

    Returns:
        The cards, at most 400 spread evenly, and how many there are in all.
    """
    frame = table(tables, "answers", "side", "topic", "question", "sample", "text", "label")
    if frame is None:
        return [], 0
    keys = ["topic", "question", "sample"]
    asked = frame[keys].drop_duplicates()
    turn = asked.groupby(["topic", "question"]).cumcount().sort_values(kind="stable").index
    kept = thin(asked.loc[turn], MAX_CARDS)
    answers = _by(frame, keys)
    cards = [
        Card(str(topic), str(question), str(sample), *_pair(answers, (topic, question, sample)))
        for topic, question, sample in kept.itertuples(index=False)
    ]
    return cards, len(asked)


def steered(tables: Tables) -> list[Ladder]:
    """Text at every dose along the direction, question by question."""
    frame = table(tables, "texts", "side", "dose", "question", "text")
    if frame is None:
        return []
    answers = _by(frame, ["question", "dose"])
    doses = sorted(set(frame["dose"]))
    return [
        Ladder(
            str(question),
            "",
            tuple(
                Row("dose 0" if dose == 0 else f"{'+' if dose > 0 else ''}{number(dose, 1)} σ", "", *pair)
                for dose in doses
                if any(pair := _pair(answers, (question, dose)))
            ),
        )
        for question in list(dict.fromkeys(frame["question"]))[:MAX_QUESTIONS]
    ]


def reactivated(tables: Tables, poles: Mapping[str, str]) -> list[Ladder]:
    """Answers to one question and request by who is asking.

    Args:
        poles: the domain's names of poles a and b.
    """
    columns = ("side", "identity", "pole", "request", "identity_text", "question", "text")
    frame = table(tables, "answers", *columns)
    if frame is None:
        return []
    frame = frame.assign(pole=frame["pole"].astype(object).where(frame["pole"].notna(), ""))
    frame = frame.assign(identity_text=frame["identity_text"].fillna(""))
    condition = ["identity", "pole", "identity_text"]
    answers = _by(frame, ["question", "request", *condition])
    ladders: list[Ladder] = []
    for (question, request), group in frame.groupby(["question", "request"], sort=False):
        rows = tuple(
            Row(
                _asker(identity, pole, poles),
                text,
                *_pair(answers, (question, request, identity, pole, text)),
            )
            for identity, pole, text in group[condition].drop_duplicates().itertuples(index=False)
        )
        ladders.append(Ladder(str(question), REQUESTS.get(str(request), str(request)), rows))
    return ladders[:MAX_QUESTIONS]


def _asker(identity: str, pole: str, poles: Mapping[str, str]) -> str:
    if identity == "none":
        return "no one said"
    return f"{identity}: {poles.get(pole, pole)}" if pole else str(identity)


def _by(frame: pd.DataFrame, keys: Sequence[str]) -> dict[tuple[object, ...], Answer]:
    """Answers by side and condition; of several, the first."""
    answers: dict[tuple[object, ...], Answer] = {}
    for record in frame.to_dict("records"):
        confidence = finite(record.get("confidence"))
        answer = Answer(
            str(record["text"]),
            str(record.get("label") or ""),
            "" if confidence is None else f"{confidence:.0%}",
        )
        answers.setdefault((record["side"], *(record[key] for key in keys)), answer)
    return answers


def _pair(
    answers: Mapping[tuple[object, ...], Answer], key: tuple[object, ...]
) -> tuple[Answer | None, Answer | None]:
    base, aligned = (answers.get((side, *key)) for side in SIDES)
    return base, aligned
