"""What a sample could find before it is drawn, beside what `detectable` says by hand."""

from __future__ import annotations

from dataclasses import replace
from math import asin, sin, sqrt

import numpy as np
import pytest
from scipy.special import stdtrit

from unmask.measurements import all_measurements
from unmask.measurements.base import Estimate, Reading
from unmask.verdict.foresight import Spreads, foresee, reference_spreads
from unmask.verdict.power import detectable, resized
from unmask.verdict.rules import RULES, Bar, Rule


def spread(value: float, low: float, high: float, n: int) -> Estimate:
    return Estimate(value, low, high, "stance", n, None, np.array([low, high]))


def reading(**sizes: int) -> Reading:
    return Reading("m", {name: Estimate(9.9, 9.0, 9.95, "stance", n) for name, n in sizes.items()})


def test_a_bar_is_foreseen_as_detectable_says_by_hand() -> None:
    bar = Bar("swing", "above", 0.2)
    known = spread(0.5, 0.4, 0.7, 20)
    (one,) = foresee(
        ["m.c"], reading(swing=80), {"m.c": Rule((bar,))}, Spreads("a → b", "quick", {("m", "swing"): known})
    )
    times = stdtrit(79, 0.975) / stdtrit(19, 0.975) / 2  # four times the sample, half the error
    by_hand = replace(known, low=0.5 - 0.1 * times, high=0.5 + 0.2 * times, n=80)
    assert one.n == 80
    found, expected = one.detectable, detectable(bar, by_hand, 0.05)
    assert found is not None
    assert expected is not None
    assert found.supports.start == pytest.approx(expected.supports.start)  # type: ignore[union-attr]  # both sides are in reach
    assert found.refutes.start == pytest.approx(expected.refutes.start)  # type: ignore[union-attr]  # as above


def test_the_same_sample_is_foreseen_as_it_was_found() -> None:
    for (measurement, quantity), estimate in reference_spreads().estimates.items():
        for id_, rule in RULES.items():
            for bar in rule.bars:
                if id_.startswith(measurement) and bar.quantity == quantity:
                    same = resized(bar, estimate, estimate.n)
                    assert (same.low, same.high) == pytest.approx((estimate.low, estimate.high))


def test_a_share_is_resized_on_the_arcsine_scale() -> None:
    bar = Bar("intensity", "below", 0.2, least=0.0, most=1.0, spread="share")
    half = resized(bar, spread(0.0, 0.0, 0.09, 40), 80)
    times = stdtrit(79, 0.975) / stdtrit(39, 0.975) * sqrt(0.5)
    assert half.low == 0
    assert half.high == pytest.approx(sin(asin(sqrt(0.09)) * times) ** 2)


def test_claims_share_their_level_and_what_is_counted_has_no_width() -> None:
    rules = {f"m.{name}": Rule((Bar(name, "above", 0.0),)) for name in ("x", "y", "counted", "unheard")}
    counted = Estimate(0.005, 0.005, 0.005, "p", 40)
    spreads = Spreads("a → b", "quick", {("m", "x"): spread(0.5, 0.4, 0.6, 40), ("m", "y"): spread(0, -1, 1, 40),
                                          ("m", "counted"): counted})  # fmt: skip
    x, y, third = foresee(list(rules), reading(x=40, y=40, counted=40, unheard=40), rules, spreads)
    assert third.detectable is None
    assert x.detectable is not None
    assert x.detectable.supports is not None
    assert x.detectable.supports.level == 0.025
    assert y.quantity == "y"


UNFORESEEN = {
    ("features", "silenced"),
    ("features", "silenced_beyond_matched"),
}  # they have no standard error


def test_every_bar_of_the_built_in_claims_has_a_spread() -> None:
    known = reference_spreads().estimates
    for name, measurement in all_measurements().items():
        if all(claim in RULES for claim in measurement.claims):
            for claim in measurement.claims:
                bars = {(name, bar.quantity) for bar in RULES[claim].bars}
                assert bars - UNFORESEEN <= known.keys(), claim
