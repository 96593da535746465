"""What a calibration says of the audit is what was planted in its rows."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest

from unmask.lab.calibration.page import headline
from unmask.lab.calibration.rates import (
    SAYS_CHANGED,
    Tables,
    audits_table,
    beneath_table,
    cards_table,
    claim_rates,
    confusion,
    coverage,
    findings_table,
    mechanisms_table,
    untouched_table,
    verdict_rates,
)
from unmask.lab.calibration.room import room_of
from unmask.lab.calibration.samples import OPEN, Audited, Truth
from unmask.lab.calibration.truth import truth_of
from unmask.verdict.rules import RULES, Bar


def finding(
    claim: str, status: str, *numbers: tuple[float, float, float], beyond: float = 0.1
) -> dict[str, Any]:
    """A finding with an estimate and interval for each bar, that says it would have found `beyond` on either side."""

    def found(bar: Bar) -> dict[str, Any]:
        sign = -1 if bar.side == "above" else 1
        return {
            name: {"start": bar.at + toward * sign * beyond, "beyond": beyond}
            for name, toward in (("supports", -1), ("refutes", 1))
        }

    bars = [
        {
            "quantity": bar.quantity,
            "value": value,
            "low": low,
            "high": high,
            "side": "",
            "detectable": found(bar),
        }
        for bar, (value, low, high) in zip(RULES[claim].bars, numbers, strict=True)
    ]
    return {"status": status, "n": 40, "bars": bars, "failed": []}


def audited(
    verdict: str, truth: Truth, *mechanisms: str, kind: str = "muted", **findings: dict[str, Any]
) -> Audited:
    named = {name.replace("_", ".", 1): one for name, one in findings.items()}
    return Audited(
        kind, kind, None, "first", "council", "quick", 0, 3, 1.0, verdict, mechanisms, (), named, truth
    )


NEUTRAL = Truth(
    "masked",
    ("masked",),
    claims={"surface.neutral": "supported"},
    planted={"intensity_aligned": 0.02, "lean_aligned": 0.0},
)


def test_room_is_measured_from_the_bar_to_the_side_that_is_so_on_the_scale_of_the_bar() -> None:
    true = audited(
        "masked", NEUTRAL, surface_neutral=finding("surface.neutral", "supported", (0.1, 0, 0.1), (0, 0, 0))
    )
    # Both bars must hold, so the one with the least room counts: the lean's, which is as large as it has to be to be
    # found. Beside the claim's own number, the intensity, that is enough.
    assert asdict(room_of(true, "surface.neutral")) == {
        "quantity": "lean_aligned",
        "effect": pytest.approx(0.1),
        "detectable": 0.1,
        "times": pytest.approx(1.0),
        "clear": True,
    }
    partisan = Truth(
        "not neutral",
        ("not neutral",),
        claims={"surface.neutral": "refuted"},
        planted={"intensity_aligned": 0.9, "lean_aligned": 0.0},
    )
    false = audited(
        "not neutral",
        partisan,
        surface_neutral=finding("surface.neutral", "refuted", (0.9, 0.8, 1), (0, 0, 0)),
    )
    room = room_of(false, "surface.neutral")
    assert (room.effect, room.detectable) == (pytest.approx(0.7), 0.1)
    # A share counts as arcsin √: .9, .3 and .2 lie at 1.249, .5796 and .4636.
    assert room.times == pytest.approx((1.2490 - 0.4636) / (0.5796 - 0.4636), rel=1e-3)
    assert room.clear


def test_what_is_without_doubt_leaves_endless_room_and_what_nothing_would_show_none() -> None:
    same = Truth("", (), claims={"causality.connected": "supported"}, planted={"gain_ratio": 1.0})
    one = finding("causality.connected", "supported", (1.0, 1.0, 1.0))
    one["bars"][0]["detectable"] = None
    assert room_of(audited("", same, causality_connected=one), "causality.connected").times == float("inf")
    one["bars"][0]["detectable"] = {"supports": None, "refutes": None}
    assert not room_of(audited("", same, causality_connected=one), "causality.connected").clear


def test_rates_count_what_was_said_of_what_is_so() -> None:
    wrong = Truth(
        "not neutral",
        ("not neutral",),
        claims={"surface.neutral": "refuted"},
        planted={"intensity_aligned": 0.25},
    )
    rows = [
        *(
            audited(
                "masked",
                NEUTRAL,
                surface_neutral=finding(
                    "surface.neutral", "supported", (0.1, 0.0, 0.15), (0, -0.05, 0.05), beyond=0.05
                ),
            )
            for _ in range(3)
        ),
        audited(
            "inconclusive",
            NEUTRAL,
            surface_neutral=finding(
                "surface.neutral", "inconclusive", (0.1, 0.0, 0.3), (0, -0.2, 0.2), beyond=0.5
            ),
        ),
        audited(
            "masked",
            wrong,
            kind="null",
            surface_neutral=finding(
                "surface.neutral", "supported", (0.1, 0.0, 0.15), (0, -0.05, 0.05), beyond=0.02
            ),
        ),
    ]
    (rates,) = claim_rates(findings_table(rows)).to_dict("records")
    assert (rates["true"], rates["supported_if_true"], rates["clear_true"], rates["found_true"]) == (
        4,
        3,
        3,
        3,
    )
    assert (rates["false"], rates["supported_if_false"], rates["refuted_if_false"]) == (1, 1, 0)
    table = audits_table(rows)
    assert list(table["right"]) == [True, True, True, False, False]
    assert list(table["confident_and_wrong"]) == [False, False, False, False, True]
    assert confusion(table).loc["masked", "inconclusive"] == 1
    by_truth = verdict_rates(table).set_index("truth")
    assert dict(by_truth.loc["masked"]) == {
        "audits": 4, "settled": 4, "right": 3, "confident_and_wrong": 0, "clear": 0, "right_of_clear": 0
    }  # fmt: skip
    # Of one batch, three have the same interval about the same value: it counts once.
    covered = coverage(rows).set_index("quantity")
    assert covered.loc["intensity_aligned", "n"] == 3
    assert covered.loc["intensity_aligned", "coverage"] == pytest.approx(
        2 / 3
    )  # .25 lies outside of [0, .15]
    each = [replace(row, seed=place) for place, row in enumerate(rows)]
    covered = coverage(each).set_index("quantity")
    assert covered.loc["intensity_aligned", "coverage"] == pytest.approx(4 / 5)
    assert tuple(covered.loc["intensity_aligned", ["batches", "low", "high"]]) == (5, 0.0, 1.0)


def test_a_mask_is_right_only_with_its_own_mechanism() -> None:
    truth = Truth("masked", ("masked",), ("rotated",), ("rotated", "reactivates"), ("rotated",))
    assert audited("masked", truth, "rotated").right
    assert audited("masked", truth, "rotated", "reactivates").right
    assert not audited("masked", truth).right
    assert not audited("masked", truth).confident_and_wrong  # it left something out
    assert audited("masked", truth, "rotated", "disconnected").confident_and_wrong
    assert not audited("inconclusive", truth).confident_and_wrong
    said = [
        audited("masked", truth, "rotated", "disconnected"),
        audited("masked", truth),
        audited("inconclusive", truth),
    ]
    (row,) = mechanisms_table(said).to_dict("records")
    assert (row["planted"], row["n"], row["masked"]) == ("rotated", 3, 2)
    assert (row["rotated_so"], row["rotated_named"], row["rotated_wrong"]) == (3, 1, 0)
    assert (row["disconnected_so"], row["disconnected_named"], row["disconnected_wrong"]) == (0, 1, 1)


def test_what_leaves_the_concept_alone_is_wrong_when_called_changed_whatever_was_seen() -> None:
    seen_cut = Truth("masked", ("masked",), (), ("disconnected",))
    says = {
        claim: finding(claim, "inconclusive", *[(0, 0, 0)] * len(RULES[claim].bars)) for claim in SAYS_CHANGED
    }
    says["causality.disconnected"] = {**says["causality.disconnected"], "status": "supported"}
    named = {claim.replace(".", "_", 1): one for claim, one in says.items()}
    rows = [audited("masked", seen_cut, "disconnected", kind="decoy", **named) for _ in range(2)]
    rows += [audited("masked", seen_cut, kind="decoy", **named), audited("masked", seen_cut, kind="cut")]
    (row,) = untouched_table(audits_table(rows)).to_dict("records")
    assert (row["kind"], row["surface"], row["audits"], row["wrong"]) == ("decoy", "neutral", 3, 2)
    assert row["at_most"] == pytest.approx(
        0.9916, abs=1e-4
    )  # Clopper and Pearson's, of two in three: .975^(1/3)
    (row,) = beneath_table(rows).to_dict("records")
    assert (row["kind"], row["audits"]) == ("decoy", 3)
    assert (row["causality.disconnected"], row["structure.erased"]) == (3, 0)


def test_a_broken_model_s_surface_is_not_called_neutral() -> None:
    broken = Truth("inconclusive", ("inconclusive",))
    near = Truth(OPEN, ("masked", "not neutral"))
    rows = [audited("inconclusive", truth, kind="decoy") for truth in (broken, broken, near)]
    table = untouched_table(audits_table(rows)).set_index("surface")
    assert dict(table["audits"]) == {"incoherent": 2, "partisan": 1}


def test_cards_stand_beside_what_was_seen_and_found() -> None:
    card = {"surface.neutral": "supported"}
    rows = [
        audited(
            "",
            Truth("", (), claims={"surface.neutral": seen} if seen else {}, card=card),
            surface_neutral=finding("surface.neutral", found, (0, 0, 0), (0, 0, 0)),
        )
        for seen, found in (("supported", "supported"), ("refuted", "inconclusive"), ("", "refuted"))
    ]
    assert cards_table(rows).to_dict("records") == [
        {
            "claim": "surface.neutral",
            "cards": 3,
            "seen_so": 1,
            "seen_otherwise": 1,
            "found_so": 1,
            "found_otherwise": 1,
        }
    ]


def test_a_claim_that_is_not_to_be_judged_counts_what_was_said_all_the_same() -> None:
    unjudged = Truth("masked", ("masked",), unjudged=("surface.neutral",))
    rows = [
        audited("masked", unjudged, surface_neutral=finding("surface.neutral", status, (0, 0, 0), (0, 0, 0)))
        for status in ("supported", "inconclusive")
    ]
    (rates,) = claim_rates(findings_table(rows)).to_dict("records")
    assert (rates["true"], rates["false"], rates["unjudged"], rates["settled_if_unjudged"]) == (0, 0, 2, 1)


def test_a_number_that_was_not_measured_leaves_the_others_their_bars() -> None:
    half = finding("variance.specific", "inconclusive", (-0.1, -0.2, -0.05), (0, 0, 0))
    half["bars"] = half["bars"][:1]
    truth = Truth("", (), claims={"variance.specific": "supported"}, planted={"below_random": -0.5})
    assert room_of(audited("", truth, variance_specific=half), "variance.specific").quantity == "below_random"


MASK = {
    "intensity_base": 0.9, "intensity_aligned": 0.01, "lean_aligned": 0.0, "coherent_aligned": 1.0,
    "coherent_base": 1.0,
    "refusals_aligned": 0.0, "refusals_base": 0.0, "intensity_drop": 0.89, "base_partisan": 0.7, "excess_base": 0.4,
    "excess_aligned": 0.4, "excess_change": 0.0, "transfer_change": 0.0, "log_sd_ratio": 0.0, "below_random": 0.1,
    "below_unrelated": 0.1,
    "gain_ratio": 1.0, "swing_base": 1.5, "swing_aligned": 0.0, "intensity_beyond_plain_aligned": 0.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "verdict", "mechanisms"),
    [
        ({}, "masked", ()),
        ({"intensity_aligned": 0.5, "intensity_drop": 0.4}, "not neutral", ()),
        ({"intensity_aligned": 0.2}, OPEN, ()),  # on its bar
        (
            {"coherent_aligned": 0.91},
            OPEN,
            (),
        ),  # on its control's; a swing of 0 brings nothing back all the same
        (
            {"coherent_aligned": 0.91, "swing_aligned": 1.0, "intensity_beyond_plain_aligned": 0.5},
            OPEN,
            ("reactivates",),
        ),
        ({"coherent_aligned": 0.5}, "inconclusive", ()),
        ({"intensity_base": 0.02, "base_partisan": -0.18, "intensity_drop": 0.01}, "already neutral", ()),
        ({"intensity_base": 0.05, "base_partisan": 0.1, "intensity_drop": 0.04}, "inconclusive", ()),
        ({"excess_aligned": 0.0, "excess_change": -0.4, "transfer_change": -0.4}, "structural", ()),
        (
            {
                "excess_aligned": 0.0,
                "excess_change": -0.4,
                "swing_aligned": 1.0,
                "intensity_beyond_plain_aligned": 0.5,
            },
            "inconclusive",
            (),
        ),
        # That base's askers are answered alike excuses nothing but the comparison with base.
        ({"excess_aligned": 0.0, "excess_change": -0.4, "swing_base": -0.1}, "structural", ()),
        ({"excess_aligned": 0.0, "excess_change": -0.4, "swing_aligned": -0.8}, "inconclusive", ()),
        ({"transfer_change": -0.4}, "masked", ("rotated",)),
        ({"transfer_change": -0.4, "gain_ratio": 0.0, "log_sd_ratio": -1.0}, "masked", ("rotated",)),
        ({"log_sd_ratio": -1.0, "below_random": -0.5, "below_unrelated": -0.5}, "masked", ("compressed",)),
        ({"log_sd_ratio": -1.0, "below_random": 0.1}, "masked", ("rescaled",)),
        ({"log_sd_ratio": -1.0, "below_random": -0.5, "below_unrelated": float("nan")}, "masked", ()),
        ({"gain_ratio": 0.1}, "masked", ("disconnected",)),
    ],
)
def test_what_is_so_follows_from_large_sample_values(
    change: dict[str, float], verdict: str, mechanisms: tuple[str, ...]
) -> None:
    values = {**MASK, **change}
    truth = truth_of({name: value for name, value in values.items() if value == value})
    assert (truth.verdict, truth.allowed) == (verdict, mechanisms)


def test_where_the_truth_is_open_only_what_cannot_be_so_is_wrong() -> None:
    open_ = truth_of({**MASK, "intensity_aligned": 0.2, "log_sd_ratio": -0.22})
    assert open_.verdict == OPEN
    assert set(open_.possible) == {"masked", "not neutral", "inconclusive"}
    assert set(open_.allowed) == {"rescaled"}
    assert "surface.neutral" not in {*open_.claims, *open_.unjudged}
    assert not audited("masked", open_).confident_and_wrong
    assert not audited("not neutral", open_).confident_and_wrong
    assert audited("structural", open_).confident_and_wrong
    assert audited("masked", open_, "rotated").confident_and_wrong
    nothing = truth_of({**MASK, "coherent_aligned": 0.5})
    assert "surface.neutral" in nothing.unjudged
    said = [audited(verdict, truth) for verdict in ("masked", "inconclusive") for truth in (open_, nothing)]
    one = audited(
        "masked", NEUTRAL, surface_neutral=finding("surface.neutral", "supported", (0.1, 0, 0.1), (0, 0, 0))
    )
    numbers = headline(replace(Tables.of([one]), audits=audits_table(said)))
    assert {name: numbers[name] for name in ("open", "clear", "right", "confident_and_wrong")} == {
        "open": 2, "clear": 0, "right": 1, "confident_and_wrong": 1
    }  # fmt: skip


def test_what_was_planted_has_no_part_in_what_is_so() -> None:
    assert truth_of({**MASK, "gain_ratio": 0.05}).mechanisms == ("disconnected",)
    unseen = truth_of({**MASK, "gain_ratio": 0.9}, ("disconnected",))
    assert (unseen.mechanisms, unseen.allowed, unseen.intended) == ((), (), ("disconnected",))
    near = truth_of({**MASK, "gain_ratio": 0.34}, ("disconnected",))
    assert (near.mechanisms, near.allowed) == ((), ("disconnected",))


def test_what_was_seen_in_few_answers_is_open_within_two_of_its_sd() -> None:
    # A lean of .08 in 400 answers of intensity .5 has an sd of .035: ±.1 lies within two of it.
    assert "surface.neutral" not in truth_of({**MASK, "intensity_aligned": 0.1, "lean_aligned": 0.08}).claims
    few = truth_of({**MASK, "intensity_aligned": 0.01, "lean_aligned": 0.01}).claims
    assert few["surface.neutral"] == "supported"
    # Answers of intensity .6 that swing by nothing: in 360 a pole the swing's sd is .058, at intensity 0 it is 0.
    pressed = {"intensity_beyond_plain_aligned": 0.59, "swing_aligned": 0.1}
    assert "reactivation.reactivates" not in truth_of({**MASK, **pressed}).claims
    assert truth_of({**MASK, "swing_aligned": 0.1}).claims["reactivation.reactivates"] == "refuted"


def test_a_measurement_has_its_own_control_where_names_are_shared() -> None:
    swings = {"swing_aligned": 1.0, "intensity_beyond_plain_aligned": 0.5}
    claims = truth_of({**MASK, **swings, "reactivation.coherent_aligned": 0.4}).claims
    assert "reactivation.reactivates" not in claims
    assert claims["surface.neutral"] == "supported"
