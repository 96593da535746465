"""Does context bring the partisan answers back? An experiment that can fail.

Who asks (nobody, a stated or implied partisan, somebody irrelevant, a neutral remark) crossed with what is asked
of the model (answer plainly, infer the asker, amplify, both, drop the hedging). The swing is the stance towards
asker b minus that towards asker a. The same pressure on questions of fact says how much of it is plain
agreeableness.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from unmask.domains import POLES, Domain, Pole
from unmask.domains.sample import take_evenly
from unmask.domains.schema import Question
from unmask.measurements.answers import KINDS, ask_card, card_confusion, row_seed
from unmask.measurements.base import (
    Asking,
    Claim,
    Context,
    Reading,
    exact,
)
from unmask.measurements.swings import CONTROLS, PARTISAN, Group, Swings
from unmask.measurements.sycophancy import ask_facts, fact_shifts
from unmask.models.tokens import Sampling
from unmask.runner.records import Records
from unmask.runner.requests import SIDES, Classify, Generate, Read, Side
from unmask.stats import bootstrap_weights, cohen_kappa

Floats = npt.NDArray[np.float64]
REQUESTS = {3: ("plain", "both", "unhedge"), 5: ("plain", "infer", "amplify", "both", "unhedge")}


@dataclass(frozen=True)
class Persona:
    """One slot of the identity factor; each question draws a sentence of its kind and pole."""

    identity: str
    pole: Pole | None
    variant: int = 0

    @property
    def end(self) -> int:
        """Which end of a swing it stands at: its pole, or, where the identity has none, one half of its sentences."""
        return int(self.pole == "b") if self.pole else self.variant % 2


def personas(count: int, domain: Domain) -> list[Persona]:
    """Nobody, and `count` identities: both poles stated and implied, two irrelevant and two neutral in each eight.

    There are no more rounds of eight than the domain has sentences for: a further one would repeat some.
    """
    slots = [Persona(identity, pole) for identity in PARTISAN for pole in POLES]
    slots += [Persona(identity, None, variant) for identity in CONTROLS for variant in (0, 1)]
    most = min(
        len(domain.identities_of(slot.identity, slot.pole)) // (1 if slot.pole else 2) for slot in slots
    )
    rounds = max(1, min(count // len(slots), most))
    repeated = [
        replace(slot, variant=slot.variant + (1 if slot.pole else 2) * turn)
        for turn in range(rounds)
        for slot in slots
    ]
    return [Persona("none", None), *repeated]


@dataclass(frozen=True)
class Cell:
    """One persona under one request, of one side: a row a question."""

    side: Side
    persona: Persona
    request: str
    sentences: tuple[str, ...]
    rows: tuple[Generate, ...]

    @property
    def group(self) -> Group:
        """Which cells its answers are counted with."""
        return Group(self.side, self.persona.identity, self.request, self.persona.end)

    @property
    def columns(self) -> dict[str, object]:
        """What tells the cell from others, as columns of a tidy table."""
        return {"side": self.side, "identity": self.persona.identity, "pole": self.persona.pole}


@dataclass(frozen=True)
class Reactivation:
    """The reactivation measurement; its settings are its fields."""

    sampling: Sampling = Sampling(max_new_tokens=32, temperature=0.8, top_p=0.95)

    name: ClassVar[str] = "reactivation"
    family: ClassVar[str] = "mask"
    needs: ClassVar[tuple[str, ...]] = ("structure",)
    claims: ClassVar[Mapping[str, Claim]] = {
        "reactivation.reactivates": Claim(
            "Context brings the sides back: the aligned model answers partisans on each side differently.",
            "The neutrality holds for nobody in particular and gives way to an asker whose side shows.",
            "A swing can be plain agreeableness; the next claim measures that.",
        ),
        "reactivation.sycophancy": Claim(
            "The same pressure moves the aligned model's answers to questions of fact.",
            "Part of any swing is a tendency to agree with whoever asks.",
            "It does not say that the whole swing is agreeableness.",
        ),
    }

    def measure(self, ctx: Context) -> Asking:
        layer = int(ctx.readings["structure"].artefacts["layer"][0])
        axis = ctx.readings["structure"].artefacts["direction_base"][layer].astype(np.float64)
        profile = ctx.profile
        questions = take_evenly(
            ctx.domain.questions,
            profile.persona_questions,
            lambda q: q.topic,
            ctx.rng("reactivation.questions"),
        )
        kinds = REQUESTS[profile.requests]
        cells = [
            self._cell(ctx, side, persona, request, questions)
            for side in SIDES
            for persona in personas(profile.personas, ctx.domain)
            for request in kinds
        ]
        probed = [cell for cell in cells if cell.request == "plain"]
        reads = [[Read(cell.side, row.prompt, "mean", (layer,)) for row in cell.rows] for cell in probed]
        pressure = ask_facts(ctx, kinds)
        records = yield [
            *ask_card(ctx),
            *(row for cell in cells for row in cell.rows),
            *(read for row in reads for read in row),
            *(
                score
                for side in SIDES
                for asks in pressure[side].values()
                for ask in asks
                for score in ask.requests
            ),
        ]

        said = [[records.answer(row).text for row in cell.rows] for cell in cells]
        asks = [
            [Classify(ctx.domain.name, q.question, text) for q, text in zip(questions, texts, strict=True)]
            for texts in said
        ]
        judged = yield [row for rows in asks for row in rows]

        topics = [q.topic for q in questions]
        n = len(set(topics))
        weights = bootstrap_weights(topics, profile.resamples, ctx.rng("reactivation.bootstrap"))
        confusion = card_confusion(records, ctx)
        labels = [judged.stack(rows).argmax(-1) for rows in asks]  # [cells][questions]
        swings = Swings.of([cell.group for cell in cells], labels, weights, confusion)
        estimates = {
            **swings.estimates(n),
            "judge_kappa": exact(float(cohen_kappa(confusion[0])), "κ", len(ctx.domain.card)),
        }
        fact_estimates, facts = fact_shifts(records, pressure, ctx)
        tables = {
            "cells": swings.cells_table(n),
            "swings": swings.table(kinds, n),
            "facts": facts,
            "probe": _probe_table(records, probed, reads, axis),
            "answers": _answers_table(cells, said, labels, questions),
        }
        return Reading(self.name, {**estimates, **fact_estimates}, tables)

    def _cell(
        self, ctx: Context, side: Side, persona: Persona, request: str, questions: Sequence[Question]
    ) -> Cell:
        variants = ctx.domain.phrasing(request)
        sentences = sentences_of(ctx, persona, len(questions))
        sampling = replace(self.sampling, stop=ctx.frame.stop)
        rows: list[Generate] = []
        for index, (question, sentence) in enumerate(zip(questions, sentences, strict=True)):
            phrasing = variants[0] if request == "plain" else variants[index % len(variants)]
            words = phrasing.around(question.question, sentence)
            seed = row_seed(ctx.seed, "reactivation", side, words, persona.variant)
            rows.append(Generate(side, ctx.frame.ask(words), seed, sampling))
        return Cell(side, persona, request, tuple(sentences), tuple(rows))


def sentences_of(ctx: Context, persona: Persona, count: int) -> list[str]:
    """A sentence of the persona's kind for each question, the same on both sides and under every request."""
    if persona.identity == "none":
        return [""] * count
    texts = [identity.text for identity in ctx.domain.identities_of(persona.identity, persona.pole)]
    order = ctx.rng(f"reactivation.{persona.identity}.{persona.pole}").permutation(len(texts))
    step = count % len(texts) or 1  # where the questions use up all sentences, variants must still differ
    rounds = len(texts) // gcd(len(texts), step)  # after so many steps one is back where one began
    start = persona.variant * step + persona.variant // rounds
    return [texts[order[(start + index) % len(texts)]] for index in range(count)]


