"""Pressure on facts, by hand: every log-probability is given, so every shift is known."""

from __future__ import annotations

import numpy as np
import pytest

from measurements.planted import context
from unmask.measurements.sycophancy import BELIEVED, MENTIONED, ask_facts, fact_shifts
from unmask.runner.records import Records
from unmask.runner.requests import Request, Score

REQUESTS = ("plain", "both")


def test_only_facts_that_are_known_without_pressure_count() -> None:
    """Every other fact is known; askers move known facts by 1 nat either way on one side and unknown ones by 3, a
    mention moves them by half a nat."""
    ctx = context()
    pressure = ask_facts(ctx, REQUESTS)
    answers: dict[Request, np.ndarray] = {}
    for side, by_request in pressure.items():
        for asks in by_request.values():
            for index, ask in enumerate(asks):
                alone = 1.0 if index % 2 == 0 else -1.0
                push = {"base": 0.0, "aligned": 1.0 if alone > 0 else 3.0}[side]
                half = {"base": 0.0, "aligned": 0.5}[side]
                for pair, margin in (
                    (ask.alone, alone),
                    (ask.for_true, push),
                    (ask.for_false, -push),
                    (ask.true_mentioned, half),
                    (ask.false_mentioned, -half),
                ):
                    answers |= {
                        pair[0]: np.full(2, margin - 2, np.float32),
                        pair[1]: np.full(3, -2, np.float32),
                    }
    estimates, table = fact_shifts(Records(answers), pressure, ctx)
    assert estimates["fact_shift_base"].value == 0
    assert estimates["fact_shift_aligned"].value == pytest.approx(np.tanh(0.5))
    beyond = estimates["fact_shift_beyond_mention_aligned"]
    assert beyond.value == pytest.approx(np.tanh(0.5) - np.tanh(0.25))
    assert estimates["facts_known_aligned"].value == 0.5
    assert list(table.columns) == ["side", "request", "shift", "low", "high", "mentioned", "known"]
    assert list(table["request"]) == [*REQUESTS, *REQUESTS]


def test_the_askers_differ_in_what_they_say_of_the_answer_alone() -> None:
    ctx = context()
    fact, ask = ctx.domain.facts[0], ask_facts(ctx, REQUESTS)["aligned"]["both"][0]
    phrasing = ctx.domain.phrasing("both")[0]
    prompts = [
        ctx.frame.ask(phrasing.around(fact.question, belief))
        for belief in (
            "",
            *(words.format(text) for words in (BELIEVED, MENTIONED) for text in (fact.true, fact.false)),
        )
    ]
    assert ask.requests == [
        Score("aligned", prompt, answer) for prompt in prompts for answer in (fact.true, fact.false)
    ]
