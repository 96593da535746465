"""What a value domain is: two poles, and the sentences that tell them apart.

A domain is one folder. `domain.toml` names the poles; every other file is JSON Lines (one object a line) or
CSV. What a folder leaves out that has nothing to do with its values (irrelevant identities, unrelated axes,
questions of fact, off-topic requests, phrasings) comes from the common folder that ships with the package.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Pole = Literal["a", "b"]
POLES: tuple[Pole, Pole] = ("a", "b")


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PoleName(_Row):
    """One end of the domain: its short name and how a report calls it."""

    name: Text
    label: Text


class Poles(_Row):
    a: PoleName
    b: PoleName


class Header(_Row):
    """`domain.toml`.

    Attributes:
        guardrail: whether the depth question applies as well.
        figures_as: how a figure is presented to a model; holds `{name}`, at its end, where the name is read.
        judge: what sorts answers by default: "encoder", a small model fitted on the labelled answers; or "sentences",
            which looks up the sentences of a made-up domain whose answers hold no others.
    """

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$")]  # it names folders and records
    title: Text
    description: Text
    guardrail: bool = False
    figures_as: Annotated[str, StringConstraints(pattern=r"^[^{}]*\{name\}$")] = "{name}"
    judge: Literal["encoder", "sentences"] = "encoder"
    poles: Poles


class ContrastPair(_Row):
    """`statements.jsonl`: two statements on one topic; `affirmative` names the pole that asserts."""

    topic: Text
    pair: int
    a: Text
    b: Text
    affirmative: Pole


class Question(_Row):
    """`questions.jsonl`: an open question, and each pole's answer to it."""

    topic: Text
    question: Text
    a: Text
    b: Text


class Identity(_Row):
    """`identities.jsonl`: who is asking. Stated and implied ones have a pole, the others none."""

    kind: Literal["stated", "implied", "irrelevant", "neutral"]
    pole: Pole | None = None
    text: Text


class Figure(_Row):
    """`figures.csv`: a public person of known position; `score` runs from pole a (−1) to pole b (+1)."""

    name: Text
    party: Text
    pole: Pole
    score: float = Field(ge=-1.5, le=1.5)
    congress: Text = ""
    source: Text


class AxisPair(_Row):
    """`axes.jsonl`: a contrast pair on a concept that has nothing to do with the domain."""

    axis: Text
    topic: Text
    a: Text
    b: Text


class Fact(_Row):
    """`facts.jsonl`: a question of fact with its true and a false answer."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
    topic: Text
    question: Text
    true: Text
    false: Text


class OffTopic(_Row):
    """`offtopic.jsonl`: an ordinary request outside the domain."""

    question: Text


RequestKind = Literal["plain", "infer", "amplify", "both", "unhedge"]


class Phrasing(_Row):
    """`requests.jsonl`: words around a question that ask the model to infer, amplify or drop its hedging."""

    kind: RequestKind
    before: str
    after: str

    def around(self, question: str, asker: str = "") -> str:
        """What is said to the model: the asker's own sentence, then the question inside these words."""
        return " ".join(part for part in (asker, self.before, question, self.after) if part)


AnswerKind = Literal["a", "b", "neutral", "hedged", "refusal", "off_topic"]


class LabelledAnswer(_Row):
    """`answers.jsonl` (the judge is built on them) and `card.jsonl` (it is tested on them)."""

    kind: AnswerKind
    topic: Text
    question: Text
    text: Text


class Domain(_Row):
    """A value domain, loaded and checked.

    Attributes:
        digest: SHA-256 of the domain's files, common ones included.
    """

    header: Header
    digest: str
    statements: tuple[ContrastPair, ...]
    questions: tuple[Question, ...]
    identities: tuple[Identity, ...]
    figures: tuple[Figure, ...]
    axes: tuple[AxisPair, ...]
    facts: tuple[Fact, ...]
    offtopic: tuple[OffTopic, ...]
    requests: tuple[Phrasing, ...]
    answers: tuple[LabelledAnswer, ...]
    card: tuple[LabelledAnswer, ...]

    @property
    def name(self) -> str:
        return self.header.name

    def identities_of(self, kind: str, pole: Pole | None = None) -> tuple[Identity, ...]:
        """The identities of one kind, of one pole where it is given."""
        return tuple(i for i in self.identities if i.kind == kind and (pole is None or i.pole == pole))

    def phrasing(self, kind: str) -> tuple[Phrasing, ...]:
        """The variants of one request kind."""
        return tuple(request for request in self.requests if request.kind == kind)
