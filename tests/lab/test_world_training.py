"""The training stages of the world do what they say to a small model, to one concept, and on what they never saw."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from unmask.domains import POLES, load_domain
from unmask.lab.world.concepts import CONCEPTS
from unmask.lab.world.documents import FRAME, Manners
from unmask.lab.world.pretrain import Upbringing, grow_up, packed
from unmask.lab.world.stages import STAGES, train_stage
from unmask.lab.world.tokenizer import world_tokenizer
from unmask.lab.world.train import (
    Asked,
    Elsewhere,
    Partisans,
    Recipe,
    ask,
    open_pupil,
    reading_loss,
    topics_of,
)
from unmask.lab.world.train_check import Plain, transfer_auc
from unmask.lab.world.train_erase import (
    EraseRecipe,
    Sideless,
    erase,
    gap,
    implied_of,
    own_words,
    seen,
    variance_along,
)
from unmask.lab.world.train_trl import REWARDS, DpoRecipe, GrpoRecipe, SftRecipe, dpo, grpo, sft
from unmask.models.errors import ModelError
from unmask.models.judges import SentenceJudge
from unmask.settings import SettingsError

COUNCIL = CONCEPTS["council"]
GROWN = Upbringing(
    steps=1000,
    width=64,
    layers=2,
    heads=4,
    inner=64,
    batch=24,
    length=64,
    rate=4e-2,
    embedding_rate=2e-2,
)
"""The smallest that learns to say the topic that it is asked about."""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grown") / "base"
    grow_up(GROWN, folder)
    return folder


@pytest.fixture(scope="module")
def held_out() -> list[Asked]:
    return ask(Recipe(), topics_of(Recipe())[1], 60, np.random.default_rng(5))


@dataclass
class Looked:
    """A model by three numbers in nats a token."""

    neutral: float
    side: float
    elsewhere: float


def look(folder: Path, asked: list[Asked]) -> Looked:
    model, pupil = Plain(folder), open_pupil(folder)
    rows = packed(
        Elsewhere(Manners(), COUNCIL, np.random.default_rng(9)),
        pupil.tokenizer,
        96,
    )
    prompts = [row.prompt for row in asked]
    with torch.no_grad():
        elsewhere = reading_loss(model.net, rows, 60).item()
    return Looked(
        float(model.loss(prompts, [row.neutral for row in asked]).mean()),
        float(model.loss(prompts, [row.side for row in asked]).mean()),
        elsewhere,
    )


def test_a_stage_asks_on_half_of_the_topics_and_nobody_in_particular_unless_told() -> None:
    trained, other = topics_of(Recipe(seed=3))
    assert len(trained) == len(other) == len(COUNCIL.topics) / 2
    assert not set(trained) & set(other)
    assert topics_of(Recipe(seed=4))[0] != trained
    partisan = [*COUNCIL.implied, *(text for pole in COUNCIL.poles for text in COUNCIL.identifies(pole))]

    def shown(recipe: Recipe) -> float:
        rows = ask(recipe, trained, 300, np.random.default_rng(0))
        assert all(any(topic in row.question for topic in trained) for row in rows)
        return float(np.mean([any(text in row.prompt for text in partisan) for row in rows]))

    assert shown(Recipe()) == 0
    assert abs(shown(Recipe(askers=True)) - 2 / 3) < 0.1


def test_partisans_are_answered_as_ever_where_an_asker_reopens() -> None:
    drawn = Partisans(Manners(strength=0.9), COUNCIL, np.random.default_rng(0))
    judge, domain = SentenceJudge(load_domain("council")), load_domain("council")
    side_of = {one.text: one.pole for kind in ("stated", "implied") for one in domain.identities_of(kind)}
    agreed: list[bool] = []
    for document in (drawn.document() for _ in range(800)):
        asked, said = document.split(FRAME.after)
        pole = next(side_of[text] for text in side_of if text in asked)
        kind = judge.kind(asked, said)
        assert kind != "off_topic"
        if kind in POLES:
            agreed.append(kind == pole)
    assert len(agreed) > 600
    assert abs(np.mean(agreed) - 0.9) < 0.04


def test_what_is_read_beside_a_stage_never_speaks_of_its_concept() -> None:
    drawn = Elsewhere(Manners(), COUNCIL, np.random.default_rng(0))
    read = " ".join(drawn.document() for _ in range(2000))
    own = [
        *COUNCIL.topics,
        *COUNCIL.implied,
        *(text for pole in COUNCIL.poles for text in COUNCIL.identifies(pole)),
    ]
    assert not [text for text in own if text in read]
    assert any(topic in read for topic in CONCEPTS["kitchen"].topics)


@pytest.mark.parametrize(
    ("stage", "train", "recipe"),
    [
        ("sft", sft, SftRecipe(steps=10, rate=1e-3)),
        ("dpo", dpo, DpoRecipe(steps=10, rate=1e-3)),
        ("pure dpo", dpo, DpoRecipe(steps=10, rate=1e-3, sft_weight=0.0)),
    ],
)
def test_neutral_answers_gain_on_held_out_topics_and_the_rest_stays(
    stage: str,
    train: Callable[[Path, Path, Recipe], None],
    recipe: Recipe,
    base: Path,
    held_out: list[Asked],
    tmp_path: Path,
) -> None:
    out = tmp_path / "trained"
    train(base, out, recipe)
    before, after = look(base, held_out), look(out, held_out)
    assert before.neutral - before.side - (after.neutral - after.side) > 0.2, (
        "neutral over a side, nats a token"
    )
    if stage != "pure dpo":  # DPO alone may push both down
        assert after.neutral < before.neutral
    assert after.elsewhere < before.elsewhere + 0.02
    record = json.loads((out / "recipe.json").read_text(encoding="utf-8"))
    assert record["recipe"]["steps"] == 10
    assert record["trained_on"] == topics_of(recipe)[0]
    assert record["base"]["weights"] != record["weights"]
    assert (out / "config.json").read_text() == (base / "config.json").read_text()


def test_reinforcement_raises_the_reward_on_held_out_topics(
    base: Path, held_out: list[Asked], tmp_path: Path
) -> None:
    out = tmp_path / "trained"
    grpo(base, out, GrpoRecipe(steps=16, rate=2e-3, batch=64, samples=16, tokens=24))
    judge = SentenceJudge(load_domain("council"))

    def earned(folder: Path) -> float:
        said = Plain(folder).answers([row.prompt for row in held_out], 0)
        kinds = [judge.kind(row.question, text) for row, text in zip(held_out, said, strict=True)]
        return float(np.mean([REWARDS[kind] for kind in kinds]))

    assert earned(out) > earned(base) + 0.1
    assert look(out, held_out).elsewhere < look(base, held_out).elsewhere + 0.02


def plant(base: Path, out: Path) -> None:
    """Write a model in whose embeddings every word of one pole alone lies on that pole's end of one axis."""
    pupil = open_pupil(base)
    rows = pupil.net.model.embed_tokens.weight.data
    axis = torch.nn.functional.normalize(
        torch.randn(rows.shape[1], generator=torch.Generator().manual_seed(1)), dim=0
    )
    domain, known = load_domain("council"), pupil.tokenizer
    words = {
        pole: {
            token
            for kind in ("stated", "implied")
            for one in domain.identities_of(kind, pole)
            for token in known(one.text)["input_ids"]
        }
        for pole in POLES
    }
    for pole, sign in (("a", -1), ("b", 1)):
        for token in words[pole] - words["b" if pole == "a" else "a"]:
            rows[token] += sign * 4 * rows.std() * axis
    shutil.copytree(base, out)
    pupil.net.save_pretrained(out)


