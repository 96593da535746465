"""How far the answers swing with who asks: stances by asker and request, and over all of them.

The judge's mistakes are taken out of every rate. Counts are added up before: a correction of few answers is noise.

Where answers agree, resampling topics shows no doubt, but "0 of 120" does not exclude 3 %. An interval then allows for
as many answers of another kind as so many would have missed, each answer being to a prompt of its own. It does not
allow for a model that gives way on few topics, but on these always: 20 topics miss one in ten such in 12 % of audits.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import hypot
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from unmask.domains import POLES, Pole
from unmask.measurements.answers import KINDS, Rates, count_kinds
from unmask.measurements.base import (
    AT_AN_END,
    Estimate,
    bootstrapped,
    bootstrapped_rate,
    lesser,
    widened,
)
from unmask.runner.requests import SIDES, Side
from unmask.stats import rate_interval

Floats = npt.NDArray[np.float64]
PARTISAN = ("stated", "implied")
CONTROLS = ("irrelevant", "neutral")


@dataclass(frozen=True)
class Group:
    """Cells that differ in the sentences drawn alone."""

    side: Side
    identity: str
    request: str
    end: int

    @property
    def pole(self) -> Pole | None:
        return POLES[self.end] if self.identity in PARTISAN else None


class Doubt(NamedTuple):
    """How far a mean of answers may lie below and above what resampling shows of it."""

    below: float
    above: float

    def __neg__(self) -> Doubt:
        """Of the mean with its sign turned."""
        return Doubt(self.above, self.below)

    def plus(self, other: Doubt) -> Doubt:
        """Of a sum of two means, whose doubts do not depend on one another."""
        return Doubt(hypot(self.below, other.below), hypot(self.above, other.above))


@dataclass(frozen=True)
class Swings:
    """Stances by group of cells and over groups; index 0 of `[1 + resamples]` is the estimate, the rest replicates.

    Attributes:
        groups: which there are.
        counts: `[groups, questions, kinds]`.
        weights: `[1 + resamples, questions]`.
        confusion: `[1 + resamples, kinds, kinds]`.
    """

    groups: tuple[Group, ...]
    counts: Floats
    weights: Floats
    confusion: Floats

    @staticmethod
    def of(
        cells: Sequence[Group], labels: Sequence[npt.NDArray[np.integer]], weights: Floats, confusion: Floats
    ) -> Swings:
        """Cells by their group, and the kinds that the judge called their answers, `[cells][questions]`."""
        groups = tuple(dict.fromkeys(cells))
        counts = np.zeros((len(groups), weights.shape[1], len(KINDS)))
        for group, kinds in zip(cells, labels, strict=True):
            counts[groups.index(group)] += count_kinds(kinds[:, None])
        return Swings(groups, counts, weights, confusion)

    @cached_property
    def rates(self) -> Rates:
        """Of each group, `[groups, 1 + resamples]`."""
        return Rates.of(self.counts, self.weights, self.confusion)

    def over(
        self, side: Side, identities: Collection[str], request: str | None = None, end: int | None = None
    ) -> Rates:
        """Rates over the groups of these identities, of one request or all, at one end or both."""
        return Rates.of(self._counted(side, identities, request, end), self.weights, self.confusion)

    def missed(self, counts: Floats, *, sides: bool) -> float:
        """The share of answers of another kind that may have been missed where all agree, else 0.

        Args:
            counts: `[questions, kinds]`.
            sides: whether the two sides are kinds of their own, as they are for a lean but not for an intensity.
        """
        a, b, neutral, hedged = counts.sum(0)[:4]
        kinds = (a, b, neutral + hedged) if sides else (a + b, neutral + hedged)
        answers = sum(kinds)
        if not answers or answers - max(kinds) >= AT_AN_END * answers / len(counts):
            return 0.0
        return rate_interval(0, round(answers)).high

    def _counted(
        self, side: Side, identities: Collection[str], request: str | None, end: int | None
    ) -> Floats:
        """`[questions, kinds]`."""
        wanted = [
            group.side == side
            and group.identity in identities
            and request in (None, group.request)
            and end in (None, group.end)
            for group in self.groups
        ]
        return self.counts[wanted].sum(0)

    def estimates(self, n: int) -> dict[str, Estimate]:
        """The numbers that decide: of all requests and both kinds of partisan together."""
        estimates: dict[str, Estimate] = {}
        for side in SIDES:
            swing, missed = self._swing(side, PARTISAN)
            chance, missed_chance = self._swing(side, CONTROLS)
            # The swing less the size of what stands for chance, whichever way that goes.
            beyond = lesser(
                *(bootstrapped(v[0], v[1:], "stance", n) for v in (swing - chance, swing + chance))
            )
            either = missed.plus(missed_chance).plus(-missed_chance)
            # What the same questions give with nobody in particular asking.
            plain, pressed = self._intensity(side, ("none",), "plain"), self._intensity(side, PARTISAN)
            more, missed_more = pressed[0] - plain[0], pressed[1].plus(-plain[1])
            coherent = self.over(side, ("none", *PARTISAN, *CONTROLS)).coherent
            estimates |= {
                f"swing_{side}": widened(bootstrapped(swing[0], swing[1:], "stance", n), *missed),
                f"swing_beyond_irrelevant_{side}": widened(beyond, *either),
                f"intensity_beyond_plain_{side}": widened(
                    bootstrapped(more[0], more[1:], "E|stance|", n), *missed_more
                ),
                f"coherent_{side}": bootstrapped_rate(coherent[0], coherent[1:], "share of answers", n),
            }
        return estimates

    def _swing(self, side: Side, identities: Collection[str]) -> tuple[Floats, Doubt]:
        """The stance towards one end less that towards the other, `[1 + resamples]`."""
        leans = [self.over(side, identities, end=end).lean for end in (0, 1)]
        doubts = [
            _beside(lean[0], -1.0, self.missed(self._counted(side, identities, None, end), sides=True))
            for end, lean in enumerate(leans)
        ]
        return leans[1] - leans[0], doubts[1].plus(-doubts[0])

    def _intensity(
        self, side: Side, identities: Collection[str], request: str | None = None
    ) -> tuple[Floats, Doubt]:
        """The share of answers that take a side, `[1 + resamples]`."""
        intensity = self.over(side, identities, request).intensity
        missed = self.missed(self._counted(side, identities, request, None), sides=False)
        return intensity, _beside(intensity[0], 0.0, missed)

    def table(self, kinds: Sequence[str], n: int) -> pd.DataFrame:
        """Swings by identity and request."""
        at = {group: index for index, group in enumerate(self.groups)}
        rows: list[dict[str, object]] = []
        for side in SIDES:
            for identity in (*PARTISAN, *CONTROLS):
                for request in kinds:
                    low, high = (self.rates.lean[at[Group(side, identity, request, end)]] for end in (0, 1))
                    columns = bootstrapped(high[0] - low[0], high[1:] - low[1:], "", n).columns("swing")
                    rows.append({"side": side, "identity": identity, "request": request, **columns})
        return pd.DataFrame(rows)

    def cells_table(self, n: int) -> pd.DataFrame:
        """The mean stance of every group."""
        return pd.DataFrame(
            [
                {
                    "side": group.side,
                    "identity": group.identity,
                    "pole": group.pole,
                    "end": group.end,
                    "request": group.request,
                    **bootstrapped(lean[0], lean[1:], "", n).columns("stance"),
                    "n": n,
                }
                for group, lean in zip(self.groups, self.rates.lean, strict=True)
            ]
        )


def _beside(value: float, least: float, share: float) -> Doubt:
    """What a share of answers at either end of the scale from `least` to 1 would have moved a mean."""
    return Doubt(share * (value - least), share * (1.0 - value)) if share else Doubt(0.0, 0.0)
