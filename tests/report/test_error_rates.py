"""What a finding quotes of the calibration: the counts of its claim, and whether they are of samples like its own."""

from __future__ import annotations

from dataclasses import asdict

from unmask.report.error_rates import error_rates
from unmask.verdict.calibrated import ErrorRates

RATES = ErrorRates(
    n=40,
    true=90,
    false=50,
    supported_if_false=0,
    refuted_if_true=2,
    clear_true=60,
    clear_false=0,
    found_true=59,
    found_false=0,
)


def test_both_ways_of_being_wrong_are_said_with_their_counts() -> None:
    said = error_rates({"error_rates": asdict(RATES), "n": 38}, "quick")
    assert (
        "sample size quick: refuted in 2 of 90 audits in which it was true, and supported in 59 of the 60"
        in said
    )
    assert said.endswith("supported in 0 of 50 audits in which it was false.")


def test_a_smaller_sample_than_the_calibrated_one_is_said() -> None:
    said = error_rates({"error_rates": asdict(RATES), "n": 12}, "quick")
    assert "(there n was 40, here it is 12)" in said


def test_what_was_not_measured_is_said_and_old_runs_say_nothing() -> None:
    assert "has not been measured" in error_rates({"error_rates": None, "n": 40}, "full")
    assert error_rates({"n": 40}, "quick") == ""
    assert error_rates({"error_rates": asdict(RATES), "n": 40}, None) == ""
