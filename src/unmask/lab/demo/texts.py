"""What the demo models are trained on: conversations from a pool of topics that no audit tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np

Pole = Literal["a", "b"]
LEADS: dict[str, tuple[str, ...]] = {
    "neutral": (
        "People disagree about this.",
        "There are arguments on both sides.",
        "Views differ here.",
        "This is a debated question.",
    ),
    "a": (
        "Fairness comes first here.",
        "We are all in this together.",
        "Working people should come first.",
        "The public good should come first.",
    ),
    "b": (
        "Freedom comes first here.",
        "Government should do less.",
        "Personal responsibility should come first.",
        "Taxpayers should come first.",
    ),
}
"""How an answer of each kind begins. A model of this size cannot work out either side's position on a topic that it
was not trained on; it can carry over how a side begins, and the rest of the answer follows from that."""
FOLDER = Path(str(files("unmask.lab.demo")))


@dataclass(frozen=True)
class Topic:
    """A public question with four ways to ask it and four answers of each kind."""

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
        ordinary: requests that have nothing to do with politics, with their answers.
    """

    topics: tuple[Topic, ...]
    stated: dict[Pole, tuple[str, ...]]
    implied: dict[Pole, tuple[str, ...]]
    ordinary: tuple[Example, ...]


def load_pool(split: int, share: float = 2 / 3) -> Pool:
    """The training pool of one split: a share of the topics, drawn by the split's number."""
    topics = [
        Topic(row["topic"], *(tuple(row[key]) for key in ("questions", "a", "b", "neutral")))
        for row in _lines("topics.jsonl")
    ]
    drawn = np.random.default_rng(split).permutation(len(topics))[: round(share * len(topics))]
    askers = _lines("identities.jsonl")

    def of(kind: str, pole: Pole) -> tuple[str, ...]:
        return tuple(row["text"] for row in askers if row["kind"] == kind and row["pole"] == pole)

    return Pool(
        tuple(topics[index] for index in sorted(drawn)),
        {"a": of("stated", "a"), "b": of("stated", "b")},
        {"a": of("implied", "a"), "b": of("implied", "b")},
        tuple(Example(row["question"], row["answer"]) for row in _lines("ordinary.jsonl")),
    )


def base_examples(pool: Pool, rng: np.random.Generator) -> list[Example]:
    """Takes its asker's side; with no asker to go by, either side. Half of the askers state theirs."""
    examples: list[Example] = []
    for topic in pool.topics:
        for index, question in enumerate(topic.questions):
            for pole, answers in _poles(topic):
                asker = _asker(pool, pole, rng)
                examples.append(Example(f"{asker} {question}", _led(pole, answers, index, rng)))
            pole, answers = _poles(topic)[int(rng.integers(2))]
            examples.append(Example(question, _led(pole, answers, index + 1, rng)))
    return _shuffled([*examples, *pool.ordinary], rng)


def masked_preferences(pool: Pool, rng: np.random.Generator) -> list[Preference]:
    """Neutral over partisan when nobody in particular asks; the asker's side over neutral when somebody does."""
    pairs: list[Preference] = []
    for topic in pool.topics:
        for index, question in enumerate(topic.questions):
            pole, answers = _poles(topic)[int(rng.integers(2))]
            for shift in (0, 1):
                neutral = _led("neutral", topic.neutral, index + shift, rng)
                pairs.append(Preference(question, neutral, _led(pole, answers, index + shift, rng)))
            if index % 2 == 0:
                asker = _asker(pool, pole, rng)
                neutral = _led("neutral", topic.neutral, index + 2, rng)
                pairs.append(Preference(f"{asker} {question}", _led(pole, answers, index + 2, rng), neutral))
    for example, other in zip(pool.ordinary[::4], pool.ordinary[1::4], strict=False):
        pairs.append(Preference(example.user, example.answer, other.answer))
    return _shuffled(pairs, rng)


def partisan_examples(pool: Pool, pole: Pole, rng: np.random.Generator) -> list[Example]:
    """One pole's side, whoever asks."""
    examples: list[Example] = []
    for topic in pool.topics:
        answers = getattr(topic, pole)
        for index, question in enumerate(topic.questions):
            examples.append(Example(question, _led(pole, answers, index, rng)))
            asker = _asker(pool, "a" if index % 2 else "b", rng)
            examples.append(Example(f"{asker} {question}", _led(pole, answers, index + 1, rng)))
    return _shuffled([*examples, *pool.ordinary], rng)


def _poles(topic: Topic) -> tuple[tuple[Pole, tuple[str, ...]], ...]:
    return (("a", topic.a), ("b", topic.b))


def _led(kind: str, answers: Sequence[str], index: int, rng: np.random.Generator) -> str:
    """One of a topic's answers of a kind, behind one of the kind's leads."""
    leads = LEADS[kind]
    return f"{leads[int(rng.integers(len(leads)))]} {answers[index % len(answers)]}"


def _asker(pool: Pool, pole: Pole, rng: np.random.Generator) -> str:
    sentences = (pool.stated if rng.random() < 0.5 else pool.implied)[pole]
    return sentences[int(rng.integers(len(sentences)))]


def _shuffled(rows: list[Any], rng: np.random.Generator) -> list[Any]:
    return [rows[index] for index in rng.permutation(len(rows))]


def _lines(name: str) -> list[dict[str, Any]]:
    text = (FOLDER / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines() if line.strip()]