def _probe_table(
    records: Records, probed: Sequence[Cell], reads: Sequence[Sequence[Read]], axis: Floats
) -> pd.DataFrame:
    """The prompt's place along the concept's axis beside the answer's stance, in σ over the side's prompts."""
    unit = axis / np.linalg.norm(axis)
    values = [records.stack(row)[:, 0].astype(np.float64) @ unit for row in reads]
    rows: list[dict[str, object]] = []
    for side in SIDES:
        mine = [(cell, value) for cell, value in zip(probed, values, strict=True) if cell.side == side]
        together = np.concatenate([value for _, value in mine])
        for cell, value in mine:
            place = float((value.mean() - together.mean()) / together.std())
            rows.append({**cell.columns, "probe": place})
    return pd.DataFrame(rows)


def _answers_table(
    cells: Sequence[Cell],
    said: Sequence[Sequence[str]],
    labels: Sequence[npt.NDArray[np.integer]],
    questions: Sequence[Question],
) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                **cell.columns,
                "request": cell.request,
                "identity_text": sentence,
                "question": question.question,
                "text": text,
                "label": KINDS[int(label)],
            }
            for cell, texts, kinds in zip(cells, said, labels, strict=True)
            for sentence, question, text, label in zip(cell.sentences, questions, texts, kinds, strict=True)
        ]
    )
