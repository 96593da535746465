"""Surface on planted answers: rates come back through a judge that errs, and broken answers block the claim."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from measurements.planted import SMALL, Shares, World, context, findings, measure, rng_of
from unmask.measurements.answers import Rates, count_kinds
from unmask.measurements.surface import Surface
from unmask.stats import bootstrap_weights, confusion_matrix

# Right three times in four or so; mistakes go where judges' mistakes go.
NOISY = np.array(
    [
        [0.78, 0.06, 0.06, 0.06, 0.01, 0.03],
        [0.04, 0.80, 0.08, 0.04, 0.01, 0.03],
        [0.05, 0.05, 0.72, 0.15, 0.01, 0.02],
        [0.04, 0.04, 0.14, 0.75, 0.02, 0.01],
        [0.01, 0.01, 0.02, 0.04, 0.91, 0.01],
        [0.02, 0.02, 0.02, 0.02, 0.01, 0.91],
    ]
)
PARTISAN = {"a": 0.4, "b": 0.2, "neutral": 0.2, "hedged": 0.15, "refusal": 0.02, "off_topic": 0.03}
QUIET = {"a": 0.03, "b": 0.03, "neutral": 0.5, "hedged": 0.4, "refusal": 0.02, "off_topic": 0.02}


def planted(base: Shares, aligned: Shares) -> dict[str, Shares]:
    return {"base": base, "aligned": aligned}


def world(base: Shares, aligned: Shares, **more: object) -> World:
    shares = planted(base, aligned)
    return World(shares=lambda side, _: shares[side], **more)  # type: ignore[arg-type]


def intensity(shares: Shares) -> float:
    a, b = shares["a"], shares["b"]
    return (a + b) / (a + b + shares["neutral"] + shares["hedged"])


def test_a_mask_is_seen_through_a_noisy_judge() -> None:
    truth = world(PARTISAN, QUIET, judge=NOISY, choice={"base": 0.5, "aligned": 0.5})
    reading = measure(Surface(), context(profile=replace(SMALL, questions=80, samples=5)), truth)
    found = findings(Surface(), reading)
    assert {id_: f.status for id_, f in found.items()} == dict.fromkeys(found, "supported")
    estimates = reading.estimates
    assert estimates["judge_kappa"].value == pytest.approx(0.78, abs=0.05)
    for side, shares in planted(PARTISAN, QUIET).items():
        for name, value in {
            "intensity": intensity(shares),
            "lean": (shares["b"] - shares["a"]) / (1 - shares["refusal"] - shares["off_topic"]),
            "coherent": 1 - shares["off_topic"],
            "refusals": shares["refusal"],
        }.items():
            estimate = estimates[f"{name}_{side}"]
            # Neighbouring kinds leak into one another; what is left after correction is sampling noise.
            assert estimate.value == pytest.approx(value, abs=0.09), (name, side)
            assert estimate.low - 0.03 <= value <= estimate.high + 0.03, (name, side)
    # Forced choice: stance .5 for pole b on every question, whatever the labels and the order.
    assert estimates["valid_mass_aligned"].value == pytest.approx(0.9)
    assert estimates["order_bias_aligned"].value == pytest.approx(0, abs=1e-6)
    gap = estimates["forced_gap_aligned"].value + estimates["intensity_aligned"].value
    assert gap == pytest.approx(0.5, abs=1e-6)


def test_intervals_hold_the_planted_intensity_at_their_level() -> None:
    """Topics differ in how partisan they are, and the judge errs; the mean over topics is what is planted."""
    inside = 0
    topics = [f"topic {k}" for k in range(40)]
    card = [k for k in range(6) for _ in range(160)]
    for seed in range(30):
        rng = rng_of("coverage", seed)
        partisan = rng.beta(2, 3, size=40)
        kinds = np.stack(
            [rng.choice(6, size=3, p=[p / 2, p / 2, 0.6 * (1 - p), 0.4 * (1 - p), 0, 0]) for p in partisan]
        )
        judged = np.array([[rng.choice(6, p=NOISY[kind]) for kind in row] for row in kinds])
        said = np.array([rng.choice(6, p=NOISY[kind]) for kind in card])
        confusion = confusion_matrix(card, said, 6, bootstrap_weights(range(960), 300, rng))
        rates = Rates.of(count_kinds(judged), bootstrap_weights(topics, 300, rng), confusion)
        low, high = np.quantile(rates.intensity[1:], [0.025, 0.975])
        inside += low <= 0.4 <= high
    assert inside >= 25


def test_a_model_that_never_takes_sides_is_neutral_and_was_so_before() -> None:
    reading = measure(Surface(), context(), world({"neutral": 1.0}, {"neutral": 0.5, "hedged": 0.5}))
    found = findings(Surface(), reading)
    assert found["surface.neutral"].status == "supported"
    assert found["surface.neutralised"].status == "refuted"
    assert reading.estimates["intensity_aligned"].value == pytest.approx(0, abs=1e-12)


def test_no_side_in_forty_topics_is_not_no_doubt() -> None:
    """0 of 40 does not exclude 5 %, and a lean is no surer than the sides that might be taken."""
    reading = measure(Surface(), context(), world(PARTISAN, {"neutral": 1.0}))
    intensity, lean = (reading.estimates[f"{name}_aligned"] for name in ("intensity", "lean"))
    assert 0.05 < intensity.high < 0.1
    assert (lean.low, lean.high) == (-intensity.high, intensity.high)


def test_the_same_answers_on_both_sides_are_no_effect_of_training() -> None:
    found = findings(Surface(), measure(Surface(), context(), world(PARTISAN, PARTISAN)))
    assert found["surface.neutral"].status == "refuted"
    assert found["surface.neutralised"].status == "refuted"


@pytest.mark.parametrize(
    ("aligned", "control"),
    [
        ({"refusal": 0.6, "neutral": 0.4}, "refusals_aligned"),
        ({"refusal": 1.0}, "refusals_aligned"),
        ({"off_topic": 0.5, "neutral": 0.5}, "coherent_aligned"),
        ({"off_topic": 1.0}, "coherent_aligned"),
    ],
)
def test_silence_and_nonsense_are_not_neutrality(aligned: Shares, control: str) -> None:
    found = findings(Surface(), measure(Surface(), context(), world(PARTISAN, aligned)))
    for finding in found.values():
        assert finding.status == "inconclusive"
        assert control in [failed.name for failed in finding.failed_controls]


def test_a_judge_that_guesses_decides_nothing() -> None:
    guessing = 0.3 * np.eye(6) + 0.7 / 6
    found = findings(Surface(), measure(Surface(), context(), world(PARTISAN, QUIET, judge=guessing)))
    assert {finding.status for finding in found.values()} == {"inconclusive"}
    assert all("judge_kappa" in [c.name for c in finding.failed_controls] for finding in found.values())


def test_a_choice_by_place_exposes_nothing() -> None:
    truth = world(PARTISAN, QUIET, choice={"base": 0.0, "aligned": 0.0}, first_place=0.8)
    reading = measure(Surface(), context(), truth)
    assert reading.estimates["order_bias_aligned"].value == pytest.approx(0.8, abs=1e-6)
    finding = findings(Surface(), reading)["surface.forced_exposes"]
    assert finding.status == "inconclusive"
    assert [control.name for control in finding.failed_controls] == ["order_bias_aligned", "order_bias_base"]


class Stubborn(World):
    """Says "A" whatever stands there, and "2" where numbers are asked for: twice by place, and on balance by none."""

    def _choice(self, side: str, words: str, label: str) -> float:
        return float(np.log(0.9 if label in ("A", "2") else 0.05))


def test_a_place_that_is_first_here_and_second_there_is_a_bias_all_the_same() -> None:
    reading = measure(Surface(), context(), Stubborn())
    for side in ("base", "aligned"):
        assert reading.estimates[f"order_bias_{side}"].value == pytest.approx(0.85 / 0.95)
        assert reading.estimates[f"valid_mass_{side}"].value == pytest.approx(0.95)


def test_a_choice_outside_the_form_exposes_nothing() -> None:
    truth = world(PARTISAN, QUIET, choice={"base": 0.2, "aligned": 0.9}, valid=0.1)
    finding = findings(Surface(), measure(Surface(), context(), truth))["surface.forced_exposes"]
    assert [control.name for control in finding.failed_controls] == ["valid_mass_aligned", "valid_mass_base"]


def test_a_model_against_itself_draws_its_own_noise() -> None:
    truth = world(PARTISAN, PARTISAN)
    reading = measure(Surface(), context(), truth)
    answers = reading.tables["answers"]
    texts = {side: set(rows["text"]) for side, rows in answers.groupby("side")}
    assert not texts["base"] & texts["aligned"]
    assert (
        0.02 < reading.estimates["intensity_drop"].value - reading.estimates["drop_beyond_noise"].value < 0.25
    )
