"""Which features went silent: what can be said of one that was hardly ever seen to fire.

Nothing in n prompts does not say never: a rate up to about 3/n gives 0 hits in one of twenty such samples. So a latent
is *silenced* only where the largest rate that its hits allow is below a tenth of the least that base's allow, and where
so few would hardly come by chance at that least rate; it is *alive* where its rate is surely more than half of base's.
Between them, or where base itself fires too rarely to tell, nothing is said.

A latent also fires, weakly, on what merely resembles its feature: features overlap, since there are more of them than
dimensions. In planted activations a feature that is never there still has codes above 0 on some 8 % of prompts, as many
as silence could leave. So *to fire* is to reach half of the strength that the latent usually has in base.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from unmask.stats import benjamini_hochberg

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

HALF = 0.5
"""Of a latent's usual strength in base: what it must reach to fire."""
SHARE = 0.1
"""Of base's rate, at the least: what a silenced latent's rate must be below."""
WITHIN = 2.0
"""Times: a latent whose rate is surely within this of base's is alive."""
LEVEL = 0.01
"""Of the false discovery rate among latents that are called silenced."""


@dataclass(frozen=True, eq=False)
class Deactivation:
    """Firing in two models, of m latents on n prompts each.

    Attributes:
        base_rate: `[m]`, the share of base's prompts on which a latent fires.
        aligned_rate: `[m]`, of aligned's.
        bound: `[m]`, the largest rate in aligned that its hits allow (one-sided 95 %; 3/n for none in n).
        probability: `[m]`, of so few hits in aligned at the least rate that base's hits allow (one-sided 95 %).
        q: `[m]`, the same, adjusted for all m.
        silenced: `[m]`.
        alive: `[m]`.
    """

    base_rate: Floats
    aligned_rate: Floats
    bound: Floats
    probability: Floats
    q: Floats
    silenced: Booleans
    alive: Booleans

    @property
    def share(self) -> tuple[float, float, float]:
        """The share of latents that is silenced: as their rates say, the least and the most that is sure."""
        m = max(len(self.silenced), 1)
        seen = self.aligned_rate < SHARE * self.base_rate
        return float(seen.mean()), float(self.silenced.sum() / m), float(1 - self.alive.sum() / m)


def floors(peaks: npt.ArrayLike) -> Floats:
    """The code from which on a latent fires: half of its usual one; ∞ for a latent that is never active.

    Args:
        peaks: `[n, m]`, each latent's largest code on each of base's prompts, 0 where it is not active.

    Returns:
        `[m]`.
    """
    active = np.where(np.asarray(peaks) > 0, peaks, np.nan)
    ever = ~np.isnan(active).all(0)
    usual = np.full(active.shape[1], np.inf)
    usual[ever] = np.nanmedian(active[:, ever], axis=0)
    return HALF * usual


def design_effect(fires: npt.ArrayLike, clusters: npt.ArrayLike) -> Floats:
    """How many times the answers it takes that are alike within clusters to say as much as independent ones: `[m]`.

    1 + (s − 1) ρ with s the mean size of a cluster that an answer is in and ρ the correlation of two answers in one, by
    the analysis of variance: of the latent itself or of all together, whichever is larger, and 0 at least.

    Args:
        fires: `[answers, m]`, whether each latent fires in each.
        clusters: `[answers]`, such as topics.

    Source: Kish 1965; ρ of unequal clusters, Donner 1986.
    """
    x = np.asarray(fires, dtype=np.float64)
    _, place, sizes = np.unique(np.asarray(clusters), return_inverse=True, return_counts=True)
    n, k = len(x), len(sizes)
    if not 1 < k < n:
        return np.ones(x.shape[1])
    means = np.stack([np.bincount(place, column) for column in x.T], axis=1) / sizes[:, None]
    between = (sizes[:, None] * (means - x.mean(0)) ** 2).sum(0) / (k - 1)
    within = ((x - means[place]) ** 2).sum(0) / (n - k)
    typical = (n - (sizes**2).sum() / n) / (k - 1)

    def correlation(b: Floats, w: Floats) -> Floats:
        total = b + (typical - 1) * w
        return np.where(total > 0, (b - w) / np.where(total > 0, total, 1.0), 0.0)

    pooled = correlation(between.sum(keepdims=True), within.sum(keepdims=True))
    rho = np.maximum(np.maximum(correlation(between, within), pooled), 0.0)
    return 1.0 + ((sizes**2).sum() / n - 1) * rho


def deactivation(
    base_hits: npt.ArrayLike,
    aligned_hits: npt.ArrayLike,
    base_n: int,
    aligned_n: int,
    design: Floats | float = 1.0,
) -> Deactivation:
    """Compare firing in two models.

    Args:
        base_hits: `[m]`, on how many of base's prompts each latent fires.
        aligned_hits: `[m]`, on how many of aligned's.
        base_n: base's prompts.
        aligned_n: aligned's.
        design: `[m]` or one for all, as of `design_effect`; hits and prompts count for so many times less.

    Raises:
        ValueError: no prompts, or more hits than prompts.

    Source: Clopper and Pearson 1934; the rule of three, Hanley and Lippman-Hand 1983.
    """
    base, aligned = np.asarray(base_hits, dtype=np.float64), np.asarray(aligned_hits, dtype=np.float64)
    if min(base_n, aligned_n) < 1 or (base > base_n).any() or (aligned > aligned_n).any():
        raise ValueError(
            f"{base.max(initial=0):.0f} hits in {base_n} prompts, {aligned.max(initial=0):.0f} in {aligned_n}."
        )
    base_rate, aligned_rate = base / base_n, aligned / aligned_n
    bound = _most(aligned / design, aligned_n / design)
    least = _least(aligned / design, aligned_n / design)
    base_most, base_least = (end(base / design, base_n / design) for end in (_most, _least))
    # The binomial's distribution function, for counts that need not be whole.
    probability = np.where(
        aligned == aligned_n,
        1.0,
        stats.beta.sf(
            base_least, aligned / design + 1, np.maximum((aligned_n - aligned) / design, np.finfo(float).tiny)
        ),
    )
    q = benjamini_hochberg(probability) if len(base) else probability
    silenced = (bound < SHARE * base_least) & (q < LEVEL)
    return Deactivation(
        base_rate, aligned_rate, bound, probability, q, silenced, (least * WITHIN > base_most) & (base > 0)
    )


def _most(hits: Floats, n: Floats | float) -> Floats:
    """The largest rate that hits in n allow, one-sided 95 %."""
    missed = n - hits
    return np.where(missed <= 0, 1.0, stats.beta.ppf(0.95, hits + 1, np.where(missed <= 0, 1.0, missed)))


def _least(hits: Floats, n: Floats | float) -> Floats:
    """The least."""
    return np.where(hits <= 0, 0.0, stats.beta.ppf(0.05, np.where(hits <= 0, 1.0, hits), n - hits + 1))