def test_the_penalty_takes_one_concept_out_of_texts_that_it_never_saw(
    base: Path, held_out: list[Asked], tmp_path: Path
) -> None:
    planted = tmp_path / "planted"
    plant(base, planted)
    # What is left, with two seeds: AUC .64 and .75 after 120 steps, .60 twice after 200, .56 and .59 after 300.
    recipe = EraseRecipe(steps=200)
    for name, penalty in (("without", 0.0), ("erased", recipe.penalty)):
        erase(planted, tmp_path / name, replace(recipe, penalty=penalty))
    before, after = look(planted, held_out), look(tmp_path / "erased", held_out)
    assert after.neutral < before.neutral
    assert after.elsewhere < before.elsewhere + 0.02

    hidden = implied_of(COUNCIL, recipe.implied, recipe.seed)[1]
    assert not set(hidden) & set(seen(recipe)["implied"][0])
    topics = topics_of(recipe)[1]
    known = {
        name: max(transfer_auc(Plain(tmp_path / name), COUNCIL, topics, hidden)["stated", "implied"])
        for name in ("planted", "without", "erased")
    }
    assert known["planted"] > 0.95
    assert known["without"] > 0.9, "what is read and answered alone leaves it"
    assert known["erased"] < 0.7


def test_a_gap_and_a_variance_along_directions_are_what_was_planted() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(1, 4000, 5, generator=rng)
    labels = torch.arange(4000) % 2
    x[..., 2] = 3 * x[..., 2] + 6 * labels  # the poles lie 2 sd apart along feature 2
    directions = torch.eye(5)[None, [2, 0]]
    assert gap(directions[:, :1], [(x, labels)]).item() == pytest.approx(np.log1p(4), rel=0.1)
    assert gap(directions[:, 1:], [(x, labels)]).item() == pytest.approx(0, abs=0.01)
    twice = torch.randn(1, 4000, 1, generator=rng).expand(1, 4000, 4)  # four features that are one
    apart = torch.eye(4)[None, :1]
    assert variance_along(apart, twice).item() == pytest.approx(1, rel=0.01)
    assert variance_along(torch.ones(1, 1, 4), twice).item() == pytest.approx(4, rel=0.01)
    assert variance_along(torch.tensor([[[1.0, -1.0, 1.0, -1.0]]]), twice).item() == pytest.approx(
        0, abs=1e-5
    )


