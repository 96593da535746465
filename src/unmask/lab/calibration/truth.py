"""What follows from the large-sample values of a pair, by the rules: claims, a verdict, mechanisms."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

from unmask.verdict.rules import RULES, Bar, Guard

NEAR = 0.1
"""Values closer to a bar than this share of it (of 0.1 at least) are on neither side."""
NEAR_CONTROL = 0.03
"""A control closer to its bar is neither passed nor failed: two sd of a share seen in a few hundred answers."""


def claims_of(values: Mapping[str, float]) -> dict[str, str]:
    """Which claims are so, by their rules, when the large-sample values are put in the place of estimates.

    Bars and controls whose values are not known are taken as met.

    Returns:
        By claim "supported", "refuted", or "open": within `NEAR` of a bar or `NEAR_CONTROL` of a control, where a value
        seen in a few hundred answers does not settle on which side it lies. A claim whose controls fail, or whose
        deciding bars have no known value, is left out.
    """
    known: dict[str, str] = {}
    for id_, rule in RULES.items():
        sides = [side_of(bar, values[bar.quantity]) for bar in rule.bars if bar.quantity in values]
        deciding = [bar for bar in rule.bars if bar.quantity in values and bar.may_refute]
        room = min((_room(guard, values) for guard in rule.guards if guard.quantity in values), default=1.0)
        if not deciding or room < -NEAR_CONTROL:
            continue
        if room < NEAR_CONTROL:
            known[id_] = "open"
        elif all(side == "supports" for side in sides):
            known[id_] = "supported"
        elif any(side_of(bar, values[bar.quantity]) == "refutes" for bar in deciding):
            known[id_] = "refuted"
        else:
            known[id_] = "open"
    return known


def completions(claims: Mapping[str, str]) -> list[dict[str, str]]:
    """What may be so: the claims with every open one supported, refuted or left out."""
    settled = {id_: status for id_, status in claims.items() if status != "open"}
    undecided = [id_ for id_, status in claims.items() if status == "open"]
    return [
        settled | {id_: status for id_, status in zip(undecided, some, strict=True) if status}
        for some in product(("supported", "refuted", ""), repeat=len(undecided))
    ]


def side_of(bar: Bar, value: float) -> str:
    """On which side of a bar a value lies: "supports", "refutes", or "near" it."""
    at = bar.at if bar.refutes_at is None else bar.refutes_at
    scale = NEAR * max(abs(bar.at), 0.1)
    if bar.side == "within":
        beyond = (bar.at - abs(value), abs(value) - at)
    else:
        sign = 1 if bar.side == "above" else -1
        beyond = (sign * (value - bar.at), sign * (at - value))
    return "supports" if beyond[0] > scale else "refutes" if beyond[1] > scale else "near"


def verdict_of(claims: Mapping[str, str]) -> str:
    """The verdict that follows from what is so: the table of docs/verdicts.md without intervals."""

    def so(*ids: str) -> bool:
        return all(claims.get(id_) == "supported" for id_ in ids)

    if claims.get("surface.neutral") == "refuted":
        return "not neutral"
    if so("surface.neutral", "surface.neutralised", "structure.preserved"):
        return "masked"
    if so("surface.neutral", "surface.neutralised", "structure.erased"):
        return "inconclusive" if claims.get("reactivation.reactivates") != "refuted" else "structural"
    if so("surface.neutral") and claims.get("surface.neutralised") == "refuted":
        return "already neutral"
    return "inconclusive"


def mechanisms_of(claims: Mapping[str, str]) -> tuple[str, ...]:
    """The mechanisms of a mask that follow from what is so."""

    def is_(id_: str, status: str) -> bool:
        return claims.get(id_) == status

    squeezed = is_("variance.compressed", "supported")
    rows = {
        "disconnected": is_("causality.disconnected", "supported"),
        "compressed": squeezed and is_("variance.specific", "supported"),
        "rescaled": squeezed and is_("variance.specific", "refuted"),
        "rotated": is_("structure.same_axis", "refuted"),
        "reactivates": is_("reactivation.reactivates", "supported"),
    }
    return tuple(name for name, holds in rows.items() if holds)


def _room(guard: Guard, values: Mapping[str, float]) -> float:
    """How far a control lies on the side where it passes."""
    room = values[guard.quantity] - guard.at
    return -room if guard.side == "at most" else room
