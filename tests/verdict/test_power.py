"""The smallest effect that a sample would have found: planted, it is found in about 80 of 100 draws."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import norm, t

from unmask.measurements.base import Claim, Estimate, Reading, bootstrapped, bootstrapped_rate, exact
from unmask.stats import cluster_weights, ratio_interval, ratio_replicates, weighted_sd
from unmask.verdict.decide import judge
from unmask.verdict.findings import Detectable, Finding
from unmask.verdict.power import detectable, sample_needed
from unmask.verdict.rules import RULES, Bar, Guard, Rule

DRAWS = 500
RESAMPLES = 3000  # the draws share their resamples, whose luck is to stay small beside that of the draws
Z80 = float(norm.ppf(0.8))


def decided(rule: Rule, estimate: Estimate, **more: Estimate) -> Finding:
    """The finding on `x`, in company of one claim more for each further estimate, whether that is above 0."""
    rules = {"x": rule, **{name: Rule((Bar(name, "above", 0.0),)) for name in more}}
    claims = {name: Claim("It is so.", "", "") for name in rules}
    return judge(Reading("m", {"x": estimate, **more}), claims, rules)[0]


def means(truth: float, seed: int, n: int = 40, sd: float = 0.4) -> list[Estimate]:
    """One estimate a draw: the mean of n topics with its bootstrap."""
    rng = np.random.default_rng(seed)
    weights = cluster_weights(np.arange(n), RESAMPLES, rng) / n
    return [bootstrapped(x.mean(), weights @ x, "", n) for x in rng.normal(truth, sd, (DRAWS, n))]


def share(findings: list[Finding], status: str) -> float:
    return float(np.mean([finding.status == status for finding in findings]))


def smallest(findings: list[Finding], side: Literal["supports", "refutes"]) -> float:
    """What a typical draw calls its smallest effect; one that knows none counts as the worst."""
    known = [found for finding in findings if (found := finding.bars[0].detectable) is not None]
    effects = [getattr(found, side) for found in known]
    return float(np.median([-math.inf if effect is None else effect.start for effect in effects]))


@pytest.mark.parametrize("side", ["supports", "refutes"])
@pytest.mark.parametrize("bar", [Bar("x", "above", 0.2), Bar("x", "below", 0.2, 0.3)])
def test_a_planted_mean_of_that_size_is_found_in_80_of_100_draws(
    bar: Bar, side: Literal["supports", "refutes"]
) -> None:
    rule = Rule((bar,))
    start = smallest([decided(rule, e) for e in means(0.2, 1)], side)
    at = bar.refutes_at if side == "refutes" and bar.refutes_at is not None else bar.at
    assert abs(start - at) == pytest.approx((1.96 + Z80) * 0.4 / math.sqrt(40), rel=0.06)
    found = [decided(rule, e) for e in means(start, 2)]
    assert share(found, "supported" if side == "supports" else "refuted") == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("side", ["supports", "refutes"])
def test_equivalence_counts_both_margins(side: Literal["supports", "refutes"]) -> None:
    rule = Rule((Bar("x", "within", 0.225),))
    start = smallest([decided(rule, e) for e in means(0.0, 3)], side)
    if side == "supports":  # less than the nearer margin alone would leave
        assert 0 < start < 0.225 - (1.96 + Z80) * 0.4 / math.sqrt(40)
    found = [decided(rule, e) for e in means(start, 4)]
    assert share(found, "supported" if side == "supports" else "refuted") == pytest.approx(0.8, abs=0.05)


def test_among_several_claims_the_level_is_what_holm_leaves() -> None:
    nothing = means(-1.0, 5)[0]
    clear = means(1.0, 6)[0]
    rule = Rule((Bar("x", "above", 0.2),))

    def among(estimate: Estimate) -> Finding:
        return decided(rule, estimate, nothing=nothing, also=nothing, clear=clear)

    first = [among(e) for e in means(0.2, 7)]
    found = first[0].bars[0].detectable
    assert found is not None
    assert found.supports is not None
    assert found.refutes is not None
    # Of four claims one stands already: three are left. To refute, the interval alone is asked.
    assert found.supports.level == pytest.approx(0.05 / 3)
    assert found.refutes.level == 0.05
    start = smallest(first, "supports")
    assert start > smallest([decided(rule, e) for e in means(0.2, 7)], "supports")
    assert share([among(e) for e in means(start, 8)], "supported") == pytest.approx(0.8, abs=0.05)
    low = smallest(first, "refutes")
    assert share([among(e) for e in means(low, 9)], "refuted") == pytest.approx(0.8, abs=0.05)


def answers(
    truth: float, seed: int, alike: float, n: int = 40, samples: int = 3
) -> list[npt.NDArray[np.float64]]:
    """Per draw the share of partisan answers by topic, whose answers correlate by `alike`."""
    rng = np.random.default_rng(seed)
    own = np.full((DRAWS, n), truth)
    if alike:
        more = 1 / alike - 1
        own = rng.beta(truth * more, (1 - truth) * more, (DRAWS, n))
    return list(rng.binomial(samples, own) / samples)


@pytest.mark.parametrize("alike", [0.0, 0.3])
@pytest.mark.parametrize("truth", [0.02, 0.05, 0.1])
def test_a_share_spreads_more_at_its_smallest_effect_than_near_0(truth: float, alike: float) -> None:
    """A sample that is almost neutral does not think itself as sharp at the bar as it is at 0."""
    bar = RULES["surface.neutral"].bars[0]
    rule = Rule((replace(bar, quantity="x"),))
    weights = cluster_weights(np.arange(40), RESAMPLES, np.random.default_rng(0)) / 40

    def findings(share: float, seed: int) -> list[Finding]:
        drawn = answers(share, seed, alike)
        return [decided(rule, bootstrapped_rate(x.mean(), weights @ x, "", 40)) for x in drawn]

    found = findings(truth, 20)
    for side, status in (("supports", "supported"), ("refutes", "refuted")):
        start = smallest(found, side)
        assert 0.7 < share(findings(start, 21), status) < 0.92, side


@pytest.mark.parametrize("truth", [0.02, 0.1])
def test_a_difference_of_shares_is_found_at_least_as_often_as_is_said(truth: float) -> None:
    """Two models that both take no side, and what a drop of the size that is named would look like."""
    rule = Rule((replace(RULES["surface.neutralised"].bars[0], quantity="x"),))
    weights = cluster_weights(np.arange(40), RESAMPLES, np.random.default_rng(0)) / 40

    def findings(base: float, seed: int) -> list[Finding]:
        drawn = zip(answers(base, seed, 0.3), answers(truth, seed + 1, 0.3), strict=True)
        return [decided(rule, bootstrapped((x - y).mean(), weights @ (x - y), "", 40)) for x, y in drawn]

    start = smallest(findings(truth, 22), "supports")
    assert 0.2 < start < 0.7
    assert share(findings(truth + start, 24), "supported") > 0.78


def test_a_lean_needs_answers_that_take_sides() -> None:
    """Where hardly any does, a lean of any size would spread more than what was seen."""
    rule = Rule((replace(RULES["surface.neutral"].bars[1], quantity="x"),))
    weights = cluster_weights(np.arange(40), RESAMPLES, np.random.default_rng(0)) / 40

    def findings(a: float, b: float, seed: int) -> list[Finding]:
        drawn = zip(answers(b, seed, 0.0), answers(a, seed + 1, 0.0), strict=True)
        return [decided(rule, bootstrapped((x - y).mean(), weights @ (x - y), "", 40)) for x, y in drawn]

    found = findings(0.01, 0.01, 26)
    inside, outside = smallest(found, "supports"), smallest(found, "refutes")
    assert inside > 0
    assert share(findings(0.005, inside + 0.005, 28), "supported") > 0.78
    assert share(findings(0.005, outside + 0.005, 30), "refuted") > 0.78


def log_sd_ratios(truth: float, seed: int, n: int = 60) -> list[Estimate]:
    """log(σ_aligned / σ_base) of correlated pairs, whose true value is `truth`."""
    rng = np.random.default_rng(seed)
    weights = np.concatenate([np.ones((1, n)), cluster_weights(np.arange(n), RESAMPLES, rng)])
    estimates: list[Estimate] = []
    for _ in range(DRAWS):
        base = rng.normal(size=n)
        aligned = math.exp(truth) * (0.6 * base + 0.8 * rng.normal(size=n))
        draws = np.log(weighted_sd(aligned, weights) / weighted_sd(base, weights))
        estimates.append(bootstrapped(draws[0], draws[1:], "log σ ratio", n))
    return estimates


def gain_ratios(truth: float, seed: int, n: int = 40) -> list[Estimate]:
    """Ratios of two mean slopes, skewed by an uncertain denominator."""
    rng = np.random.default_rng(seed)
    weights = np.concatenate([np.ones((1, n)), cluster_weights(np.arange(n), RESAMPLES, rng)]) / n
    estimates: list[Estimate] = []
    for _ in range(DRAWS):
        base = weights @ rng.normal(1.0, 1.0, n)
        aligned = weights @ rng.normal(truth, 0.6, n)
        ratio = ratio_interval(aligned[0], base[0], aligned[1:], base[1:], clusters=n)
        replicates = ratio_replicates(base[0], aligned[1:], base[1:])
        estimates.append(Estimate(ratio.value, ratio.low, ratio.high, "aligned / base", n, None, replicates))
    return estimates


@pytest.mark.parametrize(
    ("draw", "bar", "tolerance"),
    [
        (log_sd_ratios, RULES["variance.compressed"].bars[0], 0.05),
        (gain_ratios, RULES["causality.connected"].bars[0], 0.08),
        (gain_ratios, RULES["causality.disconnected"].bars[0], 0.08),
    ],
)
def test_a_skewed_number_is_judged_on_its_own_scale_by_the_end_that_faces_the_bar(
    draw: Callable[[float, int], list[Estimate]], bar: Bar, tolerance: float
) -> None:
    rule = Rule((Bar("x", bar.side, bar.at),))
    start = bar.at
    for seed in (
        10,
        11,
        12,
    ):  # the spread hangs on the effect, so the smallest effect is one that names itself
        start = smallest([decided(rule, e) for e in draw(start, seed)], "supports")
    assert share([decided(rule, e) for e in draw(start, 13)], "supported") == pytest.approx(
        0.8, abs=tolerance
    )


class TestSampleNeeded:
    @pytest.mark.parametrize(
        ("bar", "truth", "status"),
        [
            (Bar("x", "above", 0.2), 0.3, "supported"),
            (Bar("x", "above", 0.2), 0.1, "refuted"),
            (Bar("x", "within", 0.2), -0.08, "supported"),
            (Bar("x", "within", 0.1), -0.2, "refuted"),
        ],
    )
    def test_the_larger_sample_settles_it_in_80_of_100_draws_if_the_estimate_stands(
        self, bar: Bar, truth: float, status: str
    ) -> None:
        rule = Rule((bar,))
        needed = decided(rule, centred(truth)).sample_needed
        assert needed is not None
        assert (needed.status, needed.n) == (status, math.ceil(40 * needed.times))
        assert needed.times > 1.2
        settled = [decided(rule, e) for e in means(truth, 14, n=needed.n)]
        assert share(settled, status) == pytest.approx(0.8, abs=0.05)

    def test_it_is_n_times_the_squared_ratio_of_the_smallest_effect_to_the_effect(self) -> None:
        finding = decided(Rule((Bar("x", "above", 0.2),)), centred(0.3))
        found, needed = finding.bars[0].detectable, finding.sample_needed
        assert found is not None
        assert found.supports is not None
        assert needed is not None
        assert needed.times == pytest.approx((found.supports.beyond / 0.1) ** 2)

    def test_support_needs_the_bar_that_asks_for_most_and_refutation_one(self) -> None:
        bars = (Bar("x", "above", 0.2), Bar("y", "above", 0.0))

        def times(x: float, y: float, rule: Rule | None = None) -> float | None:
            reading = Reading("m", {"x": centred(x), "y": centred(y)})
            (finding,) = judge(reading, {"c": Claim("", "", "")}, {"c": rule or Rule(bars)})
            assert finding.status == "inconclusive"
            return None if finding.sample_needed is None else finding.sample_needed.times

        one = times(0.3, 5.0)
        assert one is not None
        assert times(0.3, 0.05) == pytest.approx(
            4 * one, rel=0.02
        )  # half the distance asks for four times the sample
        assert times(0.1, -0.03) == pytest.approx(one, rel=0.02)  # the first bar needs less
        guard = Rule((bars[0], Bar("y", "above", 0.0, may_refute=False)))
        assert times(0.3, -0.05, guard) is None  # what stands keeps from support and cannot refute
        assert times(0.1, -0.05, guard) == pytest.approx(one, rel=0.02)

    def test_nothing_is_said_where_a_larger_sample_is_not_the_matter(self) -> None:
        rule = Rule((Bar("x", "above", 0.2),), (Guard("c", "at least", 0.5, "it broke"),))
        claims = {"x": Claim("", "", "")}

        def needed(rule: Rule = rule, **estimates: Estimate) -> object:
            (finding,) = judge(Reading("m", estimates), claims, {"x": rule})
            return finding.sample_needed

        fine = exact(1.0, "", 10)
        assert needed(x=centred(0.3), c=fine) is not None
        assert needed(x=centred(0.3), c=exact(0.1, "", 10)) is None  # a control failed
        assert needed(c=fine) is None  # not measured
        assert needed(x=centred(1.0), c=fine) is None  # settled
        assert needed(x=Estimate(0.3, -math.inf, math.inf, "", 40), c=fine) is None  # unbounded
        assert needed(x=centred(0.2), c=fine) is None  # on the bar: never
        gap = Rule((Bar("x", "above", 0.2, 0.1),))
        assert needed(gap, x=centred(0.15)) is None  # between supporting and refuting: never


def centred(value: float) -> Estimate:
    """An estimate of exactly this value from 40 topics with σ = .4."""
    rng = np.random.default_rng(99)
    x = rng.normal(size=40)
    x = value + 0.4 * (x - x.mean()) / x.std(ddof=1)
    return bootstrapped(value, cluster_weights(np.arange(40), 4000, rng) @ x / 40, "", 40)


class TestByHand:
    BAR: ClassVar = Bar("x", "above", 0.2)

    def test_the_formula(self) -> None:
        """Interval ± .1 about .3 from 20 topics, no replicates: se = .1 / t, and the interval itself is the test."""
        found = detectable(self.BAR, Estimate(0.3, 0.2, 0.4, "", 20), 0.01)
        effect = float(0.1 * (1 + Z80 / t.ppf(0.975, 19)))
        assert found is not None
        assert asdict(found) == {
            "supports": pytest.approx({"start": 0.2 + effect, "beyond": effect, "level": 0.05}),
            "refutes": pytest.approx({"start": 0.2 - effect, "beyond": effect, "level": 0.05}),
            "power": 0.8,
        }

    def test_each_side_has_its_own_spread(self) -> None:
        found = detectable(self.BAR, Estimate(0.3, 0.2, 0.6, "", 20), 0.05)
        assert found is not None
        assert found.supports is not None
        assert found.refutes is not None
        assert found.refutes.beyond == pytest.approx(3 * found.supports.beyond)

    def test_where_all_answers_agreed_the_short_end_is_not_the_sharper(self) -> None:
        """20 of 20 plain answers take sides, and 239 of 240 under pressure: no more by any resample, yet the 20 leave
        room for .17 more. An effect of .03 is not one that such a sample finds."""
        resampled = np.random.default_rng(0).normal(0, 0.007, 2000)
        bound = Estimate(0.0, -0.015, 0.17, "", 20, replicates=resampled)
        found = detectable(Bar("x", "above", 0.0), bound, 0.05)
        assert found is not None
        assert found.supports is not None
        assert found.supports.beyond == pytest.approx(0.17 * (1 + Z80 / t.ppf(0.975, 19)), rel=0.01)

    def test_what_was_counted_or_not_measured_has_none(self) -> None:
        for nothing in (exact(0.7, "κ", 300), Estimate(math.nan, math.nan, math.nan, "", 0)):
            assert detectable(self.BAR, nothing, 0.05) is None

    def test_an_interval_without_end_could_have_found_nothing(self) -> None:
        assert detectable(self.BAR, Estimate(0.3, -math.inf, math.inf, "", 20), 0.05) == Detectable(
            None, None
        )
        half = detectable(self.BAR, Estimate(0.3, -math.inf, 0.4, "", 20), 0.05)
        assert half is not None
        assert half.supports is None
        assert half.refutes is not None

    def test_what_the_quantity_cannot_be_is_not_called_findable(self) -> None:
        intensity = RULES["surface.neutral"].bars[0]
        wide = detectable(intensity, Estimate(0.15, 0.0, 0.4, "", 10), 0.05)
        assert wide is not None
        assert wide.supports is None  # it would have to be below 0
        assert wide.refutes is not None

    def test_too_few_topics_cannot_show_equivalence(self) -> None:
        lean = RULES["surface.neutral"].bars[1]
        wide = detectable(lean, Estimate(0.0, -0.09, 0.09, "", 20), 0.05)
        assert wide is not None
        assert wide.supports is None
        narrow = detectable(lean, Estimate(0.0, -0.02, 0.02, "", 200), 0.05)
        assert narrow is not None
        assert narrow.supports is not None
        # No more may come with a larger lean than topics at their utmost would bring: start / 200.
        q, start = float(t.ppf(0.975, 199)), narrow.supports.start
        assert 0.1 - start == pytest.approx((q + Z80) * math.sqrt((0.02 / q) ** 2 + start / 200), rel=0.01)

    def test_a_share_is_counted_as_its_arcsine(self) -> None:
        bar = Bar("x", "below", 0.2, least=0.0, most=1.0, spread="share")
        found = detectable(bar, Estimate(0.1, 0.05, 0.16, "", 40), 0.05)
        low, high, at = (math.asin(math.sqrt(x)) for x in (0.05, 0.16, 0.2))
        error = (high - low) / 2 / float(t.ppf(0.975, 39))
        assert found is not None
        assert found.supports is not None
        start = math.sin(at - (float(t.ppf(0.975, 39)) + Z80) * error) ** 2
        assert found.supports.start == pytest.approx(start)
        # As a share less the bar, at 0: the same effect.
        bar, less = replace(bar, at=0.0, least=-0.2, most=0.8), Estimate(-0.1, -0.15, -0.04, "", 40)
        shifted = detectable(bar, less, 0.05)
        assert shifted is not None
        assert shifted.supports is not None
        assert shifted.supports.start == pytest.approx(start - 0.2)

    def test_a_spread_that_changes_needs_to_know_its_bounds(self) -> None:
        with pytest.raises(ValueError, match="needs `least` and `most`"):
            Bar("x", "below", 0.2, spread="share")

    def test_a_share_of_nought_takes_its_spread_from_above(self) -> None:
        bar = Bar("x", "below", 0.2, least=0.0, most=1.0, spread="share")
        found = detectable(bar, bootstrapped_rate(0.0, np.zeros(1000), "share", 40), 0.05)
        assert found is not None
        assert found.refutes is not None
        assert found.refutes.start > 0.25

    def test_no_lean_in_forty_topics_would_be_found_again(self) -> None:
        """Where nobody takes a side every sample has the same interval; it is not the spread of samples."""
        bar = Bar("x", "within", 0.1, least=-1.0, most=1.0, spread="difference")
        none = replace(bootstrapped(0.0, np.zeros(1000), "", 40), low=-0.088, high=0.088)
        found = detectable(bar, none, 0.05)
        assert found is not None
        assert found.supports is not None
        assert found.supports.start == 0.0
        scattered = bootstrapped(0.0, 0.045 * np.random.default_rng(0).normal(size=1000), "", 40)
        found = detectable(bar, scattered, 0.05)
        assert found is not None
        assert found.supports is None

    def test_a_bar_that_may_not_refute_names_no_refutation(self) -> None:
        found = detectable(Bar("x", "above", 0.0, may_refute=False), centred(0.1), 0.05)
        assert found is not None
        assert found.supports is not None
        assert found.refutes is None


def test_a_findings_record_holds_it_as_json() -> None:
    record = decided(Rule((Bar("x", "above", 0.2),)), centred(0.3)).record()
    assert json.loads(json.dumps(record)) == record
    found = record["detectable"]
    assert isinstance(found, dict)
    assert set(found) == {"supports", "refutes", "power"}
    assert set(found["supports"]) == {"start", "beyond", "level"}
    assert record["bars"][0]["detectable"] == found  # type: ignore[index]  # record() maps to object
    assert set(record["sample_needed"]) == {"times", "n", "status"}  # type: ignore[call-overload]  # record() maps to object
    settled = decided(Rule((Bar("x", "above", 0.2),)), centred(1.0)).record()
    assert settled["sample_needed"] is None


def test_bounds_of_several_parts_name_no_effect() -> None:
    """That 1 to 4 of 6 latents are silent has no standard error, whatever its width."""
    bar, found = Bar("x", "above", 0.5), Estimate(0.5, 1 / 6, 4 / 6, "share", 40, bounds=True)
    assert detectable(bar, found, 0.05) is None
    assert sample_needed([bar], {"x": found}, 0.05, 40) is None
