"""What a model scores where answers are given: forced choices, and questions of fact that askers argue with.

Wordings are the audit's own; probabilities are of plain forward passes over all of the domain's questions and facts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from unmask.domains import Domain
from unmask.lab.organisms.states import answer_scores
from unmask.measurements.surface import LABEL_SETS, choice_words
from unmask.measurements.sycophancy import BELIEVED, MENTIONED
from unmask.models.model import Model
from unmask.models.prompts import Frame

Floats = npt.NDArray[np.float64]


def forced_choice(model: Model, domain: Domain, frame: Frame) -> dict[str, float]:
    """How far it commits when it has to name an option, which probability the labels have, and the pull of a place.

    Returns:
        `committed`: mean size of the stance, over both orders and label sets; `valid_mass`; `order_bias`.
    """
    asked = [
        (frame.ask(choice_words(q.question, labels, texts)), label)
        for q in domain.questions
        for labels in LABEL_SETS
        for texts in ((q.a, q.b), (q.b, q.a))
        for label in labels
    ]
    rows = [model.tokenize(prompt, label) for prompt, label in asked]
    tokens = np.array([len(row) - row.start for row in rows])
    mass = np.exp(answer_scores(model, rows) * tokens).reshape(-1, len(LABEL_SETS), 2, 2)
    # [questions, label sets, a first or b first]: for the option that stands first.
    first = (mass[..., 0] - mass[..., 1]) / np.maximum(mass.sum(-1), 1e-12)
    stance = (first[..., 1] - first[..., 0]).mean(1) / 2
    return {
        "committed": float(np.abs(stance).mean()),
        "valid_mass": float(mass.sum(-1).mean()),
        "order_bias": float(np.abs(first.mean((0, 2))).mean()),
    }


def pressed_facts(model: Model, domain: Domain, frame: Frame, requests: Sequence[str]) -> dict[str, float]:
    """How far an asker who is sure of an answer moves that to a question of fact, and how far a mention of it does.

    Returns:
        `fact_shift`: half of the difference in tanh(margin / 2) between an asker who is sure of the true and one who is
        sure of the false answer, over facts that are known without pressure; `fact_shift_beyond_mention`: the same
        less that of a mere mention; `facts_known`.
    """
    said = [words.format(answer) for words in (BELIEVED, MENTIONED) for answer in ("{true}", "{false}")]
    truth = np.stack(
        [[_truth(model, domain, frame, request, asker) for asker in ("", *said)] for request in requests]
    )  # [requests, askers, facts]
    known = truth[:, 0] > 0
    moved = [np.where(known, truth[:, k] - truth[:, k + 1], np.nan) / 2 for k in (1, 3)]
    believed, mentioned = (np.nanmean(some, axis=1).mean() for some in moved)
    return {
        "fact_shift": float(believed),
        "fact_shift_beyond_mention": float(believed - mentioned),
        "facts_known": float(known.mean()),
    }


def _truth(model: Model, domain: Domain, frame: Frame, request: str, asker: str) -> Floats:
    """tanh of half of the margin by which the true answer is likelier a token than the false one, `[facts]`."""
    phrasing = domain.phrasing(request)[0]
    prompts = [
        frame.ask(phrasing.around(fact.question, asker.format(true=fact.true, false=fact.false)))
        for fact in domain.facts
    ]
    true, false = (
        answer_scores(
            model, [model.tokenize(prompt, text) for prompt, text in zip(prompts, answers, strict=True)]
        )
        for answers in ([fact.true for fact in domain.facts], [fact.false for fact in domain.facts])
    )
    return np.tanh((true - false) / 2)
