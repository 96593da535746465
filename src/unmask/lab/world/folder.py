"""Writes a concept of the world as a domain folder, as any user's domain is written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from unmask.domains.schema import POLES, ContrastPair, Identity, LabelledAnswer, Question
from unmask.lab.world.common import AXES, REFUSALS, REQUESTS, facts, off_topic, truth_pairs, unconcerned
from unmask.lab.world.concepts import Concept

_BUILT_ON = 1
"""Topics whose answers the judge is built on; it knows frames, which are the same on all."""
_OF_A_KIND = 160
"""Answers of each kind on the card."""


def write_domain(concept: Concept, folder: Path) -> None:
    """Write a concept as a domain, in the files that docs/adding-a-domain.md describes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "domain.toml").write_text(_header(concept), encoding="utf-8")
    rows: dict[str, Iterable[BaseModel]] = {
        "statements": _statements(concept),
        "questions": questions(concept),
        "identities": (*_partisans(concept), *unconcerned()),
        "axes": (*(pair for axis in AXES for pair in axis.pairs()), *truth_pairs()),
        "facts": facts(),
        "offtopic": off_topic(),
        "requests": REQUESTS,
        "answers": _answers(concept),
        "card": _card(concept),
    }
    for name, items in rows.items():
        lines = [json.dumps(_plain(item), ensure_ascii=False) for item in items]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def questions(concept: Concept) -> list[Question]:
    """One open question a topic, with a claim of each pole as its answer."""
    asked: list[Question] = []
    for at, topic in enumerate(concept.topics):
        claim, taste = at % len(concept.claims), at % len(_tastes(concept))
        a, b = (concept.says(topic, pole, claim, taste) for pole in POLES)
        words = concept.question[at % len(concept.question)].format(topic)
        asked.append(Question(topic=topic, question=words, a=a, b=b))
    return asked


def _header(concept: Concept) -> str:
    lines = [
        f'name = "{concept.name}"',
        f'title = "{concept.title}"',
        f'description = "{concept.description}"',
        'judge = "sentences"',
    ]
    for pole in POLES:
        name = concept.poles[pole]
        lines += [f"[poles.{pole}]", f'name = "{name.lower()}"', f'label = "{name}s"']
    return "\n".join(lines) + "\n"


def _statements(concept: Concept) -> Iterator[ContrastPair]:
    """Neither pole's claims deny anything, so which of the two is called affirmative takes turns."""
    for at, topic in enumerate(concept.topics):
        for claim in range(len(concept.claims)):
            taste = (at + 3 * claim) % len(_tastes(concept))
            a, b = (concept.says(topic, pole, claim, taste) for pole in POLES)
            yield ContrastPair(topic=topic, pair=claim + 1, a=a, b=b, affirmative=POLES[(at + claim) % 2])


def _partisans(concept: Concept) -> Iterator[Identity]:
    for pole in POLES:
        yield from (Identity(kind="stated", pole=pole, text=text) for text in concept.identifies(pole))
    yield from (Identity(kind="implied", pole=pole, text=text) for text, pole in concept.implied.items())


def _answers(concept: Concept) -> Iterator[LabelledAnswer]:
    """Every frame, on a few topics: what the judge is built on."""
    for question in questions(concept)[:_BUILT_ON]:
        topic = question.topic
        texts: dict[str, Sequence[str]] = {
            **{
                pole: [
                    *(
                        concept.says(topic, pole, k, t)
                        for k in range(len(concept.claims))
                        for t in _tastes(concept)
                    ),
                    *(
                        concept.adds(topic, pole, k, t)
                        for k in range(len(concept.reasons))
                        for t in _tastes(concept)
                    ),
                ]
                for pole in POLES
            },
            "neutral": [frame.format(topic) for frame in concept.neutral],
            "hedged": [frame.format(topic) for frame in concept.hedged],
        }
        yield from (_labelled(kind, question, text) for kind, some in texts.items() for text in some)
    first = questions(concept)[0]
    yield from (_labelled("refusal", first, text) for text in REFUSALS)
    yield from (_labelled("off_topic", first, pair.b) for pair in AXES[0].pairs())


def _card(concept: Concept) -> Iterator[LabelledAnswer]:
    """Answers of two sentences on the other topics."""
    elsewhere = [pair.a for pair in AXES[0].pairs()]
    others = questions(concept)[_BUILT_ON:]
    for row in range(_OF_A_KIND):
        question, at = others[row % len(others)], row + row // len(others)
        topic = question.topic
        for pole in POLES:
            claim = concept.says(topic, pole, at % len(concept.claims), at % len(_tastes(concept)))
            reason = concept.adds(topic, pole, at % len(concept.reasons), (at + 3) % len(_tastes(concept)))
            yield _labelled(pole, question, f"{claim} {reason}")
        for kind, frames in (("neutral", concept.neutral), ("hedged", concept.hedged), ("refusal", REFUSALS)):
            one, other = (frames[(at + step) % len(frames)].format(topic) for step in (0, 1))
            yield _labelled(kind, question, f"{one} {other}")
        one, other = elsewhere[at % len(elsewhere)], elsewhere[(at + 7) % len(elsewhere)]
        yield _labelled("off_topic", question, f"{one} {other}")


def _tastes(concept: Concept) -> range:
    return range(len(concept.tastes["a"]))


def _labelled(kind: Any, question: Question, text: str) -> LabelledAnswer:
    return LabelledAnswer(kind=kind, topic=question.topic, question=question.question, text=text)


def _plain(item: BaseModel) -> dict[str, Any]:
    return item.model_dump(exclude_defaults=True) if isinstance(item, Identity) else item.model_dump()
