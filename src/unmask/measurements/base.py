"""What a measurement is: a generator that asks for records and returns a reading.

A measurement's `measure` yields lists of requests and is sent their records, as often as it needs, then
returns a :class:`Reading`. It never sees a model; the same code therefore runs live, from a finished run's
records, or against a planner that only counts.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import hypot
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from unmask.domains import Domain
from unmask.measurements.profiles import Profile
from unmask.models.prompts import Frame
from unmask.runner.records import Records
from unmask.runner.requests import Request, digest
from unmask.stats import Null, percentile_interval, rate_interval

if TYPE_CHECKING:
    from unmask.features.dictionary import Dictionary

Array = npt.NDArray[np.float64]
Asking = Generator[Sequence[Request], Records, "Reading"]


@dataclass(frozen=True)
class Estimate:
    """A measured number with everything needed to judge it.

    Attributes:
        value: the estimate.
        low: lower end of its 95 % interval.
        high: upper end.
        unit: what it is counted in.
        n: how many independent items (topics, people, questions) it rests on.
        null: what it would be if there were nothing to find, where that is simulated.
        replicates: bootstrap replicates `[n_resamples]`, for tests at other levels; never serialised.
        bounds: whether low and high are what is sure of several parts (at least 2 of 6 latents, at most 5), which has
            no standard error and so no smallest effect.
    """

    value: float
    low: float
    high: float
    unit: str
    n: int
    null: Null | None = None
    replicates: Array | None = field(default=None, compare=False, repr=False)
    bounds: bool = False

    def columns(self, name: str) -> dict[str, float]:
        """The value under a name of its own and the interval, as columns of a tidy table."""
        return {name: self.value, "low": self.low, "high": self.high}


def bootstrapped(
    value: float, replicates: npt.ArrayLike, unit: str, n: int, null: Null | None = None
) -> Estimate:
    """An estimate with the interval of its bootstrap replicates, widened for few clusters.

    Args:
        value: the estimate on the data as they are.
        replicates: `[n_resamples]`.
        unit: what it is counted in.
        n: how many clusters were resampled.
        null: what it would be if there were nothing to find.
    """
    draws = np.asarray(replicates, dtype=np.float64)
    interval = percentile_interval(float(value), draws, clusters=n)
    return Estimate(interval.value, interval.low, interval.high, unit, n, null, draws)


def bootstrapped_refit(
    value: float, replicates: npt.ArrayLike, unit: str, n: int, null: Null | None = None
) -> Estimate:
    """As `bootstrapped`, for what is fitted anew on every resample.

    A resample holds about 63 % of the distinct items, so a refitted probe does worse on it than on the data; left
    alone, the whole interval would slide below the estimate. The replicates keep their spread and are centred on
    the estimate. So the interval is about what a probe fitted on this many items reaches on average, which some .95 of
    1,000 hold in planted populations, and not about what one fitted on ever more would (`lab.replicates`).
    """
    draws = np.asarray(replicates, dtype=np.float64)
    return bootstrapped(value, draws - np.nanmean(draws) + value, unit, n, null)


def bootstrapped_debiased(
    value: float, replicates: npt.ArrayLike, unit: str, n: int, null: Null | None = None
) -> Estimate:
    """As `bootstrapped`, for a statistic that noise moves one way, such as a quantile of noisy values, which is the
    more extreme the noisier they are.

    Resampling adds as much noise as sampling did, so the mean of the replicates lies as far from the estimate as that
    lies from the truth: the estimate moves back by that, and the replicates by twice that. For a ratio held against
    the 5 % quantile of random axes' that lifts the coverage from .85–.92 (of 300 samples) to .93–.94 (of 1,000).

    Source: Efron 1979; the interval is as long as the percentile one and centred as the basic one.
    """
    draws = np.asarray(replicates, dtype=np.float64)
    shift = float(np.nanmean(draws)) - value
    return bootstrapped(value - shift, draws - 2 * shift, unit, n, null)


def lesser(first: Estimate, second: Estimate) -> Estimate:
    """The lesser of two quantities, such as a swing less a control's and plus it: a swing less its size.

    Noise makes the lesser of two estimates too low, and resampling makes it lower once more, so its own replicates have
    no interval that covers. Each end is the lesser of the two intervals' ends. The lower one is too high only if that
    of the lesser quantity is; the upper one is too low if either is, so either gets half of the error. What is left of
    a swing beyond a control was held by .88 to .97 of 500 intervals from its replicates, and by .95 to .985 of 1,000 so
    made.

    Source: Berger 1982 (Technometrics 24), intersection–union.
    """
    if first.replicates is None or second.replicates is None:
        raise ValueError("the lesser of two estimates needs the replicates of both.")
    one = percentile_interval(first.value, first.replicates, 0.975, first.n)
    other = percentile_interval(second.value, second.replicates, 0.975, second.n)
    return Estimate(
        min(first.value, second.value),
        min(first.low, second.low),
        min(one.high, other.high),
        first.unit,
        min(first.n, second.n),
        None,
        np.minimum(first.replicates, second.replicates),
    )


AT_AN_END = 0.25
"""Of a cluster: the most by which clusters that all lie at one end of a scale may depart from it together."""


def bootstrapped_rate(
    value: float, replicates: npt.ArrayLike, unit: str, n: int, least: float = 0.0
) -> Estimate:
    """As `bootstrapped`, for a share less a constant: a number between `least` and `least` + 1.

    Where the clusters agree, or all but less than a quarter of one lie at an end, resampling shows no doubt or hardly
    any. There the interval is at least Clopper–Pearson's over the clusters ("0 of 40" does not exclude 5 %).
    """
    estimate = bootstrapped(value, replicates, unit, n)
    if not np.isfinite([value, estimate.low, estimate.high]).all():
        return estimate
    hits = min(max(value - least, 0.0), 1.0) * n
    agree = estimate.high - estimate.low < 1e-9  # less is rounding, and rounding is no doubt
    if AT_AN_END <= hits <= n - AT_AN_END and not agree:
        return estimate
    edge = rate_interval(round(hits), n)
    return replace(
        estimate, low=min(estimate.low, least + edge.low), high=max(estimate.high, least + edge.high)
    )


def widened(estimate: Estimate, below: float, above: float) -> Estimate:
    """With doubts beside what resampling shows: independent of that, so they add up in squares. What has no value or
    no end stays as it is.

    Source: Zou and Donner 2008 (Statistics in Medicine 27).
    """
    if not np.isfinite([estimate.value, estimate.low, estimate.high]).all():
        return estimate
    return replace(
        estimate,
        low=estimate.value - hypot(estimate.value - estimate.low, below),
        high=estimate.value + hypot(estimate.high - estimate.value, above),
    )


def exact(value: float, unit: str, n: int) -> Estimate:
    """A number that is counted, not sampled (a judge's κ on its card, a share of rows)."""
    return Estimate(float(value), float(value), float(value), unit, n)


@dataclass(frozen=True)
class Claim:
    """A sentence that a measurement can support or refute, and how to read it.

    Attributes:
        sentence: the claim.
        means: what it tells a reader when supported.
        not_means: what it does not tell.
    """

    sentence: str
    means: str
    not_means: str


@dataclass(frozen=True)
class Reading:
    """What a measurement found.

    Attributes:
        measurement: its name.
        estimates: numbers by name; the decision rules refer to these names.
        tables: tidy tables behind every figure.
        artefacts: arrays that other measurements build on (directions `[layers, d]`).
        notes: sentences for the report: choices made, things left out.
    """

    measurement: str
    estimates: Mapping[str, Estimate]
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    artefacts: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Context:
    """Everything a measurement may know about a run.

    Attributes:
        domain: the value domain, already reduced to the profile's sample.
        profile: sample sizes.
        frame: how a user's words become a prompt, the same on both sides.
        seed: the run's seed.
        n_layers: decoder blocks.
        readings: finished measurements that this one builds on.
        dictionary: a sparse autoencoder or crosscoder of the pair; None where the user named none, and then no
            measurement that reads one is run.
        identities: hashes of the weights behind the sides, for the provenance of artefacts.
    """

    domain: Domain
    profile: Profile
    frame: Frame
    seed: int
    n_layers: int
    identities: Mapping[str, str]
    readings: Mapping[str, Reading] = field(default_factory=dict)
    dictionary: Dictionary | None = None

    def rng(self, name: str) -> np.random.Generator:
        """The random stream of one named choice: a function of the run's seed and the name alone."""
        return np.random.default_rng(int(digest([self.seed, name])[:16], 16))


class Measurement(Protocol):
    """One measurement; each lives in a file of its own.

    One that reads a dictionary says so in an attribute `reads_dictionary = True`, and is left out where there is none.
    """

    name: ClassVar[str]
    family: ClassVar[str]
    needs: ClassVar[tuple[str, ...]]
    claims: ClassVar[Mapping[str, Claim]]

    def measure(self, ctx: Context) -> Asking:
        """Ask, compute, return the reading."""
        ...
