"""Kinds of answers, their stances, and the judge's card."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from measurements.planted import World, context
from unmask.measurements.answers import KINDS, STANCES, Rates, ask_card, card_confusion, row_seed


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
    confusion = card_confusion(records, ctx)
    assert confusion.shape == (1 + ctx.profile.resamples, len(KINDS), len(KINDS))
    np.testing.assert_array_equal(confusion[0], expected)
    # Whole topics are drawn, so a resample has other counts; what the judge says does not change.
    assert len({tuple(resample.sum(1)) for resample in confusion}) > ctx.profile.resamples / 2
    assert not np.delete(confusion, KINDS.index("neutral"), axis=-1).any()


def test_rates_are_those_before_the_judge_mixed_them_up() -> None:
    """Two groups of answers; the judge calls three of ten pole-a answers b, and the correction takes it back."""
    judge = np.eye(6)
    judge[0, :2] = 0.7, 0.3
    true = np.array(
        [[[6, 2, 2, 0, 0, 0]] * 4, [[0, 5, 0, 3, 1, 1]] * 4], dtype=float
    )  # [groups, questions, kinds]
    weights = np.ones((3, 4))
    rates = Rates.of(true @ judge, weights, np.tile(100 * judge, (3, 1, 1)))
    np.testing.assert_allclose(rates.rates, np.tile(true[:, :1] / 10, (1, 3, 1)), atol=1e-9)
    np.testing.assert_allclose(rates.lean[:, 0], [-0.4, 5 / 8], atol=1e-9)
    np.testing.assert_allclose(rates.intensity[:, 0], [0.8, 5 / 8], atol=1e-9)
    np.testing.assert_allclose(rates.spread[:, 0], [np.sqrt(0.8 - 0.16), np.sqrt(5 / 8 * 3 / 8)], atol=1e-9)
    np.testing.assert_allclose(rates.coherent[:, 0], [1.0, 0.9], atol=1e-9)
    np.testing.assert_allclose(rates.refusals[:, 0], [0.0, 0.1], atol=1e-9)


def test_a_card_without_refusals_is_refused() -> None:
    ctx = context()
    rest = tuple(answer for answer in ctx.domain.card if answer.kind != "refusal")
    with pytest.raises(LookupError, match="no answers of kind refusal"):
        ask_card(replace(ctx, domain=ctx.domain.model_copy(update={"card": rest})))
