"""What the sample behind a bar could have found, and how much larger it would have to be.

An interval clears its bar when the estimate lies beyond it by more than q standard errors. Estimates scatter around
the truth with the same standard error, so a true value is found with power .8 when it lies beyond the bar by

    (q + z.8) · se

on the scale of the bar: a log ratio stays a log ratio.

- **se** is the distance from the estimate to the end of its 95 % interval that faces the bar, over the t by which
  that interval was made (97.5 % point, n − 1 degrees of freedom). A skewed interval so has its own se at each end. In
  one that is what a count allows (20 of 20) the longer end serves both: the other is short by chance.
- **q** is that t again, since the interval has to clear the bar whatever else holds. For support it grows to
  z(1 − α/2) · √((n − 1)/n) where Holm leaves the claim an α so small that its p-value is the harder test; the root is
  there because p-values come from the replicates, which were not widened for few clusters.
- **Refuting** rests on the interval alone, hence on α = .05.
- **"within"** is two one-sided tests by the 95 % interval, hence at 2.5 % a side and not at the customary 5 %. Near 0
  both margins are in reach, and the power counts both.

Mostly the spread at the smallest effect is taken to be the spread at the estimate. Not so where the quantity itself
says otherwise (`Bar.spread`), n being the clusters:

- a **share** p is counted as arcsin √p, on which its spread is the same everywhere (Cohen 1988); half of the interval's
  width on that scale, over t, is its se at both ends. On its own scale it spreads more the farther it is from 0 and 1.
- a **difference** of two shares, or a mean of effects that most topics may lack, has at |x| > |v| at most the variance
  se² · |x| / |v|, and at most se² + (|x| − |v|) · most / n: all of the more comes from topics at their utmost (Bhatia
  and Davis 2000). The lesser of the two serves, so that power is at least .8 there and may be more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import asin, ceil, isfinite, pi, sin, sqrt

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from unmask.measurements.base import Estimate
from unmask.stats import rate_interval
from unmask.verdict.findings import Detectable, Effect, SampleNeeded
from unmask.verdict.rules import Bar

ALPHA = 0.05
POWER = 0.8
_Z_POWER = float(ndtri(POWER))


def detectable(bar: Bar, estimate: Estimate, level: float) -> Detectable | None:
    """The smallest effects on either side of a bar that would have been found with power .8.

    Args:
        bar: the threshold.
        estimate: what was measured against it.
        level: two-sided level that Holm leaves the bar's claim; an estimate without replicates is not tested by it.

    Returns:
        None where the estimate has no width (it was counted) or no standard error, or was not measured.
    """
    if not estimate.high > estimate.low or estimate.n < 2 or estimate.bounds:
        return None
    if estimate.replicates is None:
        level = ALPHA
    supports_from, refutes_from = _starts(*_scaled(bar, estimate), level)
    if bar.spread == "share":
        supports_from, refutes_from = (_from_arcsine(x) + bar.least for x in (supports_from, refutes_from))
        if bar.side == "below" and rate_interval(0, estimate.n).high + bar.least >= bar.at:
            supports_from = float("nan")  # not even a share of 0 is shown to lie below
    refutes_at = bar.at if bar.refutes_at is None else bar.refutes_at
    return Detectable(
        _effect(bar, supports_from, bar.at, level),
        _effect(bar, refutes_from, refutes_at, ALPHA) if bar.may_refute else None,
        POWER,
    )


def _starts(bar: Bar, estimate: Estimate, level: float) -> tuple[float, float]:
    """From which value on a bar is settled on either side; NaN if from none."""
    q, t = _multiples(estimate.n, level)
    supporting, refuting = _errors(bar, estimate)
    refutes_at = bar.at if bar.refutes_at is None else bar.refutes_at
    if bar.side == "within":
        inside = _widest_within(bar.at, _spread(bar, estimate, supporting), q)
        if not isfinite(inside) and _is_a_bound(estimate) and -bar.at < estimate.low < estimate.high < bar.at:
            inside = abs(estimate.value)
        return inside, _smallest(bar, estimate, refutes_at, 1, t + _Z_POWER, refuting)
    sign = -1 if bar.side == "below" else 1
    return (
        _smallest(bar, estimate, bar.at, sign, q + _Z_POWER, supporting),
        _smallest(bar, estimate, refutes_at, -sign, t + _Z_POWER, refuting),
    )


def _is_a_bound(estimate: Estimate) -> bool:
    """Whether its interval is what a count allows (0 of 40), not how far its resamples scatter: at the same truth every
    sample then has the same interval."""
    if estimate.replicates is None or not np.isfinite(estimate.replicates).all():
        return False
    low, high = np.quantile(estimate.replicates, [0.025, 0.975])
    return bool(high - low < (estimate.high - estimate.low) / 2)


def sample_needed(
    bars: Sequence[Bar], estimates: Mapping[str, Estimate], level: float, n: int
) -> SampleNeeded | None:
    """The sample that would settle a claim with power .8 if its estimates are the truth: n × ((q + z.8) · se /
    distance to the bar)², by the bar that asks for most; to refute, one bar is enough.

    Args:
        bars: the claim's bars.
        estimates: by quantity; every bar's is there.
        level: as in `detectable`.
        n: the claim's sample as it is.

    Returns:
        None where more of the same would not settle it: an estimate is on its bar, in the gap between supporting and
        refuting, or beyond a bar that may not refute; or where an interval has no end or no standard error, so that
        nothing can be said.
    """
    if any(estimates[bar.quantity].bounds for bar in bars):
        return None
    supporting = [_times_to_support(bar, estimates[bar.quantity], level) for bar in bars]
    refuting = [_times_to_refute(bar, estimates[bar.quantity]) for bar in bars if bar.may_refute]
    refuted = [times for times in refuting if times is not None]
    supported = [times for times in supporting if times is not None]
    if refuted:
        times, status = min(refuted), "refuted"
    elif len(supported) == len(bars):
        times, status = max(supported), "supported"
    else:
        return None
    return SampleNeeded(times, ceil(times * n), status) if times > 1 and isfinite(times * n) else None


def resized(bar: Bar, estimate: Estimate, n: int) -> Estimate:
    """An estimate as it would have been on n clusters: the same value, and all that scatters about it nearer or farther
    on the scale of its bar, by t / √n.
    """
    t = {size: float(stdtrit(size - 1, 1 - ALPHA / 2)) for size in (estimate.n, n)}
    times = t[n] / t[estimate.n] * sqrt(estimate.n / n)
    share = bar.spread == "share"

    def moved(x: float) -> float:
        if not share:
            return estimate.value + times * (x - estimate.value)
        centre, end = (_to_arcsine(y - bar.least) for y in (estimate.value, x))
        return bar.least + _from_arcsine(min(max(centre + times * (end - centre), 0.0), pi / 2))

    draws = estimate.replicates
    replicates = None if draws is None else np.array([moved(float(draw)) for draw in draws])
    return replace(estimate, low=moved(estimate.low), high=moved(estimate.high), n=n, replicates=replicates)


def _times_to_support(bar: Bar, estimate: Estimate, level: float) -> float | None:
    """How many times the sample it takes; None where the estimate is not on the supporting side."""
    bar, estimate = _scaled(bar, estimate)
    distance = bar.at - abs(estimate.value) if bar.side == "within" else _beyond(bar, estimate.value, bar.at)
    if not distance > 0:
        return None
    if not estimate.high > estimate.low or estimate.n < 2:
        return 0.0  # it was counted, and is where it is
    error, _ = _errors(bar, estimate)
    q, _ = _multiples(estimate.n, ALPHA if estimate.replicates is None else level)
    ratio = (q + _Z_POWER) * error / distance
    if bar.side == "within" and isfinite(ratio):
        x = abs(estimate.value)
        # With the other margin in reach as well, somewhat more than against the nearer one alone.
        ratio = _crossing(lambda r: _power_within(x, bar.at, error / r, q) >= POWER, 2 * ratio, ratio / 2)
    return ratio**2


def _times_to_refute(bar: Bar, estimate: Estimate) -> float | None:
    """How many times the sample it takes; None where the estimate is not on the refuting side."""
    bar, estimate = _scaled(bar, estimate)
    refutes_at = bar.at if bar.refutes_at is None else bar.refutes_at
    value = estimate.value
    distance = abs(value) - refutes_at if bar.side == "within" else -_beyond(bar, value, refutes_at)
    if not distance > 0:
        return None
    if not estimate.high > estimate.low or estimate.n < 2:
        return 0.0
    _, error = _errors(bar, estimate)
    _, t = _multiples(estimate.n, ALPHA)
    return ((t + _Z_POWER) * error / distance) ** 2


def on_scale(bar: Bar, value: float) -> float:
    """A value where its spread is taken to be the same everywhere: a share as arcsin √, anything else as it is."""
    return _to_arcsine(value - bar.least) if bar.spread == "share" else value


def _scaled(bar: Bar, estimate: Estimate) -> tuple[Bar, Estimate]:
    """A share's bar and estimate on the arcsine scale, anything else as it is."""
    if bar.spread != "share":
        return bar, estimate

    low, value, high = (on_scale(bar, x) for x in (estimate.low, estimate.value, estimate.high))
    refutes_at = None if bar.refutes_at is None else on_scale(bar, bar.refutes_at)
    return (
        replace(bar, at=on_scale(bar, bar.at), refutes_at=refutes_at),
        replace(estimate, value=value, low=low, high=high),
    )


