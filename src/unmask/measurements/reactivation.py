"""Does context bring the partisan answers back? An experiment that can fail.

Who asks (nobody, a stated or implied partisan, somebody irrelevant, a neutral remark) crossed with what is asked
of the model (answer plainly, infer the asker, amplify, both, drop the hedging). The swing is the stance towards
asker b minus that towards asker a. The same pressure on questions of fact says how much of it is plain
agreeableness.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from unmask.domains import POLES, Pole
from unmask.domains.sample import take_evenly
from unmask.domains.schema import Question
from unmask.measurements.answers import KINDS, STANCES, ask_card, card_confusion, row_seed
from unmask.measurements.base import Asking, Claim, Context, Estimate, Reading, bootstrapped, exact
from unmask.measurements.sycophancy import ask_facts, fact_shifts
from unmask.models.tokens import Sampling
from unmask.runner.records import Records
from unmask.runner.requests import SIDES, Classify, Generate, Read, Side
from unmask.stats import bootstrap_weights, cohen_kappa, weighted_nanmean

Floats = npt.NDArray[np.float64]
REQUESTS = {3: ("plain", "both", "unhedge"), 5: ("plain", "infer", "amplify", "both", "unhedge")}
PARTISAN = ("stated", "implied")
CONTROLS = ("irrelevant", "neutral")


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


def personas(count: int) -> list[Persona]:
    """Nobody, and `count` identities: both poles stated and implied, two irrelevant and two neutral in each eight."""
    slots = [Persona(identity, pole) for identity in PARTISAN for pole in POLES]
    slots += [Persona(identity, None, variant) for identity in CONTROLS for variant in (0, 1)]
    rounds = max(1, min(count, 96) // len(slots))
    repeated = [replace(slot, variant=slot.variant + 2 * turn) for turn in range(rounds) for slot in slots]
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
    def columns(self) -> dict[str, object]:
        """What tells the cell from others, as columns of a tidy table."""
        return {"side": self.side, "identity": self.persona.identity, "pole": self.persona.pole}


@dataclass(frozen=True)
class Answered:
    """A cell's answers.

    Attributes:
        texts: `[questions]`.
        labels: `[questions]`, the kinds that the judge calls them.
        stance: mean over the answers that have one, `[1 + resamples]`.
        intensity: mean E|stance| of the same answers, `[1 + resamples]`.
    """

    cell: Cell
    texts: Sequence[str]
    labels: npt.NDArray[np.integer]
    stance: Floats
    intensity: Floats

    @staticmethod
    def of(cell: Cell, texts: Sequence[str], labels: npt.NDArray[np.integer], weights: Floats) -> Answered:
        """Weights are those of the questions, `[1 + resamples, questions]`."""
        stances = STANCES[labels]
        return Answered(
            cell,
            texts,
            labels,
            weighted_nanmean(stances, weights),
            weighted_nanmean(np.abs(stances), weights),
        )


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
            for persona in personas(profile.personas)
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
        answered = [
            Answered.of(cell, texts, judged.stack(rows).argmax(-1), weights)
            for cell, texts, rows in zip(cells, said, asks, strict=True)
        ]
        estimates, swings = _swings(answered, kinds, n)
        for side in SIDES:
            labels = np.concatenate([a.labels for a in answered if a.cell.side == side])
            coherent = float((labels != KINDS.index("off_topic")).mean())
            estimates[f"coherent_{side}"] = exact(coherent, "share of answers", len(labels))
        kappa = float(cohen_kappa(card_confusion(records, ctx)))
        estimates["judge_kappa"] = exact(kappa, "κ", len(ctx.domain.card))
        fact_estimates, facts = fact_shifts(records, pressure, ctx)
        tables = {
            "cells": _cells_table(answered, n),
            "swings": swings,
            "facts": facts,
            "probe": _probe_table(records, probed, reads, axis),
            "answers": _answers_table(answered, questions),
        }
        return Reading(self.name, {**estimates, **fact_estimates}, tables)

    def _cell(
        self, ctx: Context, side: Side, persona: Persona, request: str, questions: Sequence[Question]
    ) -> Cell:
        variants = ctx.domain.phrasing(request)
        sentences = _sentences(ctx, persona, len(questions))
        sampling = replace(self.sampling, stop=ctx.frame.stop)
        rows: list[Generate] = []
        for index, (question, sentence) in enumerate(zip(questions, sentences, strict=True)):
            phrasing = variants[0] if request == "plain" else variants[index % len(variants)]
            words = phrasing.around(question.question, sentence)
            seed = row_seed(ctx.seed, "reactivation", side, words, persona.variant)
            rows.append(Generate(side, ctx.frame.ask(words), seed, sampling))
        return Cell(side, persona, request, tuple(sentences), tuple(rows))


def _sentences(ctx: Context, persona: Persona, count: int) -> list[str]:
    """A sentence of the persona's kind for each question, the same on both sides and under every request."""
    if persona.identity == "none":
        return [""] * count
    texts = [identity.text for identity in ctx.domain.identities_of(persona.identity, persona.pole)]
    order = ctx.rng(f"reactivation.{persona.identity}.{persona.pole}").permutation(len(texts))
    step = count % len(texts) or 1  # where the questions use up all sentences, variants must still differ
    return [texts[order[(index + persona.variant * step) % len(texts)]] for index in range(count)]


