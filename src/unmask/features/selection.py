"""Which latents carry a concept: they differ between its poles, over topics, and tell them apart on other topics.

Texts of one topic resemble one another, so a topic counts once: a latent is chosen by the mean difference of its codes
between the poles of each topic, over every second topic, and judged by its AUROC on the others. Thousands of latents
are asked at once, so what passes is held to a false discovery rate.

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
        p: `[F]`, of the difference being 0, on the topics that choose.
        q: `[F]`, p adjusted for all latents (Benjamini–Hochberg).
        difference: `[F]`, mean code of pole 1 less that of pole 0, in units of its spread over topics; 0 where a latent
            never differs.
        auroc: `[F]`, on the topics that judge; above ½ for pole 1.
        topics: how many choose, and how many judge.
    """

    p: Floats
    q: Floats
    difference: Floats
    auroc: Floats
    topics: tuple[int, int]

    def chosen(self, most: int, level: float = 0.05) -> Ints:
        """At most so many latents with q below `level`, those that differ most surely first."""
        order = np.lexsort((np.arange(len(self.p)), -np.abs(self.difference)))
        return order[self.q[order] <= level][:most]


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
    names = [name for name in sorted({*topics}) if len({*y[[t == name for t in topics]]}) == 2]
    choosing, judging = names[::2], names[1::2]
    if len(judging) < 3:
        raise ValueError(
            f"Latents are chosen on every second topic and judged on the others, and there are {len(names)} topics "
            "with texts of both poles; give at least 6."
        )
    column = np.asarray(topics)
    by_topic = np.stack(
        [x[(column == name) & (y == 1)].mean(0) - x[(column == name) & (y == 0)].mean(0) for name in choosing]
    )
    spread = by_topic.std(0, ddof=1)
    mean = by_topic.mean(0)
    # What differs by the same in every topic is as sure as can be, and what never differs is nothing.
    spread = np.maximum(spread, 1e-9 * np.abs(mean))
    difference = np.where(spread > 0, mean / np.where(spread > 0, spread, 1.0), 0.0)
    t = difference * np.sqrt(len(choosing))
    p = np.where(spread > 0, 2 * stats.t.sf(np.abs(t), len(choosing) - 1), 1.0)
    judged = np.isin(column, judging)
    auroc = np.asarray(auc(x[judged].T, y[judged]))
    return Selection(p, benjamini_hochberg(p), difference, auroc, (len(choosing), len(judging)))
