"""A profile's sample is even over topics and poles, keeps the affirmative pole balanced, and follows its seed."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from unmask.domains import load_domain
from unmask.domains.sample import sample_domain, take_evenly


@given(st.lists(st.sampled_from("abc"), max_size=30), st.integers(0, 40), st.integers(0, 5))
def test_items_are_drawn_in_turn_from_every_group(names: list[str], count: int, seed: int) -> None:
    items = list(enumerate(names))
    taken = take_evenly(items, count, lambda item: item[1], np.random.default_rng(seed))
    assert len(taken) == min(count, len(items))
    assert list(taken) == sorted(set(taken))  # in order, none twice
    have, got = Counter(names), Counter(name for _, name in taken)
    for one in have:
        for other in have:
            # A group has fewer than another only where it is used up, or by one.
            assert got[one] >= min(have[one], got[other] - 1)
    assert taken == take_evenly(items, count, lambda item: item[1], np.random.default_rng(seed))


def test_a_sample_of_the_partisan_domain() -> None:
    domain = load_domain("partisan")

    def draw(seed: int):
        return sample_domain(domain, 40, 120, 20, 60, 20, np.random.default_rng(seed))

    sample = draw(0)
    assert (len(sample.questions), len(sample.statements), len(sample.facts)) == (40, 120, 20)
    assert set(Counter(q.topic for q in sample.questions).values()) == {1}
    assert Counter(pair.affirmative for pair in sample.statements) == {"a": 60, "b": 60}
    assert set(Counter(pair.topic for pair in sample.statements).values()) <= {2, 3, 4}
    per_kind = Counter((identity.kind, identity.pole) for identity in sample.identities)
    assert set(per_kind.values()) == {20}
    assert len(per_kind) == 6
    assert set(Counter(pair.axis for pair in sample.axes).values()) == {60}
    assert (sample.figures, sample.card, sample.digest) == (domain.figures, domain.card, domain.digest)
    assert draw(0) == sample
    assert draw(1).statements != sample.statements


def test_a_sample_larger_than_the_domain_is_the_domain() -> None:
    domain = load_domain("partisan")
    whole = sample_domain(domain, *[10**9] * 5, np.random.default_rng(0))
    for part in ("questions", "statements", "identities", "axes", "facts"):
        assert sorted(getattr(whole, part), key=repr) == sorted(getattr(domain, part), key=repr)
