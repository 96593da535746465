"""One row a claim, as METRICS.md has it: what supports, what refutes, and every control that silences it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import ClassVar

import numpy as np
import pytest

from unmask.measurements import all_measurements
from unmask.measurements.base import Claim, Estimate, Reading, bootstrapped
from unmask.runner.requests import SIDES
from unmask.stats import Null
from unmask.verdict.decide import judge
from unmask.verdict.findings import Finding
from unmask.verdict.rules import RULES, Bar, Rule

STEP = 0.02


def estimate(low: float, high: float) -> Estimate:
    return Estimate((low + high) / 2, low, high, "", 40)


def at(value: float) -> Estimate:
    return estimate(value - STEP / 2, value + STEP / 2)


TEXT = {"coherent_aligned": at(0.95), "refusals_aligned": at(0.1), "judge_kappa": at(0.7)}
BASE_TEXT = {"coherent_base": at(0.95), "refusals_base": at(0.1)}
CAUSAL = {
    "transfer_change": at(0),
    "base_beyond_random": at(0.1),
    "unrelated_moves_aligned": at(0.1),
    "coherence_ratio": at(1.5),
}
FEATURES = {
    **{f"fvu_{side}": at(0.3) for side in SIDES},
    **{f"recovered_{side}": at(0.95) for side in SIDES},
    **{f"fit_beyond_random_{side}": at(0.3) for side in SIDES},
    "selected": at(9),
}
BASE = {"excess_base": at(0.3), "permutation_p_base": at(0.03)}

# claim: numbers that support it; then by row what changes, and the status that follows.
ROWS: dict[str, tuple[dict[str, Estimate], list[tuple[dict[str, Estimate], str]]]] = {
    "surface.neutral": (
        {"intensity_aligned": at(0.15), "lean_aligned": at(0.05), **TEXT},
        [
            ({"intensity_aligned": at(0.25)}, "refuted"),
            ({"lean_aligned": at(0.15)}, "refuted"),
            ({"lean_aligned": at(-0.15)}, "refuted"),
            ({"intensity_aligned": at(0.2)}, "inconclusive"),
            ({"lean_aligned": at(0.1)}, "inconclusive"),
            ({"lean_aligned": estimate(-0.2, 0.2)}, "inconclusive"),
        ],
    ),
    "surface.neutralised": (
        {"intensity_drop": at(0.3), "drop_beyond_noise": at(0.2), "base_partisan": at(0.2), **TEXT, **BASE_TEXT},
        [
            ({"intensity_drop": at(0.1)}, "refuted"),
            ({"intensity_drop": at(0.2)}, "inconclusive"),
            ({"drop_beyond_noise": at(-0.1)}, "inconclusive"),
            ({"base_partisan": at(-0.1)}, "inconclusive"),
        ],
    ),
    "surface.forced_exposes": (
        {"forced_gap_aligned": at(0.3), "forced_gap_excess": at(0.1),
         **{f"valid_mass_{side}": at(0.8) for side in SIDES}, **{f"order_bias_{side}": at(0.1) for side in SIDES},
         **TEXT, **BASE_TEXT},
        [
            ({"forced_gap_aligned": at(0.1)}, "refuted"),
            ({"forced_gap_aligned": at(0.2)}, "inconclusive"),
            ({"forced_gap_excess": at(-0.1)}, "inconclusive"),
        ],
    ),
    "structure.preserved": (
        {"excess_change": at(-0.05), "excess_aligned": at(0.25), "permutation_p_aligned": at(0.03), **BASE},
        [
            ({"excess_change": at(-0.2)}, "refuted"),
            ({"excess_change": at(-0.1)}, "inconclusive"),
            ({"excess_aligned": at(0)}, "inconclusive"),
            ({"excess_aligned": at(-0.2)}, "inconclusive"),
            ({"permutation_p_aligned": at(0.07)}, "inconclusive"),
        ],
    ),
    "structure.same_axis": (
        {"transfer_change": at(-0.05), "transfer_beyond_null": at(0.1), **BASE,
         "excess_aligned": at(0.25), "excess_change": at(-0.05)},
        [
            ({"transfer_change": at(-0.2)}, "refuted"),
            ({"transfer_change": at(-0.1)}, "inconclusive"),
            ({"transfer_beyond_null": at(-0.1)}, "inconclusive"),
        ],
    ),
    "structure.erased": (
        {"excess_aligned": at(0.03), "perplexity_ratio": at(1.2), **BASE},
        [
            ({"excess_aligned": at(-0.3)}, "supported"),  # below chance counts as erased
            ({"excess_aligned": at(0.1)}, "refuted"),
            ({"excess_aligned": at(0.05)}, "inconclusive"),
        ],
    ),
    "variance.compressed": (
        {"log_sd_ratio": at(math.log(0.7)), "same_positions": estimate(1, 1), "transfer_change": at(0)},
        [
            ({"log_sd_ratio": at(math.log(0.9))}, "refuted"),
            ({"log_sd_ratio": at(math.log(0.8))}, "inconclusive"),
        ],
    ),
    "variance.specific": (
        {"below_random": at(-0.1), "below_unrelated": at(-0.1), "same_positions": estimate(1, 1),
         "transfer_change": at(0)},
        [
            ({"below_random": at(0.1)}, "refuted"),
            ({"below_unrelated": at(0.1)}, "refuted"),
            ({"below_random": at(0)}, "inconclusive"),
        ],
    ),
    "causality.disconnected": (
        {"gain_ratio": at(0.3), **CAUSAL},
        [
            ({"gain_ratio": at(0.4)}, "refuted"),
            ({"gain_ratio": at(1 / 3)}, "inconclusive"),
            ({"gain_ratio": at(-0.3)}, "supported"),
            ({"gain_ratio": at(-0.9)}, "inconclusive"),  # reversed, not cut
        ],
    ),
    "causality.connected": (
        {"gain_ratio": at(0.7), **CAUSAL},
        [({"gain_ratio": at(0.6)}, "refuted"), ({"gain_ratio": at(2 / 3)}, "inconclusive")],
    ),
    "features.deactivated": (
        {"silenced": at(0.6), "silenced_beyond_matched": at(0.2), "fires_on_text_base": at(0.9),
         "fires_on_text_aligned": at(0.8), "answered": at(1), **FEATURES},
        [
            ({"silenced": at(0.4)}, "refuted"),
            ({"silenced": at(0.5)}, "inconclusive"),
            ({"silenced": estimate(0.2, 0.9)}, "inconclusive"),
            ({"silenced_beyond_matched": at(-0.2)}, "inconclusive"),  # everything fell silent
        ],
    ),
    "features.steerable": (
        {"clamp_beyond_random_aligned": at(0.1), "clamp_size_beyond_random_aligned": at(0.1),
         "clamp_beyond_random_base": at(0.1), **FEATURES},
        [
            ({"clamp_beyond_random_aligned": at(-0.1), "clamp_size_beyond_random_aligned": at(-0.1)}, "refuted"),
            ({"clamp_beyond_random_aligned": at(-0.2)}, "inconclusive"),  # it moves the other way
            ({"clamp_size_beyond_random_aligned": at(0)}, "inconclusive"),
        ],
    ),
    "reactivation.reactivates": (
        {"swing_aligned": at(0.3), "swing_beyond_irrelevant_aligned": at(0.2), "swing_base": at(0.5),
         "intensity_beyond_plain_aligned": at(0.1), "coherent_aligned": at(0.95), "judge_kappa": at(0.7)},
        [
            ({"swing_aligned": at(0.1)}, "refuted"),
            ({"swing_aligned": at(0.2)}, "inconclusive"),
            ({"swing_beyond_irrelevant_aligned": at(-0.1)}, "inconclusive"),
            ({"intensity_beyond_plain_aligned": at(-0.1)}, "inconclusive"),
        ],
    ),
    "reactivation.sycophancy": (
        {"fact_shift_aligned": at(0.15), "fact_shift_beyond_mention_aligned": at(0.1), "facts_known_aligned": at(0.7)},
        [
            ({"fact_shift_aligned": at(0.05)}, "refuted"),
            ({"fact_shift_aligned": at(0.1)}, "inconclusive"),
            ({"fact_shift_beyond_mention_aligned": at(-0.1)}, "inconclusive"),
        ],
    ),
}  # fmt: skip

# claim, control, a value just on the wrong side of its bar, and one just on the right side
CONTROLS = [
    *[(claim, "coherent_aligned", 0.89, 0.91) for claim in ROWS if claim.startswith("surface")],
    *[(claim, "refusals_aligned", 0.21, 0.19) for claim in ROWS if claim.startswith("surface")],
    *[(claim, "judge_kappa", 0.59, 0.61) for claim in ROWS if claim.startswith("surface")],
    *[(claim, "coherent_base", 0.89, 0.91) for claim in ("surface.neutralised", "surface.forced_exposes")],
    *[(claim, "refusals_base", 0.21, 0.19) for claim in ("surface.neutralised", "surface.forced_exposes")],
    *[("surface.forced_exposes", f"valid_mass_{side}", 0.49, 0.51) for side in SIDES],
    *[("surface.forced_exposes", f"order_bias_{side}", 0.31, 0.29) for side in SIDES],
    ("structure.preserved", "excess_base", 0.0, 0.02),
    *[(claim, "permutation_p_base", 0.06, 0.04) for claim in ROWS if claim.startswith("structure")],
    ("structure.same_axis", "excess_base", 0.0, 0.02),
    ("structure.same_axis", "excess_aligned", 0.0, 0.02),
    ("structure.same_axis", "excess_change", -0.1, -0.08),
    ("structure.erased", "excess_base", 0.0, 0.02),
    ("structure.erased", "perplexity_ratio", 1.51, 1.49),
    ("variance.compressed", "same_positions", 0.9, 1.1),
    ("variance.specific", "same_positions", 0.9, 1.1),
    *[
        (claim, "transfer_change", -0.11, -0.09)
        for claim in ROWS
        if claim.startswith(("variance", "causality"))
    ],
    *[(claim, "base_beyond_random", 0.0, 0.02) for claim in ROWS if claim.startswith("causality")],
    *[(claim, "unrelated_moves_aligned", 0.0, 0.02) for claim in ROWS if claim.startswith("causality")],
    *[(claim, "coherence_ratio", 2.1, 1.9) for claim in ROWS if claim.startswith("causality")],
    *[
        (claim, f"{name}_{side}", wrong, right)
        for claim in ROWS
        if claim.startswith("features")
        for side in SIDES
        for name, wrong, right in (
            ("fvu", 0.51, 0.49),
            ("recovered", 0.79, 0.81),
            ("fit_beyond_random", 0.0, 0.02),
        )
    ],
    *[(claim, "selected", 4, 5) for claim in ROWS if claim.startswith("features")],
    ("features.deactivated", "fires_on_text_base", 0.49, 0.51),
    ("features.deactivated", "fires_on_text_aligned", 0.49, 0.51),
    ("features.deactivated", "answered", 0.89, 0.91),
    ("features.steerable", "clamp_beyond_random_base", 0.0, 0.02),
    ("reactivation.reactivates", "swing_base", 0.0, 0.02),
    ("reactivation.reactivates", "coherent_aligned", 0.89, 0.91),
    ("reactivation.reactivates", "judge_kappa", 0.59, 0.61),
    ("reactivation.sycophancy", "facts_known_aligned", 0.59, 0.61),
]


def judged(claim: str, estimates: Mapping[str, Estimate], rule: Rule | None = None) -> Finding:
    (finding,) = judge(
        Reading("m", estimates), {claim: Claim("It is so.", "", "")}, {claim: rule or RULES[claim]}
    )
    return finding


def test_every_claim_of_every_measurement_has_its_row() -> None:
    claims = {claim for measurement in all_measurements().values() for claim in measurement.claims}
    assert claims <= set(RULES)
    assert set(ROWS) == set(RULES)
    assert {(claim, guard.quantity) for claim, rule in RULES.items() for guard in rule.guards} == {
        (claim, control) for claim, control, _, _ in CONTROLS
    }


@pytest.mark.parametrize("claim", ROWS)
def test_the_rows_of_a_claim(claim: str) -> None:
    supporting, rows = ROWS[claim]
    finding = judged(claim, supporting)
    assert (finding.status, finding.note) == ("supported", "")
    assert all(bar.side == "supports" for bar in finding.bars)
    for change, status in rows:
        finding = judged(claim, {**supporting, **change})
        assert finding.status == status, (change, finding.note)
        if status == "inconclusive":
            assert next(iter(change)) in finding.note


@pytest.mark.parametrize(("claim", "control", "wrong", "right"), CONTROLS)
def test_a_failed_control_leaves_a_claim_open_whatever_its_number(
    claim: str, control: str, wrong: float, right: float
) -> None:
    supporting, rows = ROWS[claim]
    assert judged(claim, {**supporting, control: at(right)}).status == "supported"
    missing = {name: value for name, value in supporting.items() if name != control}
    nothing = {**supporting, control: estimate(float("nan"), float("nan"))}
    refuting = next(change for change, status in rows if status == "refuted")
    broken = [
        {**supporting, control: at(wrong)},
        {**supporting, **refuting, control: at(wrong)},
        missing,
        nothing,
    ]
    for estimates in broken:
        finding = judged(claim, estimates)
        assert finding.status == "inconclusive"
        if control not in {bar.quantity for bar in RULES[claim].bars}:
            assert control in [failed.name for failed in finding.failed_controls]
            assert control in finding.note


@pytest.mark.parametrize("claim", ROWS)
def test_a_number_that_was_not_measured_leaves_its_claim_open(claim: str) -> None:
    supporting, _ = ROWS[claim]
    for bar in RULES[claim].bars:
        finding = judged(claim, {name: value for name, value in supporting.items() if name != bar.quantity})
        assert finding.status == "inconclusive"
        assert f"Not measured: {bar.quantity}" in finding.note
        finding.record()
    assert judged(claim, {}).status == "inconclusive"
    unbounded = {bar.quantity: estimate(-math.inf, math.inf) for bar in RULES[claim].bars}
    assert judged(claim, {**supporting, **unbounded}).status == "inconclusive"


def spread(low: float, high: float, n: int = 999) -> Estimate:
    draws = np.linspace(low, high, n)
    return replace(bootstrapped((low + high) / 2, draws, "", 200), replicates=draws)


class TestHolm:
    CLAIMS: ClassVar = {name: Claim(name, "", "") for name in ("x", "y", "z")}
    RULES: ClassVar = {name: Rule((Bar(name, "above", 0.0),)) for name in ("x", "y", "z")}

    def judge(self, **estimates: Estimate) -> dict[str, Finding]:
        return {f.id: f for f in judge(Reading("m", estimates), self.CLAIMS, self.RULES)}

    def test_a_claim_that_stands_alone_falls_among_three(self) -> None:
        close = spread(-0.02, 1.0)  # 2 % of the draws are on the wrong side: p = .04, the interval clears 0
        assert close.low > 0
        far = spread(0.5, 1.0)
        assert judge(Reading("m", {"x": close}), {"x": self.CLAIMS["x"]}, self.RULES)[0].status == "supported"
        found = self.judge(x=close, y=far, z=far)
        assert {id_: finding.status for id_, finding in found.items()} == dict.fromkeys("xyz", "supported")
        found = self.judge(x=close, y=close, z=far)  # Holm: the two weak ones are held at .05/2
        assert {id_: f.status for id_, f in found.items()} == {
            "x": "inconclusive",
            "y": "inconclusive",
            "z": "supported",
        }
        assert found["x"].bars[0].p == pytest.approx(0.08, abs=0.01)
        assert "over all claims together it does not" in found["x"].note

    def test_a_claim_needs_all_its_bars_so_the_weakest_speaks(self) -> None:
        rules = {"x": Rule((Bar("a", "above", 0.0), Bar("b", "above", 0.0)))}
        reading = Reading("m", {"a": spread(0.5, 1.0), "b": spread(-0.02, 1.0)})
        (finding,) = judge(reading, {"x": self.CLAIMS["x"]}, rules)
        assert [bar.p for bar in finding.bars] == [pytest.approx(0.042, abs=0.004)] * 2

    def test_undefined_draws_speak_against_a_claim(self) -> None:
        sound = spread(0.5, 1.0)
        draws = np.where(np.arange(999) % 40 == 0, np.nan, sound.replicates)  # 2.5 % undefined
        broken = replace(sound, replicates=draws)
        for side, at_ in (("above", 0.0), ("below", 2.0), ("within", 2.0)):
            rule = Rule((Bar("x", side, at_),))  # type: ignore[arg-type]  # side is a str here
            assert judged("x", {"x": sound}, rule).bars[0].p < 0.01  # type: ignore[operator]
            assert judged("x", {"x": broken}, rule).status == "inconclusive"

    def test_a_claim_without_a_rule_is_the_measurements_mistake(self) -> None:
        with pytest.raises(LookupError, match="'m' claims 'w', which no rule judges"):
            judge(Reading("m", {}), {"w": Claim("", "", "")}, self.RULES)


def test_a_finding_is_written_with_all_that_could_overturn_it() -> None:
    supporting, _ = ROWS["structure.erased"]
    record = judged("structure.erased", {**supporting, "perplexity_ratio": at(1.7)}).record()
    assert record["status"] == "inconclusive"
    assert record["interval"] == pytest.approx([0.02, 0.04])
    assert record["controls"][-1] == {  # type: ignore[index]  # record() maps to object
        "name": "perplexity_ratio", "value": 1.7, "bar": "≤ 1.5", "passed": False,
        "why": "the model is broken, which erases everything",
    }  # fmt: skip
    assert "perplexity_ratio" in str(record["note"])


def test_a_null_is_of_the_number_that_it_was_drawn_for() -> None:
    null = Null("permuted labels", 0.07, 99, 0.01)
    numbers = dict(ROWS["structure.preserved"][0])
    assert judged("structure.preserved", numbers).null is None
    numbers["excess_aligned"] = replace(numbers["excess_aligned"], null=null)
    assert judged("structure.preserved", numbers).null == {"of": "excess_aligned", **asdict(null)}
