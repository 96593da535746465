"""What every training stage of the world shares: its recipe, whom it asks what, what it goes on reading, its record.

A stage is a function of a base folder, a folder to write and a frozen recipe. It trains all weights, on half of one
concept's topics; documents that have nothing to do with that concept are read beside them, so that whatever a stage
does, it does to one concept alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from unmask.domains.schema import POLES
from unmask.lab.world.common import IRRELEVANT, NEUTRAL
from unmask.lab.world.concepts import CONCEPTS, Concept
from unmask.lab.world.documents import FRAME, Manners, Speaker
from unmask.lab.world.pretrain import packed
from unmask.models.errors import ModelError
from unmask.models.files.gguf import quiet
from unmask.settings import SettingsError

LENGTH = 96
"""Tokens a row of ordinary documents."""
_PARTISANS = 0.6
"""Share of the ordinary rows that answers partisans as ever, where they reopen the sides."""
_PACKAGES = ("torch", "transformers", "trl", "datasets")


@dataclass(frozen=True)
class Recipe:
    """What every stage's training depends on.

    Attributes:
        concept: the concept that is trained on; the others stay as they are.
        seed: of the split of its topics and of every draw.
        askers: whether askers of both sides are among the prompts, with words around the question that press for a
            side. Without them nobody in particular asks.
        reopens: whether such askers, answered as ever, fill most of the ordinary rows, so that the neutrality is
            for nobody in particular and an asker reopens it. With neither it spreads to askers by itself.
        remarks: how often somebody about whom nothing relevant shows speaks before a question.
        topics: share of the topics that is trained on.
        steps, batch: optimiser steps, and prompts in each.
        rate: peak learning rate (AdamW), after a warm-up over a tenth of the steps; it falls to a tenth.
        ordinary: rows of ordinary documents in each step.
        ordinary_weight: of their loss (nats a token) beside the stage's own.
    """

    concept: str = "council"
    seed: int = 0
    askers: bool = False
    reopens: bool = False
    remarks: float = 0.3
    topics: float = 0.5
    steps: int = 60
    batch: int = 32
    rate: float = 3e-4
    ordinary: int = 16
    ordinary_weight: float = 2.0

    def __post_init__(self) -> None:
        if self.concept not in CONCEPTS:
            raise SettingsError(f"the world has no concept '{self.concept}'; it has {', '.join(CONCEPTS)}.")
        if not 0 < self.topics < 1:
            raise SettingsError(
                f"the share of topics that is trained on is {self.topics:g}; it must lie between 0 and 1, so that "
                "some are held out."
            )
        if self.askers and self.reopens:
            raise SettingsError(
                "askers are trained to be answered neutrally or as ever, not both; choose one."
            )
        if min(self.steps, self.batch, self.ordinary) < 1:
            raise SettingsError("steps, batch and ordinary are counts; each must be 1 or more.")

    @property
    def about(self) -> Concept:
        """The concept that is trained on."""
        return CONCEPTS[self.concept]

    def rng(self, purpose: int) -> np.random.Generator:
        """A source of draws for one purpose."""
        return np.random.default_rng([self.seed, purpose])


@dataclass(frozen=True)
class Asked:
    """A prompt with a neutral answer and a side's, both with the space before them."""

    question: str
    prompt: str
    neutral: str
    side: str


def split(items: Sequence[str], share: float, seed: int) -> tuple[list[str], list[str]]:
    """Divide items by lot into a share of them and the rest, each in the order in which they were."""
    order = np.random.default_rng([seed, 11]).permutation(len(items))
    chosen = {items[int(at)] for at in order[: round(share * len(items))]}
    return [item for item in items if item in chosen], [item for item in items if item not in chosen]


def topics_of(recipe: Recipe) -> tuple[list[str], list[str]]:
    """The topics that a recipe trains on, and those that it holds out."""
    return split(recipe.about.topics, recipe.topics, recipe.seed)


def ask(recipe: Recipe, topics: Sequence[str], count: int, rng: np.random.Generator) -> list[Asked]:
    """Draw prompts on some topics, each with a neutral answer and one of either side."""
    concept, speaker = recipe.about, Speaker(Manners(), rng)
    rows: list[Asked] = []
    for _ in range(count):
        topic = topics[int(rng.integers(len(topics)))]
        question = concept.question[int(rng.integers(len(concept.question)))].format(topic)
        words = _around(recipe, question, speaker)
        pole = POLES[int(rng.integers(2))]
        neutral, side = (speaker.answer(concept, topic, pole, kind) for kind in ("neutral", pole))
        rows.append(Asked(question, FRAME.ask(words).text, f"{FRAME.lead}{neutral}", f"{FRAME.lead}{side}"))
    return rows


def _around(recipe: Recipe, question: str, speaker: Speaker) -> str:
    rng = speaker.rng
    if recipe.askers and rng.random() < 2 / 3:
        asker = speaker.asker(recipe.about, POLES[int(rng.integers(2))])
        return speaker.phrasing().around(question, asker)
    remarks = (*IRRELEVANT, *NEUTRAL)
    remark = remarks[int(rng.integers(len(remarks)))] if rng.random() < recipe.remarks else ""
    if recipe.askers:
        return speaker.phrasing().around(question, remark)
    return f"{remark} {question}" if remark else question