def _to_arcsine(share: float) -> float:
    return asin(sqrt(min(max(share, 0.0), 1.0)))


def _from_arcsine(x: float) -> float:
    return sin(x) ** 2 if 0 <= x <= pi / 2 else float("nan")


def _spread(bar: Bar, estimate: Estimate, error: float) -> Callable[[float], float]:
    """The standard error at a true value, from that at the estimate."""
    if bar.spread != "difference":
        return lambda _: error
    size = abs(estimate.value)
    floor = max(size, bar.most / (2 * estimate.n))

    def of_difference(x: float) -> float:
        more = max(abs(x) - size, 0.0)
        return sqrt(error**2 + more * min(error**2 / floor, bar.most / estimate.n))

    return of_difference


def _smallest(bar: Bar, estimate: Estimate, at: float, sign: int, multiple: float, error: float) -> float:
    """The value nearest to a bar that lies that many of its own standard errors beyond it; NaN if none does."""
    if bar.spread != "difference":
        return at + sign * multiple * error
    spread = _spread(bar, estimate, error)

    def far(x: float) -> bool:
        return abs(x - at) >= multiple * spread(x)

    end = bar.most if sign > 0 else bar.least
    return _crossing(far, end, at) if far(end) else float("nan")


def _beyond(bar: Bar, value: float, at: float) -> float:
    return value - at if bar.side == "above" else at - value


