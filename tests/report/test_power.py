"""What a sample could have found, as sentences."""

from __future__ import annotations

import pytest

from unmask.report.power import could_find, larger_sample


def effect(start: float | None, beyond: float = 0.08) -> dict[str, float] | None:
    return None if start is None else {"start": start, "beyond": beyond, "level": 0.05}


@pytest.mark.parametrize(
    ("bar", "unit", "supports", "refutes", "sentence"),
    [
        ("> 0.2", "stance", 0.28, 0.12,
         "This sample could have found a value of 0.28 or more, 0.08 past the bar, and ruled the claim out at 0.12 or "
         "less."),
        ("< 0.2", "E|stance|", 0.12, 0.28,
         "This sample could have found a value of 0.12 or less, 0.08 past the bar, and ruled the claim out at 0.28 or "
         "more."),
        ("> 0", "AUC", 0.08, None, "This sample could have found a value of 0.08 or more, 0.08 past the bar."),
        ("< -0.223", "log σ ratio", -0.303, -0.143,
         "This sample could have found a value of −0.30 (a ratio of 0.74) or less, 0.08 past the bar, and ruled the "
         "claim out at −0.14 (a ratio of 0.87) or more."),
        ("< 0.2", "", None, 0.43,
         "This sample could not have shown it, however large the effect; it could have ruled the claim out at 0.43 or "
         "more."),
        ("> 0", "", None, None, "This sample could not have shown it, however large the effect."),
        ("within ±0.1", "stance", 0.04, 0.17,
         "This sample could have shown a value within ±0.04 to lie between the bars; it could have found one of 0.17 "
         "or more to either side."),
        ("within ±0.1", "stance", None, 0.37,
         "This sample could not have shown even a value of 0 to lie between the bars; it could have found one of 0.37 "
         "or more to either side."),
    ],
)  # fmt: skip
def test_the_sentence_of_a_bar(
    bar: str, unit: str, supports: float | None, refutes: float | None, sentence: str
) -> None:
    found = {"supports": effect(supports), "refutes": effect(refutes), "power": 0.8}
    assert could_find({"bar": bar, "unit": unit, "detectable": found}) == sentence


def test_a_number_without_width_says_nothing() -> None:
    assert could_find({"bar": "> 0", "unit": "", "detectable": None}) == ""
    assert could_find({"bar": "> 0", "unit": ""}) == ""


def test_the_larger_sample() -> None:
    def words(times: float | None, n: int = 0) -> str:
        needed = None if times is None else {"times": times, "n": n, "status": "refuted"}
        return larger_sample({"n": 40, "sample_needed": needed})

    assert words(3.24, 130) == (
        "If the estimate stands, a sample about 3.2 times as large (130 in place of 40) would settle it: refuted."
    )
    assert "about 31 times as large (1,240 in place of 40)" in words(31, 1240)
    assert "more than 100 times as many" in words(5000, 200_000)
    assert words(None) == ""
    assert larger_sample({"n": 40}) == ""
