"""Sampled answers and the judge who sorts them: the kinds, the judge's card, and rates that the card corrects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
import numpy.typing as npt

from unmask.domains.schema import AnswerKind
from unmask.measurements.base import Context
from unmask.models.tokens import Sampling
from unmask.runner.records import Records
from unmask.runner.requests import Classify, Generate, Side, digest
from unmask.stats import bootstrap_weights, confusion_matrix, correct_by_confusion, invert_confusion

Floats = npt.NDArray[np.float64]
KINDS: tuple[AnswerKind, ...] = get_args(AnswerKind)
STANCES = np.array([-1.0, 1.0, 0.0, 0.0, np.nan, np.nan])  # of KINDS; refusals and wanderings have none

OPENLY = Sampling(max_new_tokens=48, temperature=0.8, top_p=0.95)
"""How answers to open questions are sampled."""


def row_seed(*parts: object) -> int:
    """A sampled row's own seed, from everything that names it."""
    return int(digest([str(part) for part in parts])[:15], 16)


def ask_openly(ctx: Context, side: Side, sampling: Sampling = OPENLY) -> list[list[Generate]]:
    """Sampled answers to the open questions `[questions][samples]`; the two sides draw their own noise, also where they
    are one model."""
    sampling = replace(sampling, stop=ctx.frame.stop)
    return [
        [
            Generate(
                side,
                ctx.frame.ask(question.question),
                row_seed(ctx.seed, side, question.question, k),
                sampling,
            )
            for k in range(ctx.profile.samples)
        ]
        for question in ctx.domain.questions
    ]


def ask_card(ctx: Context) -> list[Classify]:
    """The judge's card. Ask it in a round without answers: its batches are then the same in every audit, and its
    records are shared between runs.

    Raises:
        LookupError: a kind of answer has no labelled example.
    """
    if missing := [kind for kind in KINDS if all(answer.kind != kind for answer in ctx.domain.card)]:
        raise LookupError(
            f"card.jsonl has no answers of kind {', '.join(missing)}: a judge that cannot be tested on every "
            "kind decides nothing. Add some, labelled by hand"
        )
    return [Classify(ctx.domain.name, answer.question, answer.text) for answer in ctx.domain.card]


def card_confusion(records: Records, ctx: Context) -> Floats:
    """The judge's confusion on its card, rows true, and of resamples of the card by topic, so that what is not known
    about the judge can be in an interval: `[1 + resamples, kinds, kinds]`. `records` hold what `ask_card` asks.
    """
    truth = [KINDS.index(answer.kind) for answer in ctx.domain.card]
    topics = [answer.topic for answer in ctx.domain.card]
    weights = bootstrap_weights(topics, ctx.profile.resamples, ctx.rng("judge.card"))
    return confusion_matrix(truth, records.stack(ask_card(ctx)).argmax(-1), len(KINDS), weights)


def count_kinds(labels: npt.NDArray[np.integer]) -> Floats:
    """`[..., kinds]`: how many of the answers `[..., answers]` are of each kind."""
    return (labels[..., None] == np.arange(len(KINDS))).sum(-2).astype(np.float64)


@dataclass(frozen=True)
class Rates:
    """Corrected rates of answer kinds and what follows from them; along the last axis (of `rates` the last but one)
    0 is the estimate, the rest replicates.

    Attributes:
        rates: `[..., 1 + resamples, kinds]`.
        lean: mean stance over answers that have one, `[..., 1 + resamples]`; NaN where none has.
        intensity: E|stance| over the same answers.
        signed_intensity: the same from rates that may be negative, and so without bias near 0, which `intensity` cannot
            pass; differences have their intervals from it.
        coherent: share of answers that are coherent and on topic.
        refusals: share of answers that decline.
    """

    rates: Floats
    lean: Floats
    intensity: Floats
    signed_intensity: Floats
    coherent: Floats
    refusals: Floats

    @property
    def spread(self) -> Floats:
        """Standard deviation of the stance over answers that have one."""
        return np.sqrt(np.maximum(self.intensity - self.lean**2, 0.0))

    @staticmethod
    def of(counts: Floats, weights: Floats, confusion: Floats) -> Rates:
        """Rates of answers `[..., questions, kinds]` that a judge sorted.

        Args:
            counts: how many answers to a question were called of each kind.
            weights: `[1 + resamples, questions]`, topics resampled.
            confusion: `[1 + resamples, kinds, kinds]`, the card resampled as well.
        """
        called = weights @ counts
        rates = correct_by_confusion(called, confusion)
        a, b, neutral, hedged, refusal, off = np.moveaxis(rates, -1, 0)
        signed = np.moveaxis(invert_confusion(called, confusion), -1, 0)
        among = signed[:4].sum(0)
        with np.errstate(invalid="ignore", divide="ignore"):  # no answer with a stance: NaN, which widens
            stanced = a + b + neutral + hedged
            stanced = np.where(stanced > 1e-9, stanced, np.nan)  # less is the rounding of an inverted matrix
            signed_intensity = np.where(among > 0, signed[:2].sum(0) / among, np.nan)
            return Rates(rates, (b - a) / stanced, (a + b) / stanced, signed_intensity, 1.0 - off, refusal)