def _errors(bar: Bar, estimate: Estimate) -> tuple[float, float]:
    """Standard errors for supporting and for refuting, by the end that faces the bar; "within" takes the longer."""
    t = float(stdtrit(estimate.n - 1, 1 - ALPHA / 2))
    half = (estimate.high - estimate.low) / 2
    if bar.spread == "share":
        return half / t, half / t
    below, above = estimate.value - estimate.low, estimate.high - estimate.value
    # An estimate may lie on an end of its interval, or outside: half of the width then.
    down, up = (below if below > 0 else half) / t, (above if above > 0 else half) / t
    # Where all answers agree, the short end says nothing of how they scatter where some do not.
    if bar.side == "within" or _is_a_bound(estimate):
        return max(down, up), max(down, up)
    return (down, up) if bar.side == "above" else (up, down)


def _multiples(n: int, level: float) -> tuple[float, float]:
    """How many standard errors beyond its bar an estimate has to lie to support, and to refute."""
    t = float(stdtrit(n - 1, 1 - ALPHA / 2))
    return max(t, -float(ndtri(level / 2)) * sqrt((n - 1) / n)), t


def _power_within(x: float, margin: float, error: float, q: float) -> float:
    """The chance that the interval of a true value x lies inside ±margin."""
    room = margin - q * error
    return float(ndtr((room - x) / error) - ndtr((-room - x) / error)) if room > 0 else 0.0


def _widest_within(margin: float, spread: Callable[[float], float], q: float) -> float:
    """The largest |x| that is shown to lie inside ±margin; NaN where not even 0 is."""

    def shown(x: float) -> bool:
        return isfinite(spread(x)) and _power_within(x, margin, spread(x), q) >= POWER

    return _crossing(shown, 0.0, margin) if shown(0.0) else float("nan")


def _crossing(holds: Callable[[float], bool], where: float, where_not: float) -> float:
    """Where a condition ceases to hold, between a place where it does and one where it does not, by bisection."""
    for _ in range(60):
        middle = (where + where_not) / 2
        if holds(middle):
            where = middle
        else:
            where_not = middle
    return where


def _effect(bar: Bar, start: float, at: float, level: float) -> Effect | None:
    return (
        Effect(start, abs(start - at), level) if isfinite(start) and bar.least <= start <= bar.most else None
    )