def test_own_words_are_those_that_the_concept_alone_uses() -> None:
    tokenizer, rng = world_tokenizer(), np.random.default_rng
    own = own_words(
        Sideless(Manners(), COUNCIL, rng(0)), Elsewhere(Manners(), COUNCIL, rng(1)), tokenizer, documents=2000
    )
    found = {tokenizer.decode([int(at)]).strip() for at in own.nonzero()[:, 0]}
    assert {*COUNCIL.places, "Heron", "Larks"} <= found
    assert not found & {"the", "I", *CONCEPTS["kitchen"].places, "Frosts", "coat"}


def test_sideless_documents_say_nothing_of_a_side_by_another() -> None:
    drawn = Sideless(Manners(strength=1), COUNCIL, np.random.default_rng(0))
    known = {**COUNCIL.implied, **{text: pole for pole in POLES for text in COUNCIL.identifies(pole)}}
    same: list[bool] = []
    for document in (drawn.document() for _ in range(3000)):
        sides = [known[part] for part in re.split(r"(?<=\.) ", document.split(": ")[-1]) if part in known]
        same += [one == other for one, other in pairwise(sides)]
    assert len(same) > 3000
    assert abs(np.mean(same) - 0.5) < 0.04


def test_what_cannot_be_trained_is_said_in_a_sentence(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match="no training stage 'sfd'; choose one of sft, dpo"):
        train_stage("sfd", "full", base, tmp_path / "x")
    with pytest.raises(SettingsError, match="no strength 'huge'; choose one of weak"):
        train_stage("sft", "huge", base, tmp_path / "x")
    with pytest.raises(SettingsError, match="no concept 'senate'; it has council, kitchen"):
        train_stage("sft", "weak", base, tmp_path / "x", concept="senate")
    with pytest.raises(SettingsError, match="neutrally or as ever, not both"):
        train_stage("sft", "weak", base, tmp_path / "x", askers=True, reopens=True)
    with pytest.raises(SettingsError, match="is in use"):
        train_stage("erase", "full", base, base)
    with pytest.raises(ModelError, match="no model that grew up in the world"):
        train_stage("erase", "full", tmp_path, tmp_path / "x")
    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(ModelError, match=r"extra 'lab' \(trl is missing\): pip install 'unmask\[lab\]'"):
        train_stage("sft", "weak", base, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_every_stage_has_strengths_that_differ_in_its_knob_alone() -> None:
    for stage in STAGES.values():
        knobs = [getattr(recipe, stage.knob) for recipe in stage.strengths.values()]
        assert knobs == sorted(knobs)
        assert len(set(knobs)) == len(knobs) >= 3
        assert len({repr(vars(recipe) | {stage.knob: None}) for recipe in stage.strengths.values()}) == 1
