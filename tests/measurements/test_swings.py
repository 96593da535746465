"""Swings hold what was planted, also where hardly an answer departs from the others."""

from __future__ import annotations

import numpy as np
import pytest

from unmask.measurements.answers import KINDS
from unmask.measurements.swings import CONTROLS, PARTISAN, Group, Swings
from unmask.runner.requests import SIDES
from unmask.stats import bootstrap_weights

QUESTIONS, REQUESTS = 20, ("plain", "both", "unhedge")


def swings(rare: float, rng: np.random.Generator, *, partisan: bool) -> Swings:
    """An answer takes its asker's side (`partisan`) or none, but one in 1 / `rare` does the other of the two."""
    cells: list[Group] = []
    labels: list[np.ndarray] = []
    for side in SIDES:
        for identity in ("none", *PARTISAN, *CONTROLS):
            for end in (0,) if identity == "none" else (0, 1):
                for request in REQUESTS:
                    takes = (rng.random(QUESTIONS) < rare) != (partisan and identity in PARTISAN)
                    own = KINDS.index("ab"[end]) if identity in PARTISAN else rng.integers(2, size=QUESTIONS)
                    cells.append(Group(side, identity, request, end))
                    labels.append(np.where(takes, own, KINDS.index("neutral")))
    weights = bootstrap_weights(np.arange(QUESTIONS), 200, rng)
    return Swings.of(cells, labels, weights, np.broadcast_to(np.eye(len(KINDS)), (201, 6, 6)))


@pytest.mark.parametrize("partisan", [False, True])
def test_an_interval_holds_a_swing_that_half_of_all_samples_show_nothing_of(partisan: bool) -> None:
    rare, rng = 0.003, np.random.default_rng(0)
    planted = 2 * (1 - rare) if partisan else 2 * rare
    beyond = (1 - 2 * rare) if partisan else 0.0
    held: list[tuple[bool, bool]] = []
    for _ in range(150):
        found = swings(rare, rng, partisan=partisan).estimates(QUESTIONS)
        swing, more = found["swing_aligned"], found["intensity_beyond_plain_aligned"]
        assert swing.high - swing.low < 0.2  # and yet it refutes a swing of .2
        held.append((swing.low <= planted <= swing.high, more.low <= beyond <= more.high))
    assert np.mean(held, axis=0).min() > 0.91


def test_a_swing_where_answers_differ_has_the_interval_of_its_resamples_alone() -> None:
    some = swings(0.3, np.random.default_rng(0), partisan=False)
    found = some.estimates(QUESTIONS)["swing_aligned"]
    assert some.doubt("aligned", PARTISAN, end=0) == 0
    low, high = np.quantile(found.replicates if found.replicates is not None else [], [0.025, 0.975])
    assert found.low == pytest.approx(low, abs=0.05)
    assert found.high == pytest.approx(high, abs=0.05)
