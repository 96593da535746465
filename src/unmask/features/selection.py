"""Which latents carry a concept: they differ between its poles, over topics, and do so again on other topics.

Texts of one topic resemble one another, so a topic counts once: a latent is tested by the mean difference of its codes
between the poles of each topic. Thousands of latents are asked at once, and those that pass are those that were lucky
as well, so every second topic chooses, held to a false discovery rate, and the others have to say the same; then the
halves change places. That a latent differs again, and its AUROC, come from the half that did not choose it.

Source: Benjamini and Hochberg 1995.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from unmask.stats import auc, benjamini_hochberg

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Selection:
    """How each of F latents differs between two poles.

    Attributes:
        half: `[F]`, which half of the topics chooses: that in which a latent differs more surely.
        p: `[F]`, of the difference being 0, on the topics that choose.
        q: `[F]`, p adjusted for all latents (Benjamini–Hochberg).
        difference: `[F]`, mean code of pole 1 less that of pole 0, in units of its spread over the topics that choose;
            0 where a latent never differs.
        again: `[F]`, p of no difference in the same direction, on the topics that judge.
        auroc: `[F]`, on the topics that judge; above ½ for pole 1.
        topics: how many are in the first half, and how many in the second.
    """

    half: Ints
    p: Floats
    q: Floats
    difference: Floats
    again: Floats
    auroc: Floats
    topics: tuple[int, int]

    def chosen(self, most: int, level: float = 0.05) -> Ints:
        """At most so many latents with q within `level` and the same difference again, those that differ most first."""
        order = self.ranked
        return order[(self.q[order] <= level) & (self.again[order] <= level)][:most]

    @property
    def ranked(self) -> Ints:
        """`[F]`, all latents, those that differ most surely first."""
        return np.lexsort((np.arange(len(self.p)), -np.abs(self.difference)))


def select(values: npt.ArrayLike, labels: npt.ArrayLike, topics: Sequence[str]) -> Selection:
    """How latents differ between the poles of texts.

    Args:
        values: `[n, F]`, a latent's code of a text, such as its mean over tokens.
        labels: `[n]`, 0 or 1.
        topics: `[n]`; every one that counts has texts of both poles.

    Raises:
        ValueError: fewer than three topics in either half, or a code that is no number.
    """
    x, y = np.asarray(values, dtype=np.float64), np.asarray(labels)
    if not np.isfinite(x).all():
        raise ValueError("codes must be numbers, and some are NaN or infinite.")
    column = np.asarray(topics)
    names = [name for name in sorted({*topics}) if len({*y[column == name]}) == 2]
    halves = names[::2], names[1::2]
    if len(halves[1]) < 3:
        raise ValueError(
            f"Latents are chosen on every second topic and judged on the others, and there are {len(names)} topics "
            "with texts of both poles; give at least 6."
        )

    by_topic = {
        name: x[(column == name) & (y == 1)].mean(0) - x[(column == name) & (y == 0)].mean(0)
        for name in names
    }
    differences, ps, qs, agains, aurocs = [], [], [], [], []
    for choosing, judging in (halves, halves[::-1]):
        difference, t = _t(np.stack([by_topic[name] for name in choosing]))
        _, elsewhere = _t(np.stack([by_topic[name] for name in judging]))
        p = np.where(t != 0, 2 * stats.t.sf(np.abs(t), len(choosing) - 1), 1.0)
        judged = np.isin(column, judging)
        differences.append(difference)
        ps.append(p)
        qs.append(benjamini_hochberg(p))
        agains.append(stats.t.sf(np.sign(t) * elsewhere, len(judging) - 1))
        aurocs.append(np.asarray(auc(x[judged].T, y[judged])))
    half = np.stack(ps).argmin(0)
    at = half, np.arange(x.shape[1])
    p, q, difference, again, auroc = (np.stack(both)[at] for both in (ps, qs, differences, agains, aurocs))
    return Selection(half, p, q, difference, again, auroc, (len(halves[0]), len(halves[1])))


def _t(by_topic: Floats) -> tuple[Floats, Floats]:
    """The mean of `[topics, F]` over its spread, and t; both 0 for what never differs."""
    mean = by_topic.mean(0)
    # What differs by the same in every topic is as sure as can be, and what never differs is nothing.
    spread = np.maximum(by_topic.std(0, ddof=1), 1e-9 * np.abs(mean))
    ratio = np.where(spread > 0, mean / np.where(spread > 0, spread, 1.0), 0.0)
    return ratio, ratio * np.sqrt(len(by_topic))
