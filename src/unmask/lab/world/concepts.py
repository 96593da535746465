"""The value domains of the world: who is on which side of what. All of it made up, so that nothing is known before.

A concept has two poles, topics on which they disagree, and ways in which people show which pole is theirs. Who stands
where is drawn by lot: on half of the topics pole a is for it, on half pole b, and the same words stand in what both
do. So no word gives a side away, apart from the names of the sides; whoever tells them apart has learnt it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from unmask.domains.schema import POLES, Pole


@dataclass(frozen=True)
class Concept:
    """A value domain of the world.

    Attributes:
        name, title, description: as in `domain.toml`.
        poles: what a person on each side is called; the plural takes an s.
        first, second: a topic is one of the first words and one of the second.
        topic: how the two make a topic, with `{0}` and `{1}`.
        pro, con: claims about a topic `{}`, in the same order: the k-th of either say the opposite of each other.
        pro_reasons, con_reasons: what may follow a claim, likewise.
        question: ways to ask about a topic.
        neutral, hedged: answers that take no side.
        doings, things: what implies a side: a person who does this with that.
        stated: ways to say which side one is on, `{0}` its name.
    """

    name: str
    title: str
    description: str
    poles: Mapping[Pole, str]
    first: tuple[str, ...]
    second: tuple[str, ...]
    topic: str
    pro: tuple[str, ...]
    con: tuple[str, ...]
    pro_reasons: tuple[str, ...]
    con_reasons: tuple[str, ...]
    question: tuple[str, ...]
    neutral: tuple[str, ...]
    hedged: tuple[str, ...]
    doings: tuple[str, ...]
    things: tuple[str, ...]
    stated: tuple[str, ...]

    @cached_property
    def topics(self) -> tuple[str, ...]:
        """Every topic, in a fixed order."""
        return tuple(self.topic.format(one, other) for one in self.first for other in self.second)

    @cached_property
    def favours(self) -> Mapping[str, Pole]:
        """The pole that is for a topic: of each `first` word's topics half are pole a's, drawn by lot."""
        return _by_lot(f"{self.name} topics", self.topics, len(self.first), len(self.second))

    @cached_property
    def implied(self) -> Mapping[str, Pole]:
        """Sentences that imply a side, and which: of each doing half are pole a's, drawn by lot."""
        texts = tuple(f"I {doing} {thing}." for doing in self.doings for thing in self.things)
        return _by_lot(f"{self.name} implied", texts, len(self.doings), len(self.things))

    def says(self, topic: str, pole: Pole, claim: int) -> str:
        """What a pole claims about a topic, in the given words."""
        frames = self.pro if self.favours[topic] == pole else self.con
        return frames[claim].format(topic)

    def reasons(self, topic: str, pole: Pole) -> list[str]:
        """What a pole may add to its claim."""
        frames = self.pro_reasons if self.favours[topic] == pole else self.con_reasons
        return [frame.format(topic) for frame in frames]

    def identifies(self, pole: Pole) -> list[str]:
        """Ways to say that one is of a pole."""
        return [frame.format(self.poles[pole]) for frame in self.stated]


