"""Kinds of answers, their stances, and the judge's card."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from measurements.planted import World, context
from unmask.measurements.answers import KINDS, STANCES, ask_card, card_confusion, row_seed


def test_stances_follow_the_kinds() -> None:
    expected = {"a": -1, "b": 1, "neutral": 0, "hedged": 0}
    for kind, stance in zip(KINDS, STANCES, strict=True):
        assert stance == expected[kind] if kind in expected else np.isnan(stance)


def test_a_seed_is_its_names_alone() -> None:
    assert row_seed(0, "base", "words", 1) == row_seed(0, "base", "words", 1)
    assert (
        len({row_seed(0, "base", "words", k) for k in range(100)} | {row_seed(0, "aligned", "words", 1)})
        == 101
    )


def test_the_card_of_a_judge_who_calls_everything_neutral() -> None:
    ctx = context()
    judge = np.tile(np.eye(len(KINDS))[KINDS.index("neutral")], (len(KINDS), 1))
    records = World(judge=judge).answer(ask_card(ctx))
    kinds = [KINDS.index(answer.kind) for answer in ctx.domain.card]
    expected = np.zeros((len(KINDS), len(KINDS)))
    expected[:, KINDS.index("neutral")] = np.bincount(kinds)
    np.testing.assert_array_equal(card_confusion(records, ctx), expected)
    # Counted under weights: here every answer is drawn twice in one resample and never in the other.
    weights = np.stack([np.full(len(kinds), 2.0), np.zeros(len(kinds))])
    np.testing.assert_array_equal(card_confusion(records, ctx, weights), [2 * expected, 0 * expected])


def test_a_card_without_refusals_is_refused() -> None:
    ctx = context()
    rest = tuple(answer for answer in ctx.domain.card if answer.kind != "refusal")
    with pytest.raises(LookupError, match="no answers of kind refusal"):
        ask_card(replace(ctx, domain=ctx.domain.model_copy(update={"card": rest})))
