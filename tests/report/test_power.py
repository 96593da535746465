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
         "A sample this sharp finds a value of 0.28 or more, 0.08 past the bar, in 80 of 100 draws, and as often "
         "rules the claim out at 0.12 or less."),
        ("< 0.2", "E|stance|", 0.12, 0.28,
         "A sample this sharp finds a value of 0.12 or less, 0.08 past the bar, in 80 of 100 draws, and as often "
         "rules the claim out at 0.28 or more."),
        ("> 0", "AUC", 0.08, None,
         "A sample this sharp finds a value of 0.08 or more, 0.08 past the bar, in 80 of 100 draws."),
        ("< -0.223", "log σ ratio", -0.303, -0.143,
         "A sample this sharp finds a value of −0.30 (a ratio of 0.74) or less, 0.08 past the bar, in 80 of 100 "
         "draws, and as often rules the claim out at −0.14 (a ratio of 0.87) or more."),
        ("< 0", "log σ ratio − random axes' 5 %", -0.08, 0.08,
         "A sample this sharp finds a value of −0.08 or less, 0.08 past the bar, in 80 of 100 draws, and as often "
         "rules the claim out at 0.08 or more."),
        ("< 0.2", "", None, 0.43,
         "A sample this sharp shows no possible value to be past the bar in 80 of 100 draws; as often it rules the "
         "claim out at 0.43 or more."),
        ("> 0", "", None, None,
         "A sample this sharp shows no possible value to be past the bar in 80 of 100 draws."),
        ("within ±0.1", "stance", 0.04, 0.17,
         "A sample this sharp shows a value within ±0.04 to lie between the bars in 80 of 100 draws, and as often "
         "finds one of 0.17 or more to either side."),
        ("within ±0.1", "stance", None, 0.37,
         "A sample this sharp shows not even a value of 0 to lie between the bars in 80 of 100 draws; as often it "
         "finds one of 0.37 or more to either side."),
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


def test_an_interval_without_end() -> None:
    bar = {"bar": "< 0.333", "low": None, "high": None, "detectable": {"supports": None, "refutes": None}}
    assert could_find({**bar, "unit": "aligned / base"}) == (
        "Base's own number cannot be told from 0, so no ratio to it can be found."
    )
    assert could_find({**bar, "unit": "stance"}) == ""


def test_the_larger_sample() -> None:
    def words(times: float | None, n: int = 0, topics: int | None = None, **more: str) -> str:
        needed = None if times is None else {"times": times, "n": n, "status": "refuted"}
        known = None if topics is None else {"questions": topics, "facts": 0}
        return larger_sample({"n": 40, "sample_needed": needed, **more}, known)

    sentence = (
        "If the estimate is exactly right, a sample about 3.2 times as large (130 topics in place of 40) has a "
        "chance of 80 % to make it refuted."
    )
    assert words(3.24, 130) == words(3.24, 130, topics=130) == sentence
    assert words(3.24, 130, topics=80) == f"{sentence} The domain has 80 topics."
    assert "The domain has 0 topics." in words(3.24, 130, topics=200, id="reactivation.sycophancy")
    in_structure = words(3.24, 130, topics=80, measurement="structure")
    assert "(130 in the set that has fewest in place of 40)" in in_structure
    assert "The domain has" not in in_structure
    assert "about 31 times as large (1,240 topics in place of 40)" in words(31, 1240)
    assert "more than 100 times as many" in words(5000, 200_000)
    assert words(None) == ""
    assert larger_sample({"n": 40}) == ""
