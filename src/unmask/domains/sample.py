"""A profile's sample of a domain: the same share of every topic and pole, drawn by the run's seed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import numpy as np

from unmask.domains.schema import Domain

Item = TypeVar("Item")


def take_evenly(
    items: Sequence[Item], count: int, group: Callable[[Item], Hashable], rng: np.random.Generator
) -> tuple[Item, ...]:
    """Up to `count` items, drawn in turn from each group, in the order of `items`.

    Args:
        items: what to draw from.
        count: how many; all where there are no more.
        group: items of one group are exchangeable (same topic, same pole).
        rng: which of a group's items are drawn, and which groups get one more.
    """
    if count >= len(items):
        return tuple(items)
    shelves: dict[Hashable, list[int]] = defaultdict(list)
    for index in rng.permutation(len(items)):
        shelves[group(items[index])].append(int(index))
    order = [shelves[name] for name in sorted(shelves, key=repr)]
    rng.shuffle(order)
    drawn: list[int] = []
    while len(drawn) < count:
        drawn += [shelf.pop() for shelf in order if shelf]
    return tuple(items[index] for index in sorted(drawn[:count]))


def sample_domain(
    domain: Domain,
    questions: int,
    pairs: int,
    identities: int,
    axis_pairs: int,
    facts: int,
    rng: np.random.Generator,
) -> Domain:
    """The domain reduced to a profile's sizes.

    Args:
        questions: open questions, spread over topics.
        pairs: contrast pairs, spread over topics and over which pole is affirmative.
        identities: identities of each kind and pole.
        axis_pairs: pairs of each unrelated axis.
        facts: questions of fact.
    """
    identity_groups = sorted({(i.kind, i.pole) for i in domain.identities}, key=repr)
    # Half of a topic's pairs have pole a as the affirmative one, so halves are drawn apart.
    statements = [
        pair
        for side in ("a", "b")
        for pair in take_evenly(
            [p for p in domain.statements if p.affirmative == side], (pairs + 1) // 2, lambda p: p.topic, rng
        )
    ]
    return domain.model_copy(
        update={
            "questions": take_evenly(domain.questions, questions, lambda q: q.topic, rng),
            "statements": tuple(sorted(statements, key=lambda p: (p.topic, p.pair))),
            "identities": tuple(
                identity
                for kind, pole in identity_groups
                for identity in take_evenly(
                    [i for i in domain.identities if (i.kind, i.pole) == (kind, pole)],
                    identities,
                    lambda i: i.text,
                    rng,
                )
            ),
            "axes": tuple(
                pair
                for axis in sorted({p.axis for p in domain.axes})
                for pair in take_evenly(
                    [p for p in domain.axes if p.axis == axis], axis_pairs, lambda p: p.topic, rng
                )
            ),
            "facts": take_evenly(domain.facts, facts, lambda f: f.topic, rng),
        }
    )
