"""Silence: its bounds beside the binomial's own, and features silenced in planted activations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from features.planted import Planted
from scipy import stats
from scipy.stats import binomtest

from unmask.features.deactivation import deactivation, design_effect, floors
from unmask.features.training.finishing import finished_autoencoder
from unmask.features.training.recipe import Recipe
from unmask.features.training.trainer import Trainer


def test_nothing_in_n_is_bounded_by_three_over_n_and_judged_at_base_s_rate() -> None:
    found = deactivation([200, 200, 20, 200], [0, 3, 0, 190], 400, 400)
    assert found.bound[0] == pytest.approx(3 / 400, rel=0.01)
    assert stats.binom.cdf(3, 400, found.bound[1]) == pytest.approx(0.05)
    least = binomtest(20, 400).proportion_ci(0.9, "exact").low  # one-sided 95 %
    assert found.probability[2] == pytest.approx((1 - least) ** 400)
    assert found.silenced.tolist() == [
        True,
        True,
        False,
        False,
    ]  # 20 of 400 are too few to be told from 3/400
    assert found.alive.tolist() == [False, False, False, True]
    assert found.share == (0.75, 0.5, 0.75)


def test_of_what_fires_as_before_hardly_any_is_called_silenced() -> None:
    rng = np.random.default_rng(0)
    rates = rng.uniform(0.01, 0.6, 3000)
    same = deactivation(rng.binomial(100, rates), rng.binomial(100, rates), 100, 100)
    assert same.silenced.mean() < 0.001
    assert same.share[1] < 0.001 < same.share[2]
    gone = deactivation(rng.binomial(400, rates), rng.binomial(400, rates / 100), 400, 400)
    assert gone.silenced[rates > 0.3].mean() > 0.95
    assert not gone.alive.any()


def test_one_hit_of_twenty_says_too_little_of_base() -> None:
    """1 in 20 may come of a rate of .003, beside which nothing in 2,000 is not a tenth."""
    assert not deactivation([1], [0], 20, 2000).silenced.any()
    assert deactivation([12], [0], 20, 2000).silenced.all()


def test_answers_alike_within_a_cluster_count_for_less() -> None:
    """Of s answers that are always the same, s − 1 say nothing; of independent ones each says as much."""
    rng = np.random.default_rng(0)
    topics = np.repeat([f"topic {k}" for k in range(4000)], 3)
    once = np.repeat(rng.random((4000, 20)) < 0.3, 3, axis=0)
    alone = rng.random((12000, 20)) < 0.3
    assert design_effect(once, topics) == pytest.approx(3.0)
    assert design_effect(alone, topics) == pytest.approx(1.0, abs=0.06)
    mixed = np.where(rng.random((12000, 20)) < 0.5, once, alone)
    assert design_effect(mixed, topics) == pytest.approx(1 + 2 * 0.25, abs=0.1)
    assert design_effect(once[::3], topics[::3]).tolist() == [1.0] * 20
    odd = design_effect(np.concatenate([once[:, :1], alone[:, 1:]], axis=1), topics)
    assert odd[0] == pytest.approx(3.0)  # one that is clustered is not averaged away among others
    uneven = np.concatenate([np.repeat(["a", "b", "c", "d"], [1, 2, 3, 6])] * 500)
    uneven = np.array([f"{name}{k // 12}" for k, name in enumerate(uneven)])
    _, place = np.unique(uneven, return_inverse=True)
    whole = (rng.random((place.max() + 1, 1)) < 0.3)[place]
    assert design_effect(whole, uneven) == pytest.approx(50 / 12, rel=0.02)  # an answer's cluster has so many
    thrice = deactivation([60, 12], [0, 6], 120, 120, 3.0)
    assert thrice.bound == pytest.approx(deactivation([20, 4], [0, 2], 40, 40).bound)
    assert thrice.probability == pytest.approx(deactivation([20, 4], [0, 2], 40, 40).probability)
    assert thrice.base_rate.tolist() == [0.5, 0.1]


def test_counts_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="5 hits in 4 prompts"):
        deactivation([5], [0], 4, 4)


def test_to_fire_is_to_reach_half_of_the_usual_strength() -> None:
    peaks = [[0.0, 4.0, 0.0], [0.0, 0.0, 1.0], [0.0, 6.0, 1.0], [0.0, 8.0, 3.0]]
    assert floors(peaks).tolist() == [np.inf, 3.0, 0.5]


def test_planted_silence_is_found_and_shared_features_are_not_called_silent() -> None:
    """512 features, 60 of which the aligned model never has; 600 prompts of 20 tokens each."""
    planted = Planted.drawn()
    draws = torch.Generator().manual_seed(3)
    gone = torch.randperm(512, generator=draws)[:60]

    def tokens(n: int, aligned: bool) -> torch.Tensor:
        strengths = planted.strengths(n, draws)
        if aligned:
            strengths[:, gone] = 0
        return (strengths @ planted.features * planted.size + planted.offset)[:, None]

    recipe = Recipe(width=1024, k=16, tokens=200_000, batch=1024, rate=2e-3)
    trainer = Trainer.begin(recipe, torch.cat([tokens(2048, False), tokens(2048, True)]))
    for _ in range(recipe.steps):
        trainer.train(torch.cat([tokens(512, False), tokens(512, True)]))
    held_out = torch.cat([tokens(2048, False), tokens(2048, True)])
    sae = finished_autoencoder(trainer, held_out, {})
    best = (planted.features @ sae.decoder.T).max(1)
    known = (best.values >= 0.9).nonzero()[:, 0]
    assert len(known) >= 0.9 * 512

    def peaks(aligned: bool) -> np.ndarray:
        codes = sae.encode(tokens(600 * 20, aligned)[:, 0]).dense()[:, best.indices[known]]
        return codes.unflatten(0, (600, 20)).amax(1).numpy()

    base, aligned = peaks(False), peaks(True)
    found = deactivation((base > floors(base)).sum(0), (aligned > floors(base)).sum(0), 600, 600)
    silent = np.isin(known.numpy(), gone.numpy())
    assert (found.silenced & silent).sum() >= 0.95 * silent.sum()  # recall
    assert (found.silenced & silent).sum() >= 0.95 * found.silenced.sum()  # precision
    assert found.alive[~silent].mean() > 0.95
    assert not found.alive[silent].any()
