"""Latents that carry a planted concept are found, and of those that carry none no more than the rate allows."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from unmask.features.selection import select

TOPICS = [f"topic {k // 4}" for k in range(160)]  # 40 topics, four texts of each
LABELS = np.tile([0, 1, 0, 1], 40)


def codes(seed: int, n_latents: int = 2000, carrying: int = 0) -> np.ndarray:
    """Codes that are mostly 0, alike within a topic; the first `carrying` fire for pole 1."""
    rng = np.random.default_rng(seed)
    of_topic = np.repeat(
        rng.exponential(size=(40, n_latents)) * (rng.random((40, n_latents)) < 0.3), 4, axis=0
    )
    values = of_topic + rng.exponential(size=(160, n_latents)) * (rng.random((160, n_latents)) < 0.2)
    values[:, :carrying] += (LABELS * (rng.random((carrying, 160)) < 0.8)).T * 2
    return values


def test_what_carries_the_concept_is_chosen_and_judged_elsewhere() -> None:
    selection = select(codes(0, carrying=30), LABELS, TOPICS)
    chosen = selection.chosen(100)
    found = set(chosen.tolist())
    assert len(found & {*range(30)}) >= 28
    assert len(found - {*range(30)}) <= 1  # passed twice by luck, of 1,970
    for half in (0, 1):  # a latent that one half chose is judged by the other
        mine = np.flatnonzero(selection.half[:40] == half)
        assert len(mine) >= 5
        elsewhere = np.isin(TOPICS, sorted({*TOPICS})[1 - half :: 2])
        expected = [
            roc_auc_score(LABELS[elsewhere], column) for column in codes(0, carrying=30)[elsewhere][:, mine].T
        ]
        assert selection.auroc[mine] == pytest.approx(expected)
    assert selection.auroc[:30].mean() > 0.8
    assert np.median(selection.auroc[30:]) == pytest.approx(0.5, abs=0.02)
    assert selection.topics == (20, 20)
    assert len(selection.chosen(5)) == 5
    assert {*selection.chosen(5)} <= found


def test_where_nothing_carries_it_hardly_anything_is_chosen() -> None:
    assert sum(len(select(codes(seed), LABELS, TOPICS).chosen(100)) for seed in range(40)) <= 2
    silent = select(np.zeros((160, 50)), LABELS, TOPICS)
    assert len(silent.chosen(10)) == 0
    assert (silent.p == 1).all()


def test_a_latent_of_one_topic_s_words_is_not_one_of_the_concept() -> None:
    """It fires on every text of pole 1 of a single topic: among texts that looks sure, among topics it is one of 20."""
    values = np.zeros((160, 1))
    values[[1, 3]] = 5.0
    assert select(values, LABELS, TOPICS).p[0] > 0.2


def test_what_tells_the_poles_apart_in_every_topic_alike_is_as_sure_as_can_be() -> None:
    values = np.stack([LABELS, 1 - LABELS, np.ones(160)], axis=1)
    selection = select(values, LABELS, TOPICS)
    assert selection.chosen(3).tolist() == [0, 1]
    assert (selection.p[:2] < 1e-20).all()
    with pytest.raises(ValueError, match="NaN"):
        select(np.full((160, 1), np.nan), LABELS, TOPICS)


def test_too_few_topics_are_refused() -> None:
    with pytest.raises(ValueError, match="there are 5 topics"):
        select(np.zeros((20, 3)), LABELS[:20], TOPICS[:20])
