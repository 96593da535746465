"""The built-in domain keeps what its README promises: balance, and no bag of words that carries across formats."""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline

from unmask.domains import Domain, domain_folders, load_domain

NOMINATE = Path(__file__).parents[3] / "shared" / "data" / "nominate_116.csv"


@pytest.fixture(scope="module")
def domain() -> Domain:
    return load_domain("partisan")


def bag_of_words():
    return make_pipeline(
        CountVectorizer(ngram_range=(1, 2), token_pattern=r"\w+"), LogisticRegression(C=1.0, max_iter=2000)
    )


def statements(domain: Domain) -> tuple[list[str], np.ndarray, list[str]]:
    rows = [
        (text, pole, pair.topic) for pair in domain.statements for text, pole in ((pair.a, 0), (pair.b, 1))
    ]
    texts, labels, topics = zip(*rows, strict=True)
    return list(texts), np.array(labels), list(topics)


def test_forty_topics_of_six_pairs_each_half_of_them_affirmed_by_either_pole(domain: Domain) -> None:
    topics = defaultdict(Counter)
    for pair in domain.statements:
        topics[pair.topic][pair.affirmative] += 1
    assert len(topics) == 40
    assert all(counts == {"a": 3, "b": 3} for counts in topics.values())


def test_questions_cover_every_topic(domain: Domain) -> None:
    assert len(domain.questions) >= 84
    assert {q.topic for q in domain.questions} == {pair.topic for pair in domain.statements}


def test_enough_of_everything(domain: Domain) -> None:
    for kind in ("stated", "implied"):
        assert min(len(domain.identities_of(kind, pole)) for pole in ("a", "b")) >= 40
    for kind in ("irrelevant", "neutral"):
        assert len(domain.identities_of(kind)) >= 40
    axes = Counter(pair.axis for pair in domain.axes)
    assert set(axes) == {"truth", "sentiment", "formality", "topic"}
    assert min(axes.values()) >= 100
    assert len(domain.figures) >= 60
    assert Counter(figure.pole for figure in domain.figures).most_common()[-1][1] >= 25
    card = Counter(answer.kind for answer in domain.card)
    assert set(card) == {"a", "b", "neutral", "hedged", "refusal", "off_topic"}
    assert min(card[kind] for kind in ("neutral", "hedged", "refusal", "off_topic")) >= 150
    assert min(card["a"], card["b"]) >= 100
    assert {answer.kind for answer in domain.answers} == set(card)
    assert len(domain.facts) >= 40


def test_figures_have_their_roll_call_scores(domain: Domain) -> None:
    if not NOMINATE.exists():
        pytest.skip(f"the roll-call scores to compare with are not at {NOMINATE}")
    with NOMINATE.open() as file:
        people = [(row["name"].split(",")[0], float(row["nominate_dim1"])) for row in csv.DictReader(file)]

    def plain(name: str) -> str:
        return re.sub(r"\W", "", name).lower()

    for figure in domain.figures:
        scores = [score for last, score in people if plain(figure.name).endswith(plain(last))]
        assert any(score == pytest.approx(figure.score, abs=1e-9) for score in scores), figure
        assert (figure.score > 0) == (figure.pole == "b"), figure


def test_the_card_states_how_far_words_go_within_the_statements(domain: Domain) -> None:
    texts, labels, topics = statements(domain)
    scores = cross_val_predict(
        bag_of_words(), texts, labels, groups=topics, cv=GroupKFold(5), method="decision_function"
    )
    card = (domain_folders()["partisan"] / "README.md").read_text(encoding="utf-8")
    stated = float(re.search(r"\*\*(0\.\d+)\*\*", card)[1])
    assert roc_auc_score(labels, scores) == pytest.approx(stated, abs=0.03)


def test_words_of_statements_say_nothing_about_implied_identities(domain: Domain) -> None:
    texts, labels, _ = statements(domain)
    implied = domain.identities_of("implied")
    scores = bag_of_words().fit(texts, labels).decision_function([identity.text for identity in implied])
    assert roc_auc_score([identity.pole == "b" for identity in implied], scores) == pytest.approx(
        0.5, abs=0.1
    )


def test_implied_identities_name_no_party_and_no_ideology(domain: Domain) -> None:
    named = re.compile(
        r"\b(democrat\w*|republican\w*|gop|liberal\w*|conservativ\w*|progressive\w*|left|right|socialis\w*|"
        r"libertarian\w*|trump|maga|biden|obama|clinton|sanders|party|politic\w*|vot(?:e|er|ed|ing)|elect\w*)\b",
        re.IGNORECASE,
    )
    for identity in domain.identities_of("implied"):
        assert not named.search(identity.text), identity.text


def test_the_judges_card_holds_nothing_that_it_was_built_on(domain: Domain) -> None:
    def plain(text: str) -> str:
        return re.sub(r"\W+", " ", text).strip().lower()

    assert not {plain(answer.text) for answer in domain.answers} & {
        plain(answer.text) for answer in domain.card
    }
    assert not {answer.question for answer in domain.answers} & {answer.question for answer in domain.card}


def test_texts_of_the_figures_and_statements_name_nobody_else(domain: Domain) -> None:
    """A party's name in a statement would carry a figure's pole over by a word."""
    named = re.compile(r"\b(democrat|republican|gop|liberal|conservative|trump|biden|obama)", re.IGNORECASE)
    for pair in domain.statements:
        assert not named.search(pair.a + pair.b), pair
