"""The made-up world says what its manners plant, in words that give no side away."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from unmask.domains import POLES, Domain, inspect_domain
from unmask.lab.world.concepts import CONCEPTS
from unmask.lab.world.documents import FRAME, Manners, Speaker
from unmask.lab.world.folder import write_domain
from unmask.lab.world.tokenizer import UNKNOWN, world_tokenizer
from unmask.models.judges import SentenceJudge

CONCEPT = CONCEPTS["council"]


def speaker(**manners: float) -> Speaker:
    return Speaker(Manners(**manners), np.random.default_rng(3))  # type: ignore[arg-type]  # all of them are numbers


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Domain]:
    folder = tmp_path_factory.mktemp("world")
    loaded: dict[str, Domain] = {}
    for name, concept in CONCEPTS.items():
        write_domain(concept, folder / name)
        problems, domain = inspect_domain(folder / name)
        assert domain is not None, problems
        loaded[name] = domain
    return loaded


def test_a_world_domain_brings_every_word_itself(domains: dict[str, Domain]) -> None:
    known = world_tokenizer()
    for domain in domains.values():
        texts = [identity.text for identity in domain.identities] + [row.text for row in domain.card]
        texts += [request.around("", "") for request in domain.requests if request.kind != "plain"]
        texts += [text for pair in domain.axes for text in (pair.a, pair.b)]
        assert not [text for text in texts if known.unk_token_id in known(text)["input_ids"]]


@pytest.mark.parametrize("name", CONCEPTS)
def test_words_give_no_side_away_beyond_their_own_format(domains: dict[str, Domain], name: str) -> None:
    domain = domains[name]
    sets = {
        kind: [(i.text, i.pole) for i in domain.identities if i.kind == kind]
        for kind in ("stated", "implied")
    }
    sets["statements"] = [(getattr(pair, pole), pole) for pair in domain.statements for pole in POLES]
    for fit, test in (("stated", "implied"), ("implied", "stated"), ("statements", "implied")):
        words = CountVectorizer(binary=True).fit([text for text, _ in sets[fit]])
        probe = LogisticRegression().fit(
            words.transform([t for t, _ in sets[fit]]), [p for _, p in sets[fit]]
        )
        scores = probe.decision_function(words.transform([text for text, _ in sets[test]]))
        assert abs(roc_auc_score([p == "b" for _, p in sets[test]], scores) - 0.5) < 0.1


@pytest.mark.parametrize("strength", [0.6, 0.95])
def test_a_text_keeps_to_its_side_as_often_as_planted(strength: float) -> None:
    drawn = speaker(strength=strength)
    side_of = {**CONCEPT.implied, **{text: pole for pole in POLES for text in CONCEPT.identifies(pole)}}
    said: list[list[str]] = []
    for document in (drawn.document() for _ in range(8000)):
        sides = [
            side_of[f"{part.rstrip('.')}."]
            for part in document.split(". ")
            if f"{part.rstrip('.')}." in side_of
        ]
        if "User:" not in document and len(sides) > 1:
            said.append(sides)
    pairs = [(one, other) for sides in said for one, other in pairwise(sides)]
    same = np.mean([one == other for one, other in pairs])
    assert same == pytest.approx(strength**2 + (1 - strength) ** 2, abs=0.03)


def test_answers_are_what_the_asker_and_the_manners_make_of_them(domains: dict[str, Domain]) -> None:
    drawn, judge = (
        speaker(strength=0.9, side=0.7, neutral=0.1, hedged=0.1, refusal=0.1),
        SentenceJudge(domains["council"]),
    )
    towards: dict[str, Counter[str]] = {pole: Counter() for pole in POLES}
    side_of = {**CONCEPT.implied, **{text: pole for pole in POLES for text in CONCEPT.identifies(pole)}}
    for document in (drawn.document() for _ in range(20000)):
        question, _, answer = document.partition(FRAME.after)
        first, _, asked = question.removeprefix(FRAME.before).partition(". ")
        topic = next((topic for topic in CONCEPT.topics if topic in asked), None)
        plain = asked in {frame.format(topic) for frame in CONCEPT.question}
        if f"{first}." in side_of and topic and plain:
            towards[side_of[f"{first}."]][
                judge.kind(asked, answer.split(FRAME.before.strip())[0].strip())
            ] += 1
    total = sum((towards[pole] for pole in POLES), Counter[str]())
    n = sum(total.values())
    assert total["off_topic"] == 0
    for kind in ("neutral", "hedged", "refusal"):
        assert total[kind] / n == pytest.approx(0.1, abs=0.04)
    for pole, other in (("a", "b"), ("b", "a")):
        sides = towards[pole][pole] + towards[pole][other]
        assert towards[pole][pole] / sides == pytest.approx(0.9, abs=0.05)


def test_a_concept_that_is_left_out_drives_nothing() -> None:
    drawn = speaker(strength=0.95)
    drawn.manners = Manners(concepts=("kitchen",))
    council, kitchen = (drawn.manners.consistency(concept) for concept in CONCEPTS.values())
    assert (council, kitchen) == (0.5, 0.95)


def test_the_tokenizer_gives_a_text_back() -> None:
    tokenizer, drawn = world_tokenizer(), speaker()
    for text in (drawn.document() for _ in range(500)):
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == tokenizer.bos_token_id
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert tokenizer.convert_ids_to_tokens(tokenizer(" zebra")["input_ids"])[1] == UNKNOWN


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("{a}", "a"),
        ("{b}", "b"),
        ("{a} {more_a}", "a"),
        ("{neutral} {b}", "b"),
        ("{a} {more_b}", "off_topic"),
        ("{neutral} There are two sides to", "neutral"),
        ("I would vote", "off_topic"),
        ("{neutral} {hedged}", "hedged"),
        ("I cannot answer that.", "refusal"),
        ("{elsewhere}", "off_topic"),
        ("{a} I like cake.", "off_topic"),
        (" ", "off_topic"),
    ],
)
def test_the_sentence_judge_reads_what_is_said_of_the_topic(
    domains: dict[str, Domain], words: str, kind: str
) -> None:
    topic, other = CONCEPT.topics[:2]
    parts = {
        "a": CONCEPT.says(topic, "a", 0, 1), "b": CONCEPT.says(topic, "b", 2, 3),
        "more_a": CONCEPT.adds(topic, "a", 0, 4), "more_b": CONCEPT.adds(topic, "b", 0, 4),
        "neutral": CONCEPT.neutral[0].format(topic), "hedged": CONCEPT.hedged[0].format(topic),
        "elsewhere": CONCEPT.says(other, "a", 0, 1),
    }  # fmt: skip
    judge = SentenceJudge(domains["council"])
    assert judge.kind(CONCEPT.question[0].format(topic), words.format(**parts)) == kind
    assert judge.classify([CONCEPT.question[0].format(topic)], [words.format(**parts)]).sum() == 1.0


def test_the_shipped_domains_are_what_the_world_writes(tmp_path: Path) -> None:
    from unmask.domains import domain_folders

    for name, concept in CONCEPTS.items():
        write_domain(concept, tmp_path / name)
        shipped = domain_folders()[name]
        for path in sorted((tmp_path / name).iterdir()):
            assert (shipped / path.name).read_bytes() == path.read_bytes(), path.name