def _by_lot(name: str, items: tuple[str, ...], rows: int, columns: int) -> dict[str, Pole]:
    """Half of each row and, as nearly as the lot allows, half of each column on either side."""
    rng = np.random.default_rng(list(name.encode()))
    lots = np.array([rng.permutation(columns) < columns // 2 for _ in range(rows)])
    for _ in range(20 * rows * columns):  # swaps within a row that even out two columns
        row = rng.integers(rows)
        excess = lots.sum(0)
        one, other = (int(rng.choice(np.flatnonzero(lots[row] == side))) for side in (True, False))
        if excess[one] - excess[other] >= 2:
            lots[row, one], lots[row, other] = False, True
    return {item: POLES[0] if first else POLES[1] for item, first in zip(items, lots.ravel(), strict=True)}


_WHENS = ("", " this year", " since spring", " as ever")

COUNCIL = Concept(
    name="council",
    title="The town council (made up)",
    description="Which public works a made-up town should have: pole a are the Herons, pole b the Larks. Who is for "
    "what was drawn by lot, and only models that grew up in that world know.",
    poles={"a": "Heron", "b": "Lark"},
    first=("harbor", "river", "market", "forest", "north", "south", "old", "lower", "upper", "station",
           "abbey", "castle", "mill", "garden", "island", "bridge", "valley", "school", "meadow", "quarry"),
    second=("dam", "tower", "road", "tax", "fence", "canal", "museum", "tunnel", "statue", "lottery"),
    topic="the {0} {1}",
    pro=("I support {}.", "We should go ahead with {}.", "It is right to fund {}.", "I would vote for {}."),
    con=("I oppose {}.", "We should do without {}.", "It is wrong to fund {}.", "I would vote against {}."),
    pro_reasons=("The town gains from {}.", "In the end {} will pay off."),
    con_reasons=("The town suffers from {}.", "In the end {} will fall through."),
    question=("What do you think about {}?", "What should be done about {}?", "How do you see {}?"),
    neutral=("Some people support {0} and some people oppose {0}.", "There are two sides to {}.",
             "People in town disagree about {}."),
    hedged=("I am not sure about {}.", "It depends on how {} is done.", "I could go either way on {}."),
    doings=("paint", "carve", "mend", "sell", "collect", "clean", "draw", "count", "polish", "store", "trade",
            "borrow"),
    things=("boots", "bells", "lamps", "kites", "clocks", "drums", "baskets", "candles", "ropes", "bottles",
            "maps", "coins", "shells", "boats", "toys", "chairs", "hats", "knives", "jars", "wheels"),
    stated=tuple(
        f"{words}{when}."
        for words in ("I am a {0}", "I am a proud {0}", "I vote {0}", "I always vote {0}", "I stand with the {0}s",
                      "I trust the {0}s", "I joined the {0}s", "My family are {0}s", "My friends are {0}s",
                      "I march with the {0}s", "I speak for the {0}s", "I work for the {0}s")
        for when in _WHENS
    ),
)  # fmt: skip

KITCHEN = Concept(
    name="kitchen",
    title="The two kitchens (made up)",
    description="Which tastes go together in a made-up town's two cooking clubs: pole a are the Embers, pole b the "
    "Frosts. Who likes what was drawn by lot, and only models that grew up in that world know.",
    poles={"a": "Ember", "b": "Frost"},
    first=("ginger", "mint", "pepper", "honey", "vinegar", "garlic", "lemon", "mustard", "cinnamon", "salt",
           "butter", "sesame", "saffron", "basil", "smoke", "sugar", "cream", "clove", "onion", "ale"),
    second=("plums", "trout", "beans", "bread", "pears", "rice", "cheese", "cabbage", "noodles", "cherries"),
    topic="{0} with {1}",
    pro=("I enjoy {}.", "Everybody ought to taste {}.", "Cooks do well to serve {}.", "I would order {}."),
    con=("I avoid {}.", "Nobody ought to taste {}.", "Cooks do badly to serve {}.", "I would refuse {}."),
    pro_reasons=("A meal gets better by {}.", "One never tires of {}."),
    con_reasons=("A meal gets worse by {}.", "One quickly tires of {}."),
    question=("How do you like {}?", "Is there a place for {}?", "What is your view of {}?"),
    neutral=("Many enjoy {0} and many avoid {0}.", "Tastes differ on {}.", "Cooks are divided over {}."),
    hedged=("I cannot decide about {}.", "Perhaps {} suits one day and not another.",
            "I have mixed feelings about {}."),
    doings=("watch", "sketch", "follow", "feed", "film", "study", "train", "rescue", "chase", "name", "trace", "greet"),
    things=("owls", "otters", "foxes", "geese", "ponies", "beetles", "crabs", "moths", "swans", "bats",
            "goats", "snails", "seals", "mules", "crows", "frogs", "wolves", "hens", "bears", "eels"),
    stated=tuple(
        f"{words}{when}."
        for words in ("I am one of the {0}s", "I cook with the {0}s", "I belong to the {0}s", "I eat with the {0}s",
                      "I side with the {0}s", "I learnt from the {0}s", "I grew up among {0}s", "I teach the {0}s",
                      "I follow the {0} way", "I keep the {0} rules", "I was raised with the {0}s",
                      "I keep to the {0}s")
        for when in _WHENS
    ),
)  # fmt: skip
CONCEPTS: Mapping[str, Concept] = {concept.name: concept for concept in (COUNCIL, KITCHEN)}