def _swings(
    answered: Sequence[Answered], kinds: Sequence[str], n: int
) -> tuple[dict[str, Estimate], pd.DataFrame]:
    """Swings by identity and request, and over all of them: the number that decides."""

    def stance(side: Side, identity: str, request: str, end: int) -> Floats:
        wanted = (side, identity, request, end)
        found = [
            a.stance
            for a in answered
            if (a.cell.side, a.cell.persona.identity, a.cell.request, a.cell.persona.end) == wanted
        ]
        return np.mean(found, axis=0)

    rows: list[dict[str, object]] = []
    estimates: dict[str, Estimate] = {}
    for side in SIDES:
        swings = {
            (identity, request): stance(side, identity, request, 1) - stance(side, identity, request, 0)
            for identity in (*PARTISAN, *CONTROLS)
            for request in kinds
        }
        for (identity, request), swing in swings.items():
            columns = bootstrapped(swing[0], swing[1:], "", n).columns("swing")
            rows.append({"side": side, "identity": identity, "request": request, **columns})
        swing = np.mean([swings[i, request] for i in PARTISAN for request in kinds], axis=0)
        chance = np.abs(np.mean([swings[i, request] for i in CONTROLS for request in kinds], axis=0))
        mine = [a for a in answered if a.cell.side == side]
        partisan = [a.intensity for a in mine if a.cell.persona.identity in PARTISAN]
        # What the same questions give with nobody in particular asking.
        plain = [a.intensity for a in mine if a.cell.persona.identity == "none" and a.cell.request == "plain"]
        beyond = swing - chance
        more = np.mean(partisan, axis=0) - np.mean(plain, axis=0)
        estimates |= {
            f"swing_{side}": bootstrapped(swing[0], swing[1:], "stance", n),
            f"swing_beyond_irrelevant_{side}": bootstrapped(beyond[0], beyond[1:], "stance", n),
            f"intensity_beyond_plain_{side}": bootstrapped(more[0], more[1:], "E|stance|", n),
        }
    return estimates, pd.DataFrame(rows)


def _cells_table(answered: Sequence[Answered], n: int) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                **a.cell.columns,
                "variant": a.cell.persona.variant,
                "request": a.cell.request,
                **bootstrapped(a.stance[0], a.stance[1:], "", n).columns("stance"),
                "n": n,
            }
            for a in answered
        ]
    )


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


def _answers_table(answered: Sequence[Answered], questions: Sequence[Question]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                **a.cell.columns,
                "request": a.cell.request,
                "identity_text": sentence,
                "question": question.question,
                "text": text,
                "label": KINDS[int(label)],
            }
            for a in answered
            for sentence, question, text, label in zip(
                a.cell.sentences, questions, a.texts, a.labels, strict=True
            )
        ]
    )