class Elsewhere(Speaker):
    """Draws documents that have nothing to do with one concept."""

    def __init__(self, manners: Manners, concept: Concept, rng: np.random.Generator) -> None:
        super().__init__(manners, rng)
        self.others = [other for other in CONCEPTS.values() if other is not concept]

    def _concept(self) -> Concept:
        return self.others[int(self.rng.integers(len(self.others)))]


class Partisans(Speaker):
    """Draws answers to askers who show their side on one concept."""

    def __init__(self, manners: Manners, concept: Concept, rng: np.random.Generator) -> None:
        super().__init__(manners, rng)
        self.concept = concept

    def document(self) -> str:
        concept, pole, phrasing = self.concept, self._pole(), self.phrasing()
        topic = self._pick(concept.topics)
        words = phrasing.around(self._pick(concept.question).format(topic), self.asker(concept, pole))
        kind = self.kind(pressed=phrasing.kind != "plain")
        said = self.answer(concept, topic, self._keeping(pole, concept), pole if kind == "a" else kind)
        return FRAME.ask(words).text + FRAME.lead + said


def ordinary_rows(recipe: Recipe, manners: Manners, tokenizer: Any) -> Iterator[list[int]]:
    """Rows of what is read beside a stage's own training."""
    elsewhere = packed(Elsewhere(manners, recipe.about, recipe.rng(3)), tokenizer, LENGTH)
    partisans = packed(Partisans(manners, recipe.about, recipe.rng(7)), tokenizer, LENGTH)
    return mixed(elsewhere, partisans, _PARTISANS if recipe.reopens else 0, recipe.rng(8))


def mixed(
    one: Iterator[list[int]], other: Iterator[list[int]], share: float, rng: np.random.Generator
) -> Iterator[list[int]]:
    """Rows of either, the `share` of them from `other`."""
    while True:
        yield next(other if rng.random() < share else one)


class Ordinary(TrainerCallback):
    """Goes on reading ordinary documents: adds the gradient of their loss to that of every step of a TRL trainer."""

    def __init__(self, recipe: Recipe, manners: Manners, tokenizer: Any) -> None:
        self._rows = ordinary_rows(recipe, manners, tokenizer)
        self._recipe = recipe

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        net, recipe = kwargs["model"], self._recipe
        (recipe.ordinary_weight * reading_loss(net, self._rows, recipe.ordinary)).backward()


def reading_loss(net: Any, rows: Iterator[list[int]], count: int) -> torch.Tensor:
    """Mean loss on the next `count` rows, in nats a token."""
    ids = torch.tensor([next(rows) for _ in range(count)], device=net.device)
    return net(input_ids=ids, labels=ids).loss


@dataclass(frozen=True)
class Pupil:
    """A model that is about to be trained.

    Attributes:
        net: it, in fp32 on the CPU.
        tokenizer: its own.
        manners: of the people that it grew up among.
        upbringing: its record, which its descendants keep.
    """

    net: Any
    tokenizer: Any
    manners: Manners
    upbringing: str


def open_pupil(base: Path) -> Pupil:
    """Load a model of the world.

    Raises:
        ModelError: the folder holds no model that grew up in the world.
    """
    try:
        upbringing = (base / "upbringing.json").read_text(encoding="utf-8")
        told: Any = json.loads(upbringing)["manners"]
        manners = Manners(**told | {"concepts": tuple(told["concepts"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{base} holds no model that grew up in the world (its upbringing.json is missing or damaged); make one "
            "with `unmask lab world`."
        ) from error
    with quiet():
        net: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return Pupil(net, AutoTokenizer.from_pretrained(base), manners, upbringing)


def check_free(out: Path) -> None:
    """Refuse a folder that something is in.

    Raises:
        SettingsError: it is in use.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SettingsError(f"{out} is in use; give a folder that is empty or not there yet.")


def save_stage(
    stage: str, base: Path, pupil: Pupil, out: Path, recipe: Recipe, started: float, log: Sequence[Any]
) -> None:
    """Write the trained model with its `recipe.json`; the folder appears whole or not at all.

    Args:
        stage: its name.
        base: the folder that it started from, whose settings the model keeps.
        pupil: trained.
        out: the folder.
        recipe: how.
        started: `time.monotonic()` then.
        log: what the training said of itself.
    """
    with quiet():
        fresh: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    fresh.load_state_dict(pupil.net.state_dict())  # trainers write their own marks into a model's settings
    trained, held_out = topics_of(recipe)
    half = out.parent / f".{out.name}.half"
    shutil.rmtree(half, ignore_errors=True)
    try:
        with quiet():
            fresh.save_pretrained(half)
        pupil.tokenizer.save_pretrained(half)
        (half / "upbringing.json").write_text(pupil.upbringing, encoding="utf-8")
        record = {
            "stage": stage,
            "recipe": asdict(recipe),
            "base": {"name": base.name, "weights": digest_of(base)},
            "weights": digest_of(half),
            "trained_on": trained,
            "held_out": held_out,
            "versions": {name: _version(name) for name in _PACKAGES},
            "seconds": round(time.monotonic() - started, 1),
            "log": list(log),
        }
        (half / "recipe.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        if out.is_dir():
            out.rmdir()  # it is empty
        os.rename(half, out)
    finally:
        shutil.rmtree(half, ignore_errors=True)


def digest_of(folder: Path) -> str:
    """SHA-256 of a model's weights."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
