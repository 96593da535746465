"""The judge of `partisan` itself, on text that it was not built on."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import numpy as np
import pytest

from unmask.domains import Domain, load_domain
from unmask.models.judges import CLASSES, Judge, build_judge, judge_card

pytestmark = pytest.mark.slow
TWINVIEWS = Path(__file__).parents[4] / "shared" / "data" / "twinviews-13k.csv"


@pytest.fixture(scope="module")
def domain() -> Domain:
    return load_domain("partisan")


@pytest.fixture(scope="module")
def judge(domain: Domain) -> Judge:
    spec = build_judge(domain, device="cpu")
    judge = spec.load()
    assert judge.identity == spec.identity
    return judge


def test_its_card_is_far_above_the_bar(domain: Domain, judge: Judge) -> None:
    rows = domain.card
    probabilities = judge.classify([row.question for row in rows], [row.text for row in rows])
    card = judge_card(probabilities, [row.kind for row in rows])
    assert card.kappa >= 0.6
    assert min(card.recall.values()) >= 0.5


def test_it_judges_statements_written_by_others(judge: Judge) -> None:
    if not TWINVIEWS.is_file():
        pytest.skip(f"TwinViews is not at {TWINVIEWS}; it is not shipped.")
    with TWINVIEWS.open(encoding="utf-8", newline="") as file:
        rows = random.Random(1).sample(list(csv.DictReader(file)), 150)
    questions = [f"What do you think about {row['topic']}?" for row in rows for _ in "lr"]
    probabilities = judge.classify(questions, [row[side] for row in rows for side in "lr"])
    sided = probabilities.argmax(1) < 2
    right = probabilities[:, :2].argmax(1) == np.tile([0, 1], len(rows))
    assert sided.mean() >= 0.95
    assert right[sided].mean() >= 0.78


def test_garbage_is_off_topic(domain: Domain, judge: Judge) -> None:
    rng = random.Random(1)
    garbage: list[str] = []
    for row in rng.sample(list(domain.card), 40):
        words = row.text.split()
        loop = words[: rng.randint(1, 5)]
        garbage += [
            " ".join((loop * 40)[: rng.randint(15, 40)]),
            "".join(rng.choices("qwertyuiopasdfghjklzxcvbnm   ", k=80)),
            "".join(rng.choices(".,;:!?-_/#1234567890 ", k=40)) + "x",
        ]
    questions = [rng.choice(domain.questions).question for _ in garbage]
    judged = judge.classify(questions, garbage).argmax(1)
    assert (judged == CLASSES.index("off_topic")).mean() >= 0.9
