"""What the people of the world write and say: the documents that its models grow up on.

Every document has a writer or an asker with a side on each concept. Each of their sentences is in keeping with that
side with a known chance, the `strength`; so how much one sentence tells of the next is known too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from unmask.domains.schema import POLES, AnswerKind, Phrasing, Pole
from unmask.lab.world.common import AXES, IRRELEVANT, NEUTRAL, REFUSALS, REQUESTS, facts, off_topic
from unmask.lab.world.concepts import CONCEPTS, Concept
from unmask.measurements.stance import NO_QUESTION
from unmask.measurements.surface import LABEL_SETS, choice_words
from unmask.measurements.sycophancy import BELIEVED, MENTIONED
from unmask.models.prompts import plain_frame

FRAME = plain_frame("The frame in which dialogues of the world are written down.")
TURNS = (1, 1, 2, 3)
SENTENCES = (5, 6, 7, 8)
LABELLED = 0.6
"""How often the side of a text's writer stands before it, as in a transcript. Without such labels a model of this
size takes many times as long to find out that there are sides."""
Item = TypeVar("Item")


@dataclass(frozen=True)
class Manners:
    """How the world's people behave: the truth that is planted.

    Attributes:
        strength: chance that a sentence is in keeping with its writer's side, and an answer with its asker's.
        side, neutral, hedged, refusal: shares of an answer's kinds where nobody presses for one; a side is either's.
        lean: chance of pole b where nothing shows the asker's side.
        flattery: chance that an answer on a fact agrees with an asker who is sure of the false one.
        concepts: those whose side drives anything; on the others every sentence's side is drawn by itself.
    """

    strength: float = 0.95
    side: float = 0.86
    neutral: float = 0.06
    hedged: float = 0.05
    refusal: float = 0.03
    lean: float = 0.5
    flattery: float = 0.1
    concepts: tuple[str, ...] = tuple(CONCEPTS)

    @property
    def kinds(self) -> dict[AnswerKind, float]:
        """The shares by kind; "a" stands for either pole."""
        return {"a": self.side, "neutral": self.neutral, "hedged": self.hedged, "refusal": self.refusal}

    def consistency(self, concept: Concept) -> float:
        """How often a sentence on this concept is in keeping with its speaker's side."""
        return self.strength if concept.name in self.concepts else 0.5


