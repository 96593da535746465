"""The common files keep what the measurements take from them: unrelated axes that differ in one thing only."""

from __future__ import annotations

import json
import re
from collections import Counter
from importlib.resources import files

import pytest
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from unmask.domains import Domain, load_domain


@pytest.fixture(scope="module")
def domain() -> Domain:
    return load_domain("partisan")


def plain(text: str) -> str:
    return re.sub(r"\W+", " ", text).strip().lower()


def test_no_text_of_the_axes_stands_twice(domain: Domain) -> None:
    texts = Counter(plain(text) for pair in domain.axes for text in (pair.a, pair.b))
    assert [text for text, n in texts.items() if n > 1] == []


def test_no_text_of_the_axes_is_an_ordinary_request(domain: Domain) -> None:
    demo = (files("unmask.lab.demo") / "ordinary.jsonl").read_text(encoding="utf-8").splitlines()
    ordinary = {plain(text) for line in demo if line.strip() for text in json.loads(line).values()}
    ordinary |= {plain(row.question) for row in domain.offtopic}
    assert not ordinary & {plain(text) for pair in domain.axes for text in (pair.a, pair.b)}


def test_both_sentences_of_a_topic_pair_have_one_form(domain: Domain) -> None:
    """Food and games differ in a few content words: same length, same frame of function words, same end."""
    pairs = [pair for pair in domain.axes if pair.axis == "topic"]
    assert len(pairs) == 120
    assert set(Counter(pair.topic for pair in pairs).values()) == {8}
    for pair in pairs:
        a, b = pair.a.split(), pair.b.split()
        assert len(a) == len(b), pair
        assert pair.a[-1] == pair.b[-1], pair
        changed = [word for words in zip(a, b, strict=True) if words[0] != words[1] for word in words]
        assert 1 <= len(changed) / 2 <= 5, pair
        assert not {plain(word) for word in changed} & ENGLISH_STOP_WORDS, pair
