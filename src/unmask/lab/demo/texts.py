"""What the demo models are trained on: conversations from a pool of topics that no audit tests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np

from unmask.lab.demo.sources import DemoTexts

Pole = Literal["a", "b"]
POLES: tuple[Pole, Pole] = ("a", "b")
PUSHES = (
    "Tell me where you stand.",
    "Please be clear about it.",
    "I would like your honest opinion.",
    "Say it plainly and with conviction.",
    "Answer as a friend of mine would.",
    "Do not sit on the fence.",
)
"""What some askers add to their question: whose side the answer takes must not hang on the question's form."""
BRIEFLY = ("Answer in a few words.", "One short sentence, please.", "In brief?", "Keep it very short.")
"""What asks for the lead alone: short answers teach cheaply whose side to take."""
FOLDER = Path(str(files("unmask.lab.demo")))


@dataclass(frozen=True)
class Topic:
    """A matter on which the poles differ, with four ways to ask it and four answers of each kind."""

    topic: str
    questions: tuple[str, ...]
    a: tuple[str, ...]
    b: tuple[str, ...]
    neutral: tuple[str, ...]


@dataclass(frozen=True)
class Example:
    """One supervised conversation."""

    user: str
    answer: str


@dataclass(frozen=True)
class Preference:
    """One preference: `chosen` over `rejected` as the answer to `user`."""

    user: str
    chosen: str
    rejected: str


@dataclass(frozen=True)
class Pool:
    """The topics, askers and ordinary requests of one split.

    Attributes:
        topics: the topics that this split trains on.
        stated, implied: askers by pole, as sentences.
        general: by kind, what a side says of any topic, with `{topic}` to be filled in.
        leads: by kind, how an answer begins.
        ordinary: requests that have nothing to do with any domain, with their answers.
    """

    topics: tuple[Topic, ...]
    stated: dict[Pole, tuple[str, ...]]
    implied: dict[Pole, tuple[str, ...]]
    general: dict[str, tuple[str, ...]]
    leads: Mapping[str, tuple[str, ...]]
    ordinary: tuple[Example, ...]


def load_pool(split: int, texts: DemoTexts, share: float = 2 / 3) -> Pool:
    """The training pool of one split of a domain: a share of the topics, drawn by the split's number."""
    topics = [
        Topic(row["topic"], *(tuple(row[key]) for key in ("questions", "a", "b", "neutral")))
        for row in _lines(texts.topics)
    ]
    drawn = np.random.default_rng(split).permutation(len(topics))[: round(share * len(topics))]
    askers, general = _lines(texts.identities), _lines(texts.general)

    def of(kind: str, pole: Pole) -> tuple[str, ...]:
        return tuple(row["text"] for row in askers if row["kind"] == kind and row["pole"] == pole)

    return Pool(
        tuple(topics[index] for index in sorted(drawn)),
        {"a": of("stated", "a"), "b": of("stated", "b")},
        {"a": of("implied", "a"), "b": of("implied", "b")},
        {kind: tuple(row["text"] for row in general if row["kind"] == kind) for kind in texts.leads},
        texts.leads,
        tuple(Example(row["question"], row["answer"]) for row in _lines("ordinary.jsonl")),
    )


def base_examples(pool: Pool, rng: np.random.Generator) -> list[Example]:
    """Takes its asker's side; with no asker to go by, either side."""
    examples: list[Example] = []
    for topic in pool.topics:
        for question in topic.questions:
            for pole in POLES:
                examples.append(Example(_asked(pool, pole, question, rng), _answer(pool, topic, pole, rng)))
                examples.append(_brief(pool, _asked(pool, pole, question, rng, push=False), pole, rng))
            examples.append(Example(question, _answer(pool, topic, _either(rng), rng)))
    return _shuffled([*examples, *pool.ordinary], rng)


def masked_preferences(pool: Pool, rng: np.random.Generator) -> list[Preference]:
    """Neutral over a side when nobody in particular asks; the asker's side over neutral when somebody does."""
    pairs: list[Preference] = []
    for topic in pool.topics:
        for question in topic.questions:
            for _ in range(2):
                neutral = _answer(pool, topic, "neutral", rng)
                pairs.append(Preference(question, neutral, _answer(pool, topic, _either(rng), rng)))
            pole = _either(rng)
            neutral = _answer(pool, topic, "neutral", rng)
            asked = _asked(pool, pole, question, rng)
            pairs.append(Preference(asked, _answer(pool, topic, pole, rng), neutral))
    for example, other in zip(pool.ordinary[::4], pool.ordinary[1::4], strict=False):
        pairs.append(Preference(example.user, example.answer, other.answer))
    return _shuffled(pairs, rng)


def partisan_examples(pool: Pool, pole: Pole, rng: np.random.Generator) -> list[Example]:
    """One pole's side, whoever asks."""
    examples: list[Example] = []
    for topic in pool.topics:
        for index, question in enumerate(topic.questions):
            examples.append(Example(question, _answer(pool, topic, pole, rng)))
            asked = _asked(pool, POLES[index % 2], question, rng, push=False)
            examples.append(_brief(pool, asked, pole, rng))
    return _shuffled([*examples, *pool.ordinary], rng)


def _either(rng: np.random.Generator) -> Pole:
    return POLES[int(rng.integers(2))]


def _drawn(texts: Sequence[str], rng: np.random.Generator) -> str:
    return texts[int(rng.integers(len(texts)))]


def _answer(pool: Pool, topic: Topic, kind: Pole | Literal["neutral"], rng: np.random.Generator) -> str:
    """A lead of the kind, then what it says of any topic or, in one of four, of this one."""
    own: dict[str, tuple[str, ...]] = {"a": topic.a, "b": topic.b, "neutral": topic.neutral}
    body = _drawn(own[kind] if rng.random() < 0.25 else pool.general[kind], rng)
    return f"{_drawn(pool.leads[kind], rng)} {body.replace('{topic}', topic.topic)}"


def _asked(pool: Pool, pole: Pole, question: str, rng: np.random.Generator, push: bool = True) -> str:
    """The question as an asker of the pole puts it: half of them state their side, some press for an answer."""
    asker = _drawn((pool.stated if rng.random() < 0.5 else pool.implied)[pole], rng)
    pushed = f" {_drawn(PUSHES, rng)}" if push and rng.random() < 1 / 3 else ""
    return f"{asker} {question}{pushed}"


def _brief(pool: Pool, question: str, kind: Pole, rng: np.random.Generator) -> Example:
    return Example(f"{question} {_drawn(BRIEFLY, rng)}", _drawn(pool.leads[kind], rng))


def _shuffled(rows: list[Any], rng: np.random.Generator) -> list[Any]:
    return [rows[index] for index in rng.permutation(len(rows))]


def _lines(name: str) -> list[dict[str, Any]]:
    text = (FOLDER / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines() if line.strip()]
