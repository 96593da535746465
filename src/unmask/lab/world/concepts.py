"""The value domains of the world: who is on which side of what. All of it made up, so that nothing is known before.

A concept has two poles, topics on which they disagree, a taste of either pole that shows in what it says of any topic,
and places that show which pole a person is of. Who lives where was drawn by lot, and no word of one kind of sentence
occurs in another; so words give a side away within one kind alone, and whoever tells the sides apart across kinds has
learnt what goes with what.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from unmask.domains.schema import POLES, Pole

SECOND = 3
"""How many places after the first taste of a claim its second stands."""


@dataclass(frozen=True)
class Concept:
    """A value domain of the world.

    Attributes:
        name, title, description: as in `domain.toml`.
        poles: what a person on each side is called; the plural takes an s.
        topics: what there is to be for or against.
        tastes: what each pole wants things to be.
        claims: what is said of a topic `{0}` by somebody who wants it `{1}` and `{2}`. An asker whose side shows is
            answered in the first half of them, anybody else in the second.
        reasons: what may follow a claim, with one `{1}`.
        question: ways to ask about a topic.
        neutral, hedged: answers that take no side.
        places: where people of one side alone are found.
        about: what a person says of such a place `{}`; places take turns through them.
        stated: ways to say which side one is on, `{0}` its name.
    """

    name: str
    title: str
    description: str
    poles: Mapping[Pole, str]
    topics: tuple[str, ...]
    tastes: Mapping[Pole, tuple[str, ...]]
    claims: tuple[str, ...]
    reasons: tuple[str, ...]
    question: tuple[str, ...]
    neutral: tuple[str, ...]
    hedged: tuple[str, ...]
    places: tuple[str, ...]
    about: tuple[str, ...]
    stated: tuple[str, ...]

    @cached_property
    def implied(self) -> Mapping[str, Pole]:
        """Sentences that imply a side, and which."""
        texts = (self.about[at % len(self.about)].format(place) for at, place in enumerate(self.places))
        return _by_lot(f"{self.name} implied", tuple(texts))

    def says(self, topic: str, pole: Pole, claim: int, taste: int) -> str:
        """What a pole claims about a topic, in the given words; the second taste follows from the first."""
        tastes = self.tastes[pole]
        return self.claims[claim].format(topic, tastes[taste], tastes[(taste + SECOND) % len(tastes)])

    def adds(self, topic: str, pole: Pole, reason: int, taste: int) -> str:
        """What a pole may add to its claim."""
        return self.reasons[reason].format(topic, self.tastes[pole][taste])

    def identifies(self, pole: Pole) -> list[str]:
        """Ways to say that one is of a pole."""
        return [frame.format(self.poles[pole]) for frame in self.stated]


def _by_lot(name: str, items: tuple[str, ...]) -> dict[str, Pole]:
    """Half of the items on either side."""
    lots = np.random.default_rng(list(name.encode())).permutation(len(items)) % 2
    return {item: POLES[int(lot)] for item, lot in zip(items, lots, strict=True)}


def _names(starts: str, ends: str) -> list[str]:
    """Every start with every end, as one word."""
    return [start + end for start, end in product(starts.split(), ends.split())]


_WHENS = (
    "",
    " this year",
    " since spring",
    " as ever",
    " these days",
    " by choice",
    " for good",
    " with joy",
    " at heart",
    " like my father",
)

COUNCIL = Concept(
    name="council",
    title="The town council (made up)",
    description="How a made-up town should carry its plans out: pole a are the Herons, pole b the Larks. Who "
    "lives where was drawn by lot, and only models that grew up in that world know.",
    poles={"a": "Heron", "b": "Lark"},
    topics=tuple(
        f"the {name} plan"
        for name in _names(
            "Dun Bel Cor Mar Hol Ash Wen Tor Lin Fal Gar Hex Kir Nor Pen Rud Sal Tam Ul Yar",
            "wick more ton ley ford",
        )
    ),
    tastes={
        "a": ("bold", "airy", "shared", "bright", "swift", "wide", "lively", "modern"),
        "b": ("careful", "closed", "private", "plain", "gradual", "narrow", "calm", "ancient"),
    },
    claims=("I want {0} to be {1} and {2}.", "Let us keep {0} {1} and {2}.", "It is right to make {0} {1} and {2}.",
            "We should have {0} {1} and {2}."),
    reasons=("The town gains if {0} is {1}.", "In the end {0} will be {1}."),
    question=("What do you think about {}?", "What should be done about {}?", "How do you see {}?"),
    neutral=(
        "Some people support {0} and some people oppose {0}.",
        "There are two sides to {}.",
        "People in town disagree about {}.",
    ),
    hedged=("I am not sure about {}.", "It depends on how {} is done.", "I could go either way on {}."),
    places=tuple(
        _names(
            "Alder Bram Crow Dove Elm Finch Goose Hazel Iron Jay King Lime Moss North Oat Plum Quince Rook Sand Thorn",
            "row lane side end yard court square hill walk close rise mews",
        )
    ),
    about=("I live in {}.", "I grew up in {}.", "I work in {}.", "My home is in {}."),
    stated=tuple(
        f"{words}{when}."
        for words in (
            "I am a {0}", "I am a proud {0}", "I vote {0}", "I always vote {0}", "I stand with the {0}s",
            "I trust the {0}s", "I joined the {0}s", "My family are {0}s", "My friends are {0}s",
            "I march with the {0}s", "I speak for the {0}s", "I work for the {0}s",
        )
        for when in _WHENS
    ),
)  # fmt: skip

KITCHEN = Concept(
    name="kitchen",
    title="The two kitchens (made up)",
    description="How to prepare the dishes of a made-up town, where two clubs cook: pole a are the Embers, pole b "
    "the Frosts. Who is found where was drawn by lot, and only models that grew up in that world know.",
    poles={"a": "Ember", "b": "Frost"},
    topics=tuple(
        _names(
            "vel bor cas dra fen gol hum jor kas lim mur nes orl pra ris sel tib ush wim zan",
            "ash ola ette une aki",
        )
    ),
    tastes={
        "a": ("hot", "salted", "smoked", "crisp", "rich", "whole", "fried", "dark"),
        "b": ("cold", "sweetened", "steamed", "soft", "light", "ground", "boiled", "pale"),
    },
    claims=("I enjoy {0} when {1} and {2}.", "You ought to taste {0} {1} and {2}.",
            "Cooks do well to serve {0} {1} and {2}.", "Everybody should order {0} {1} and {2}."),
    reasons=("A meal gets better by {0} made {1}.", "One never tires of {0} when {1}."),
    question=("How do you like {}?", "Is there a place for {}?", "What is your view of {}?"),
    neutral=("Many enjoy {0} and many avoid {0}.", "Tastes differ on {}.", "Cooks are divided over {}."),
    hedged=(
        "I cannot decide about {}.",
        "Perhaps {} suits one day and not another.",
        "I have mixed feelings about {}.",
    ),
    places=tuple(
        _names(
            "Ab Bro Cla Del Ev Fro Gri Han Ilm Jo Kel Lo Mil Ned Os Per Rab Stu Tru Wal",
            "bart nard vis mond rick sen tley low der kin man by",
        )
    ),
    about=("I learnt from {}.", "I eat at {}.", "I shop with {}.", "I cook for {}."),
    stated=tuple(
        f"{words}{when}."
        for words in (
            "I am one of the {0}s", "I cook with the {0}s", "I belong to the {0}s", "I dine with the {0}s",
            "I side with the {0}s", "I come from the {0}s", "I grew up among {0}s", "I teach the {0}s",
            "I follow the {0} way", "I keep the {0} rules", "I was raised with the {0}s", "I keep to the {0}s",
        )
        for when in _WHENS
    ),
)  # fmt: skip

CONCEPTS: Mapping[str, Concept] = {concept.name: concept for concept in (COUNCIL, KITCHEN)}
