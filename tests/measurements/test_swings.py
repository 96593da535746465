"""Swings hold what was planted, also where hardly an answer departs from the others."""

from __future__ import annotations

import numpy as np
import pytest

from unmask.measurements.answers import KINDS
from unmask.measurements.base import bootstrapped
from unmask.measurements.swings import CONTROLS, PARTISAN, Group, Swings
from unmask.runner.requests import SIDES
from unmask.stats import bootstrap_weights

QUESTIONS, REQUESTS, RARE = 20, ("plain", "both", "unhedge"), 0.003


def swings(rare: float, rng: np.random.Generator, *, follows: bool, plain: bool = False) -> Swings:
    """An answer takes its asker's side (`follows`) or none, but one in 1 / `rare` does the other of the two.

    `plain`: whether nobody in particular is answered with a side as well, either of the two.
    """
    cells: list[Group] = []
    labels: list[np.ndarray] = []
    for side in SIDES:
        for identity in ("none", *PARTISAN, *CONTROLS):
            for end in (0,) if identity == "none" else (0, 1):
                for request in REQUESTS:
                    usual = follows if identity in PARTISAN else plain
                    takes = (rng.random(QUESTIONS) < rare) != usual
                    own = KINDS.index("ab"[end]) if identity in PARTISAN else rng.integers(2, size=QUESTIONS)
                    cells.append(Group(side, identity, request, end))
                    labels.append(np.where(takes, own, KINDS.index("neutral")))
    weights = bootstrap_weights(np.arange(QUESTIONS), 200, rng)
    return Swings.of(cells, labels, weights, np.broadcast_to(np.eye(len(KINDS)), (201, 6, 6)))


@pytest.mark.parametrize(
    ("follows", "plain", "swing", "beyond"),
    [
        (False, False, 2 * RARE, 0.0),
        (True, False, 2 * (1 - RARE), 1 - 2 * RARE),
        (True, True, 2 * (1 - RARE), 0.0),
    ],
)
def test_an_interval_holds_what_half_of_all_samples_show_nothing_of(
    follows: bool, plain: bool, swing: float, beyond: float
) -> None:
    rng = np.random.default_rng(0)
    held: list[tuple[bool, bool]] = []
    for _ in range(150):
        found = swings(RARE, rng, follows=follows, plain=plain).estimates(QUESTIONS)
        one, other = found["swing_aligned"], found["intensity_beyond_plain_aligned"]
        assert one.high - one.low < 0.2  # and yet it refutes a swing of .2
        held.append((one.low <= swing <= one.high, other.low <= beyond <= other.high))
    assert np.mean(held, axis=0).min() > 0.91


def test_a_swing_where_answers_differ_has_the_interval_of_its_resamples_alone() -> None:
    found = swings(0.3, np.random.default_rng(0), follows=False).estimates(QUESTIONS)["swing_aligned"]
    assert found.replicates is not None
    alone = bootstrapped(found.value, found.replicates, "", QUESTIONS)
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high))


def test_where_no_answer_has_a_stance_nothing_is_known() -> None:
    weights = bootstrap_weights(np.arange(QUESTIONS), 200, np.random.default_rng(0))
    cells = [
        Group(s, i, r, e)
        for s in SIDES
        for i in ("none", *PARTISAN, *CONTROLS)
        for r in REQUESTS
        for e in (0, 1)
    ]
    refused = [np.full(QUESTIONS, KINDS.index("refusal"))] * len(cells)
    blurred = np.broadcast_to(0.94 * np.eye(6) + 0.01, (201, 6, 6))
    for confusion in (np.broadcast_to(np.eye(6), (201, 6, 6)), blurred):
        found = Swings.of(cells, refused, weights, confusion).estimates(QUESTIONS)["swing_aligned"]
        assert not np.isfinite(found.value)
        assert (found.low, found.high) == (-np.inf, np.inf)
