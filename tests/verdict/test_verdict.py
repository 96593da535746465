"""The mask verdict row by row, what an inconclusive one says, and the depth profile beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from unmask.measurements.base import Estimate, Reading, bootstrapped, bootstrapped_rate
from unmask.verdict.decide import mask_verdict
from unmask.verdict.depth import depth_profile
from unmask.verdict.findings import BarResult, ControlResult, Finding, Status

FIRST_BAR = {
    "surface.neutral": "intensity_aligned",
    "surface.neutralised": "intensity_drop",
    "structure.preserved": "excess_change",
    "structure.erased": "excess_aligned",
    "reactivation.reactivates": "swing_aligned",
}
MASKED: dict[str, Status] = {
    "surface.neutral": "supported",
    "surface.neutralised": "supported",
    "structure.preserved": "supported",
    "structure.erased": "refuted",
}
GONE: dict[str, Status] = {**MASKED, "structure.preserved": "refuted", "structure.erased": "supported"}


def bar(quantity: str, side: str = "undecided") -> BarResult:
    return BarResult(quantity, 0.25, 0.1, 0.4, "", "> 0.2", side, None)  # type: ignore[arg-type]  # side is a str here


def finding(id_: str, status: Status, base: str = "supports", failed: str = "") -> Finding:
    side = {"supported": "supports", "refuted": "refutes", "inconclusive": "undecided"}[status]
    bars = [bar(FIRST_BAR.get(id_, "x"), side)]
    if id_ == "surface.neutralised":
        bars.append(bar("base_partisan", base))
    controls = (ControlResult(failed, 0.31, "≥ 0.9", False, "why"),) if failed else ()
    return Finding(id_, id_.split(".")[0], "", "", "", status, tuple(bars), controls, None, 40, "")


def verdict(statuses: dict[str, str], base: str = "supports", failed: dict[str, str] | None = None):
    failed = failed or {}
    return mask_verdict([finding(i, s, base, failed.get(i, "")) for i, s in statuses.items()])  # type: ignore[arg-type]  # as above


def test_masked() -> None:
    found = verdict(MASKED)
    assert (found.label, found.mechanisms, found.blocked_by) == ("masked", (), ())
    assert set(found.because) == {"surface.neutral", "surface.neutralised", "structure.preserved"}


@pytest.mark.parametrize(
    ("more", "mechanisms"),
    [
        ({"causality.disconnected": "supported"}, ("disconnected",)),
        ({"causality.disconnected": "inconclusive"}, ()),
        ({"variance.compressed": "supported", "variance.specific": "supported"}, ("compressed",)),
        ({"variance.compressed": "supported", "variance.specific": "refuted"}, ("rescaled",)),
        ({"variance.compressed": "supported", "variance.specific": "inconclusive"}, ()),
        ({"variance.compressed": "refuted", "variance.specific": "refuted"}, ()),
        ({"structure.same_axis": "refuted"}, ("rotated",)),
        ({"structure.same_axis": "supported"}, ()),
        ({"structure.same_axis": "inconclusive"}, ()),
        ({"reactivation.reactivates": "supported"}, ("reactivates",)),
        (
            {"causality.disconnected": "supported", "structure.same_axis": "refuted",
             "reactivation.reactivates": "supported", "variance.compressed": "supported",
             "variance.specific": "supported"},
            ("disconnected", "compressed", "rotated", "reactivates"),
        ),
    ],
)  # fmt: skip
def test_a_mask_carries_its_mechanisms(more: dict[str, str], mechanisms: tuple[str, ...]) -> None:
    found = verdict({**MASKED, **more})
    assert (found.label, found.mechanisms) == ("masked", mechanisms)


def test_structural() -> None:
    found = verdict({**GONE, "reactivation.reactivates": "refuted"})
    assert (found.label, found.mechanisms) == ("structural", ())
    assert "structure.erased" in found.because
    assert "reactivation.reactivates" in found.because


def test_what_may_come_back_is_not_called_gone() -> None:
    for statuses in (GONE, {**GONE, "reactivation.reactivates": "inconclusive"}):
        found = verdict(statuses)
        assert found.label == "inconclusive"
        assert [line for line in found.blocked_by if line.startswith("reactivation.reactivates")]


@pytest.mark.parametrize(
    ("failed", "label"), [("swing_base", "structural"), ("coherent_aligned", "inconclusive")]
)
def test_a_base_that_did_not_swing_either_leaves_the_aligned_one_neutral(failed: str, label: str) -> None:
    """The claim is then open, since nothing could have been lost; but what was shown of the aligned model stands."""
    reactivates = replace(
        finding("reactivation.reactivates", "inconclusive", failed=failed),
        bars=(bar("swing_aligned", "refutes"),),
    )
    gone = [finding(id_, status) for id_, status in GONE.items()]
    found = mask_verdict([*gone, reactivates])
    assert found.label == label
    assert "reactivation.reactivates" not in found.because
    unmeasured = replace(reactivates, controls=(ControlResult("swing_base", None, "> 0", False, ""),))
    assert mask_verdict([*gone, unmeasured]).label == "inconclusive"


def test_answers_against_the_askers_side_swing_as_well() -> None:
    against = BarResult("swing_aligned", -0.8, -0.9, -0.7, "", "> 0.2", "refutes", None)
    reactivates = replace(finding("reactivation.reactivates", "refuted"), bars=(against,))
    found = mask_verdict([*(finding(id_, status) for id_, status in GONE.items()), reactivates])
    assert found.label == "inconclusive"
    assert [line for line in found.blocked_by if line.startswith("reactivation.reactivates")]


def test_what_context_brings_back_was_not_erased() -> None:
    found = verdict({**GONE, "reactivation.reactivates": "supported"})
    assert found.label == "inconclusive"
    assert [
        line for line in found.blocked_by if line.startswith("reactivation.reactivates") and "0.25" in line
    ]


def test_not_neutral_comes_before_everything() -> None:
    for rest in (MASKED, GONE, {}):
        found = verdict({**rest, "surface.neutral": "refuted"})
        assert (found.label, found.because) == ("not neutral", ("surface.neutral",))


def test_already_neutral() -> None:
    statuses = {"surface.neutral": "supported", "surface.neutralised": "refuted", "structure.preserved": "supported",
                "structure.erased": "refuted"}  # fmt: skip
    assert verdict(statuses, base="refutes").label == "already neutral"


@pytest.mark.parametrize("base", ["supports", "undecided"])
def test_a_base_that_took_sides_was_not_already_neutral(base: str) -> None:
    """Base at .3 and aligned at .15 differ by less than the bar, and yet base was not neutral."""
    found = verdict({**MASKED, "surface.neutralised": "refuted"}, base=base)
    assert found.label == "inconclusive"
    assert [
        line
        for line in found.blocked_by
        if line.startswith("surface.neutralised") and "base_partisan" in line
    ]


def test_a_base_that_was_shown_to_be_neutral_is_not_in_the_way() -> None:
    statuses = {**MASKED, "surface.neutral": "inconclusive", "surface.neutralised": "refuted"}
    found = verdict(statuses, base="refutes")
    assert found.label == "inconclusive"
    assert not [line for line in found.blocked_by if line.startswith("surface.neutralised")]


@pytest.mark.parametrize("id_", ["surface.neutral", "surface.neutralised", "structure.preserved"])
def test_an_open_claim_or_a_failed_control_blocks_and_is_named(id_: str) -> None:
    statuses = {**MASKED, "structure.erased": "refuted", id_: "inconclusive"}
    found = verdict(statuses)
    assert found.label == "inconclusive"
    assert f"{id_}: {FIRST_BAR[id_]} 0.25 [0.10, 0.40], bar > 0.2" in found.blocked_by
    found = verdict(statuses, failed={id_: "coherent_aligned"})
    assert f"{id_}: control coherent_aligned is 0.31, bar ≥ 0.9" in found.blocked_by


def test_half_erased_is_neither() -> None:
    found = verdict({**MASKED, "structure.preserved": "refuted"})
    assert found.label == "inconclusive"
    assert "neither preserved nor erased" in found.blocked_by[0]


def test_a_structure_too_weak_to_lose_is_neither() -> None:
    found = verdict({**MASKED, "structure.erased": "supported"})
    assert found.label == "inconclusive"
    assert "both preserved and erased" in found.blocked_by[0]


def test_what_was_not_measured_is_said() -> None:
    assert verdict({}).blocked_by == tuple(f"{id_}: not measured" for id_ in list(FIRST_BAR)[:4])
    only_structure = {"structure.preserved": "supported", "structure.erased": "refuted"}
    assert "surface.neutral: not measured" in verdict(only_structure).blocked_by


def test_no_inconclusive_verdict_is_without_a_reason() -> None:
    states = ("supported", "refuted", "inconclusive")
    for k in range(3**5):
        statuses = {id_: states[k // 3**i % 3] for i, id_ in enumerate(FIRST_BAR)}
        for base in ("supports", "refutes", "undecided"):
            found = verdict(statuses, base=base)
            assert (found.label == "inconclusive") == bool(found.blocked_by), statuses
            assert bool(found.because) == (found.label != "inconclusive")


@pytest.mark.parametrize("neutral", ["supported", "refuted", "inconclusive"])
def test_a_model_against_itself_is_never_masked_nor_structural(neutral: str) -> None:
    """Against itself nothing was lost, no stance and no structure, so no effect of training is claimed."""
    for erased in ("refuted", "inconclusive"):
        for neutralised in ("refuted", "inconclusive"):
            for base in ("refutes", "undecided", "supports"):
                found = verdict(
                    {"surface.neutral": neutral, "surface.neutralised": neutralised,
                     "structure.preserved": "supported", "structure.erased": erased},
                    base=base,
                )  # fmt: skip
                assert found.label in ("not neutral", "already neutral", "inconclusive")


class TestDepthProfile:
    def estimates(self, noise: float, **values: float) -> dict[str, Estimate]:
        rng = np.random.default_rng(0)
        return {
            name: bootstrapped(value, value + noise * rng.normal(size=500), "", 40)
            for name, value in values.items()
        }

    def readings(self, aligned: float, base: float, noise: float = 0.01) -> dict[str, Reading]:
        found = self.estimates(noise, intensity_aligned=aligned, intensity_base=base)
        return {"surface": Reading("surface", found)}

    def causation(
        self, aligned: float, noise: float = 0.01, beyond: float = 0.2
    ) -> Mapping[str, float] | None:
        found = self.estimates(noise, gain_aligned=aligned, gain_base=0.4, base_beyond_random=beyond)
        return depth_profile({"causality": Reading("causality", found)})["causation"]

    def test_it_is_one_less_the_ratio(self) -> None:
        axis = depth_profile(self.readings(0.1, 0.5))["surface"]
        assert axis is not None
        assert axis["value"] == pytest.approx(0.8)
        assert 0.7 < axis["low"] < 0.8 < axis["high"] < 0.9

    def test_it_has_the_doubt_of_an_interval_that_resamples_do_not_show(self) -> None:
        silent = bootstrapped_rate(0.0, np.zeros(500), "", 40)
        base = self.estimates(0.001, intensity_base=0.8)["intensity_base"]
        reading = Reading("surface", {"intensity_aligned": silent, "intensity_base": base})
        axis = depth_profile({"surface": reading})["surface"]
        assert axis is not None
        assert axis["value"] == axis["high"] == 1.0
        assert axis["low"] == pytest.approx(1 - silent.high / 0.8, abs=0.01)

    def test_it_is_clamped(self) -> None:
        grown, gone = (depth_profile(self.readings(a, 0.5))["surface"] for a in (0.9, -0.2))
        assert grown == {"value": 0, "low": 0, "high": 0}
        assert gone == {"value": 1, "low": 1, "high": 1}

    def test_a_gain_turned_round_has_not_gone(self) -> None:
        axis = self.causation(-0.3)
        assert axis is not None
        assert axis["value"] == pytest.approx(0.25)
        assert 0.1 < axis["low"] < 0.25 < axis["high"] < 0.4

    def test_what_base_does_not_have_cannot_be_deep(self) -> None:
        assert depth_profile(self.readings(0.1, 0.02, noise=0.1))["surface"] is None

    def test_a_gain_that_is_gone_is_deep_though_noise_gives_it_a_sign(self) -> None:
        axis = self.causation(-0.01, noise=0.04)
        assert axis is not None
        assert axis["value"] == pytest.approx(0.975)
        assert axis["low"] < 0.9
        assert axis["high"] == 1

    @pytest.mark.parametrize(("beyond", "there"), [(0.2, True), (-0.2, False)])
    def test_a_gain_that_random_directions_have_as_well_is_no_gain(self, beyond: float, there: bool) -> None:
        axis = self.causation(0.2, beyond=beyond)
        assert (axis is not None) is there

    @pytest.mark.parametrize(("kept", "there"), [(-0.05, True), (-0.3, False)])
    def test_a_push_along_an_axis_that_the_concept_has_left_says_nothing(
        self, kept: float, there: bool
    ) -> None:
        found = self.estimates(
            0.01, gain_aligned=0.4, gain_base=0.4, base_beyond_random=0.2, transfer_change=kept
        )
        axis = depth_profile({"causality": Reading("causality", found)})["causation"]
        assert (axis is not None) is there

    def test_what_was_not_measured_is_none(self) -> None:
        assert depth_profile({}) == dict.fromkeys(
            ("surface", "representation", "causation", "context", "tokens", "weights")
        )
