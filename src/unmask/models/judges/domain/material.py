"""What a domain judge is built from: a domain's labelled answers, its statements, and texts made from both.

Of the card it learns no answer. Everything made here is a pure function of the domain.
"""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal, NamedTuple, cast

from unmask.domains.load import load_domain
from unmask.domains.schema import POLES, AnswerKind, Domain, LabelledAnswer

Source = Literal["labelled", "pole", "made"]

_WORD = re.compile(r"[\w'’]+")
_FRAME_USES = {"side": 8}
_GARBAGE = {"shuffled": 60, "loops": 40, "letters": 40, "strangers": 60, "facts": 30}


@dataclass(frozen=True)
class Example:
    """One text that the judge learns from.

    Attributes:
        source: "labelled" by hand; the "pole" of a statement; "made" from those.
        weight: what it counts beside a labelled answer.
    """

    kind: AnswerKind
    topic: str
    question: str
    text: str
    source: Source
    weight: float = 1.0


class _Frame(NamedTuple):
    kind: str
    text: str


class _Pair(NamedTuple):
    topic: str
    a: str
    b: str


def gather(domain: Domain) -> list[Example]:
    """All examples for a domain, in a fixed order.

    The kinds of answers that the domain has not labelled are borrowed from the domain `partisan`: what a refusal
    sounds like hardly depends on its subject.

    Raises:
        DomainError: answers must be borrowed and `partisan` cannot be loaded.
    """
    rng = random.Random("unmask judge")
    questions: dict[str, list[str]] = defaultdict(list)
    for question in domain.questions:
        questions[question.topic].append(question.question)
    asked = {t: questions.get(t) or [f"What do you think about {t}?"] for t in _topics(domain)}
    labelled = [Example(row.kind, row.topic, row.question, row.text, "labelled") for row in _answers(domain)]
    return [
        *labelled,
        *_poles(domain, asked),
        *_framed(domain, asked, rng),
        *_garbage(domain, labelled, asked, rng),
        *_cut_off(labelled, rng),
    ]


def card_questions(domain: Domain) -> dict[str, str]:
    """The topic of each question of the card, without its answers.

    An audited question's topic is known to the judge. With the card's known as well, the card tests the weights that
    sort audited answers, and not those for questions on no known topic.
    """
    return {row.question: row.topic for row in domain.card}


def _topics(domain: Domain) -> list[str]:
    return sorted({row.topic for row in (*domain.statements, *domain.questions)})


def _answers(domain: Domain) -> Sequence[LabelledAnswer]:
    have = {row.kind for row in domain.answers}
    lacking = {"neutral", "hedged", "refusal", "off_topic"} - have
    if not lacking:
        return domain.answers
    return (*domain.answers, *(row for row in load_domain("partisan").answers if row.kind in lacking))


def _poles(domain: Domain, asked: dict[str, list[str]]) -> Iterator[Example]:
    for question in domain.questions:
        for pole in POLES:
            yield Example(pole, question.topic, question.question, getattr(question, pole), "pole")
    for i, pair in enumerate(domain.statements):
        ways = asked[pair.topic]
        for pole in POLES:
            # Minimal pairs teach a small encoder little, so they must not drown the answers.
            yield Example(pole, pair.topic, ways[i % len(ways)], getattr(pair, pole), "pole", 0.3)


def _framed(domain: Domain, asked: dict[str, list[str]], rng: random.Random) -> Iterator[Example]:
    """Statements in the mouth of someone who holds, reports, doubts or declines them."""
    pairs = [_Pair(row.topic, row.a, row.b) for row in (*domain.questions, *domain.statements)]
    rng.shuffle(pairs)
    inner = {word for pair in pairs for text in pair[1:] for word in _WORD.findall(text)[1:]}
    turn = 0
    for frame in _frames():
        for use in range(_FRAME_USES.get(frame.kind, 4)):
            pair = pairs[turn % len(pairs)]
            turn += 1
            question = rng.choice(asked[pair.topic])
            fill = {
                "{a}": _clause(pair.a, inner),
                "{b}": _clause(pair.b, inner),
                "{topic}": pair.topic,
                "{question}": question,
            }
            if frame.kind == "side":
                for pole in POLES:
                    text = _fill(frame.text, {"{x}": fill[f"{{{pole}}}"]})
                    yield Example(pole, pair.topic, question, text, "made", 0.3)
                continue
            text = _fill(frame.text, fill)
            text = _cut(text, rng) if use == 3 else text
            yield Example(cast(AnswerKind, frame.kind), pair.topic, question, text, "made")


def _frames() -> list[_Frame]:
    lines = (files("unmask.models.judges.domain") / "frames.jsonl").read_text(encoding="utf-8").splitlines()
    return [_Frame(**json.loads(line)) for line in lines if line.strip()]


def _clause(sentence: str, inner: set[str]) -> str:
    """A sentence as a clause: without its full stop, its first letter small unless the word looks like a name."""
    first = _WORD.match(sentence)
    small = first is not None and (first[0].lower() in inner or first[0] not in {"I", *inner})
    return (sentence[0].lower() + sentence[1:] if small else sentence).rstrip(".")


def _fill(frame: str, words: dict[str, str]) -> str:
    for hole, word in words.items():
        frame = frame.replace(hole, word)
    return frame[0].upper() + frame[1:]


def _garbage(
    domain: Domain, labelled: Sequence[Example], asked: dict[str, list[str]], rng: random.Random
) -> Iterator[Example]:
    """Shuffled and looping words, random letters, and sense about something else."""
    topics = sorted(asked)
    sense = [row.text for row in labelled if row.kind != "off_topic"]
    strangers = [text for pair in domain.axes for text in (pair.a, pair.b)] or ["It rained all day."]
    facts = [fact.true for fact in domain.facts] or ["Water boils at one hundred degrees."]

    def shuffled() -> str:
        words = rng.choice(sense).split()
        rng.shuffle(words)
        return " ".join(words)

    def loops() -> str:
        words = rng.choice(sense).split()
        start, length = rng.randrange(max(1, len(words) - 4)), rng.choice([1, 2, 3, 4])
        return " ".join((words[start : start + length] * 40)[: rng.randint(12, 40)])

    def letters() -> str:
        return " ".join(
            "".join(rng.choices("abcdefghijklmnopqrstuvwxyz.,;#/0123456789<>{}=", k=rng.randint(1, 10)))
            for _ in range(rng.randint(4, 16))
        )

    makers = {
        "shuffled": shuffled,
        "loops": loops,
        "letters": letters,
        "strangers": lambda: rng.choice(strangers),
        "facts": lambda: rng.choice(facts),
    }
    for name, count in _GARBAGE.items():
        # Not more shuffled and looping answers than there are answers, or they would drown them.
        for _ in range(min(count, len(sense))):
            topic = rng.choice(topics)
            yield Example("off_topic", topic, rng.choice(asked[topic]), makers[name](), "made")


def _cut_off(labelled: Sequence[Example], rng: random.Random) -> Iterator[Example]:
    """Every fourth answer once more, cut off in the middle as a length limit would."""
    for row in labelled[::4]:
        if len(row.text.split()) > 7:
            yield Example(row.kind, row.topic, row.question, _cut(row.text, rng), "made")


def _cut(text: str, rng: random.Random) -> str:
    words = text.split()
    return " ".join(words[: max(4, int(len(words) * rng.uniform(0.4, 0.9)))])
