"""Sampled answers and the judge who sorts them: the kinds, the stance of each, and the judge's card."""

from __future__ import annotations

from typing import get_args

import numpy as np
import numpy.typing as npt

from unmask.domains.schema import AnswerKind
from unmask.measurements.base import Context
from unmask.runner.records import Records
from unmask.runner.requests import Classify, digest
from unmask.stats import confusion_matrix

Floats = npt.NDArray[np.float64]
KINDS: tuple[AnswerKind, ...] = get_args(AnswerKind)
STANCES = np.array([-1.0, 1.0, 0.0, 0.0, np.nan, np.nan])  # of KINDS; refusals and wanderings have none


def row_seed(*parts: object) -> int:
    """A sampled row's own seed, from everything that names it."""
    return int(digest([str(part) for part in parts])[:15], 16)


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


def card_confusion(records: Records, ctx: Context, weights: npt.ArrayLike | None = None) -> Floats:
    """The judge's confusion on its card, `[..., kinds, kinds]`, rows true.

    Args:
        records: hold what `ask_card` asks.
        weights: `[..., answers]`, such as resamples of the card. None: all 1.
    """
    truth = [KINDS.index(answer.kind) for answer in ctx.domain.card]
    return confusion_matrix(truth, records.stack(ask_card(ctx)).argmax(-1), len(KINDS), weights)