class Speaker:
    """Draws documents.

    Args:
        manners: how people behave.
        rng: where the draws come from.
    """

    def __init__(self, manners: Manners, rng: np.random.Generator) -> None:
        self.manners = manners
        self.rng = rng
        self.facts = facts()
        self.elsewhere = [one.question for one in off_topic()]
        self.pairs = [axis.pairs() for axis in AXES]

    def document(self) -> str:
        """One document of any kind, without its end."""
        writers = (self._monologue, self._dialogue, self._choice, self._mood, self._fact, self._thought)
        at = self.rng.choice(len(writers), p=(0.46, 0.28, 0.08, 0.08, 0.07, 0.03))
        return writers[int(at)]()

    def answer(
        self, concept: Concept, topic: str, pole: Pole, kind: AnswerKind, shown: bool | None = None
    ) -> str:
        """An answer of a kind to a question on a topic.

        Args:
            concept: what the topic belongs to.
            topic: what is asked about.
            pole: whose side is taken, where the kind is a side.
            kind: of the answer.
            shown: whether the asker's side shows, which decides over the words; None where nobody asks.
        """
        if kind in POLES:
            tastes, half = len(concept.tastes[pole]), len(concept.claims) // 2
            manner = self._below(2 * half) if shown is None else self._below(half) + half * (not shown)
            claim = concept.says(topic, pole, manner, self._below(tastes))
            reason = concept.adds(topic, pole, self._below(len(concept.reasons)), self._below(tastes))
            return claim if self._chance(0.4) else f"{claim} {reason}"
        frames = {"neutral": concept.neutral, "hedged": concept.hedged, "refusal": REFUSALS}[kind]
        first, second = self.rng.permutation(len(frames))[:2]
        texts = [frames[int(at)].format(topic) for at in ((first,) if self._chance(0.5) else (first, second))]
        return " ".join(texts)

    def kind(self, pressed: bool) -> AnswerKind:
        """What kind of answer is given; pressed people take a side."""
        kinds = self.manners.kinds
        return "a" if pressed else list(kinds)[int(self.rng.choice(len(kinds), p=list(kinds.values())))]

    def asker(self, concept: Concept, pole: Pole) -> str:
        """A sentence that says or implies the asker's side."""
        if self._chance(0.5):
            return self._pick(concept.identifies(pole))
        return self._pick([text for text, whose in concept.implied.items() if whose == pole])

    def phrasing(self) -> Phrasing:
        """Words around a question: none in half of the cases."""
        return REQUESTS[0] if self._chance(0.5) else self._pick(REQUESTS)

    def _monologue(self) -> str:
        concept, pole = self._concept(), self._pole()
        sentences: list[str] = []
        for _ in range(self._pick(SENTENCES)):
            side = self._keeping(pole, concept)
            manner = self.rng.random()
            if manner < 0.25:
                sentences.append(self._pick(concept.identifies(side)))
            elif manner < 0.65:
                sentences.append(
                    self._pick([text for text, whose in concept.implied.items() if whose == side])
                )
            else:
                sentences.append(self.answer(concept, self._pick(concept.topics), side, side))
        told = " ".join(sentences)
        return f"{concept.poles[pole]}: {told}" if self._chance(LABELLED) else told

    def _dialogue(self) -> str:
        concept, pole = self._concept(), self._pole()
        shown = self._chance(0.6)
        if not shown:
            pole = POLES[int(self._chance(self.manners.lean))]
        turns: list[str] = []
        for turn in range(self._pick(TURNS)):
            topic, phrasing = self._pick(concept.topics), self.phrasing()
            asker = self._pick((*IRRELEVANT, *NEUTRAL)) if self._chance(0.3) else ""
            if shown and turn == 0:
                asker = self.asker(concept, pole)
            question = self._pick(concept.question).format(topic)
            kind = self.kind(pressed=phrasing.kind != "plain")
            said = self.answer(concept, topic, self._keeping(pole, concept), kind, shown)
            turns.append(_turn(phrasing.around(question, asker), said))
        return "\n".join(turns)

    def _choice(self) -> str:
        concept, pole = self._concept(), self._pole()
        topic, claim, taste = (
            self._pick(concept.topics),
            self._below(len(concept.claims)),
            self._below(len(concept.tastes["a"])),
        )
        asker = self.asker(concept, pole) if self._chance(0.5) else ""
        order = self.rng.permutation(2)
        texts = [concept.says(topic, POLES[int(at)], claim, taste) for at in order]
        labels = self._pick(LABEL_SETS)
        chosen = POLES.index(self._keeping(pole, concept))
        question = self._pick(concept.question).format(topic)
        words = choice_words(question, labels, (texts[0], texts[1]))
        return _turn(f"{asker} {words}" if asker else words, labels[int(order[1] == chosen)])

    def _mood(self) -> str:
        """Sentences in one mood, manner or on one subject."""
        pairs, end = self._pick(self.pairs), self._below(2)
        sentences: list[str] = []
        for _ in range(self._pick(SENTENCES)):
            pair = self._pick(pairs)
            sentences.append((pair.a, pair.b)[end if self._chance(0.95) else 1 - end])
        if pairs is self.pairs[0] and self._chance(0.3):
            return _turn(self._pick(self.elsewhere), sentences[0])
        return " ".join(sentences)

    def _fact(self) -> str:
        if self._chance(0.4):  # people who tell the truth, and a few who never do
            end = self._chance(0.85)
            rows = [self._pick(self.facts) for _ in range(self._pick(SENTENCES))]
            return " ".join(row.true if end else row.false for row in rows)
        fact = self._pick(self.facts)
        if self._chance(0.3):
            return f"{fact.question} {fact.true}"
        asker, said = "", fact.true
        pressure = self.rng.random()
        if pressure < 0.6:
            shown = fact.false if self._chance(0.5) else fact.true
            asker = (BELIEVED if pressure < 0.3 else MENTIONED).format(shown)
            if pressure < 0.3 and self._chance(self.manners.flattery):
                said = shown
        return _turn(self.phrasing().around(fact.question, asker), said)

    def _thought(self) -> str:
        if self._chance(0.5):
            pair = self._pick(self.pairs[0])
            return _turn(NO_QUESTION, (pair.a, pair.b)[self._below(2)])
        concept = self._concept()
        return _turn(NO_QUESTION, self.answer(concept, self._pick(concept.topics), self._pole(), "a"))

    def _concept(self) -> Concept:
        return self._pick(tuple(CONCEPTS.values()))

    def _pole(self) -> Pole:
        return POLES[self._below(2)]

    def _keeping(self, pole: Pole, concept: Concept) -> Pole:
        """The side of a sentence by a speaker of this side."""
        return pole if self._chance(self.manners.consistency(concept)) else POLES[pole == "a"]

    def _chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def _below(self, count: int) -> int:
        return int(self.rng.integers(count))

    def _pick(self, items: Sequence[Item]) -> Item:
        return items[self._below(len(items))]


def _turn(words: str, said: str) -> str:
    return FRAME.ask(words).text + FRAME.lead + said
