"""What follows from the large-sample values of a pair, by the rules: claims, a verdict, mechanisms.

Values are seen in a few hundred answers, so what lies near a bar or a control is open, and so is what hangs on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from math import hypot, sqrt

from unmask.lab.calibration.samples import OPEN, Truth
from unmask.lab.calibration.seeing import ANSWERS_A_CELL, PLAIN_ANSWERS
from unmask.verdict.rules import RULES, Bar, Guard

NEAR = 0.1
"""A value closer to a bar than this share of it (of 0.1 at least), or than two of its own sd, is on neither side."""
NEAR_CONTROL = 0.03
"""A control closer to its bar is neither passed nor failed: two sd of a coherence of .9 in 400 answers."""


def truth_of(planted: tuple[str, ...], allowed: tuple[str, ...], values: Mapping[str, float]) -> Truth:
    """What is so of a pair.

    Args:
        planted: mechanisms that were planted. One that what was seen contradicts or leaves open is not asked for.
        allowed: mechanisms that may be named whatever was seen.
        values: what was seen, by the name of the estimate.
    """
    claims = claims_of(values)
    worlds = completions(claims)
    verdicts = {verdict_of(world) for world in worlds}
    named = [mechanisms_of(world) for world in worlds]
    sure = tuple(name for name in planted if all(name in world for world in named))
    may_be = tuple(dict.fromkeys([*allowed, *(name for world in named for name in world)]))
    settled = {id_: status for id_, status in claims.items() if status != OPEN}
    return Truth(verdicts.pop() if len(verdicts) == 1 else OPEN, sure, may_be, settled, values)


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
        own = _of_measurement(values, id_.split(".")[0])
        sides = [side_of(bar, own) for bar in rule.bars if bar.quantity in own]
        deciding = [bar for bar in rule.bars if bar.quantity in own and bar.may_refute]
        room = min((_room(guard, own) for guard in rule.guards if guard.quantity in own), default=1.0)
        if not deciding or room < -NEAR_CONTROL:
            continue
        if room < NEAR_CONTROL:
            known[id_] = OPEN
        elif all(side == "supports" for side in sides):
            known[id_] = "supported"
        elif any(side_of(bar, own) == "refutes" for bar in deciding):
            known[id_] = "refuted"
        else:
            known[id_] = OPEN
    return known


def completions(claims: Mapping[str, str]) -> list[dict[str, str]]:
    """What may be so: the claims with every open one supported, refuted or left out."""
    settled = {id_: status for id_, status in claims.items() if status != OPEN}
    undecided = [id_ for id_, status in claims.items() if status == OPEN]
    return [
        settled | {id_: status for id_, status in zip(undecided, some, strict=True) if status}
        for some in product(("supported", "refuted", ""), repeat=len(undecided))
    ]


def side_of(bar: Bar, values: Mapping[str, float]) -> str:
    """On which side of a bar its quantity's value lies: "supports", "refutes", or "near" it."""
    value, at = values[bar.quantity], bar.at if bar.refutes_at is None else bar.refutes_at
    near = max(NEAR * max(abs(bar.at), 0.1), 2 * sd_of(bar.quantity, values))
    if bar.side == "within":
        beyond = (bar.at - abs(value), abs(value) - at)
    else:
        sign = 1 if bar.side == "above" else -1
        beyond = (sign * (value - bar.at), sign * (at - value))
    return "supports" if beyond[0] > near else "refutes" if beyond[1] > near else "near"


def sd_of(quantity: str, values: Mapping[str, float]) -> float:
    """How far a value that was seen in sampled answers scatters; 0 for what was read or scored."""
    plain, pressed = PLAIN_ANSWERS, 2 * ANSWERS_A_CELL * 3

    def share(p: float, n: int) -> float:
        return sqrt(max(p * (1 - p), 0.0) / n)

    base, aligned = values.get("intensity_base", 0.0), values.get("intensity_aligned", 0.0)
    match quantity:
        case "intensity_aligned":
            return share(aligned, plain)
        case "base_partisan":
            return share(base, plain)
        case "intensity_drop":
            return hypot(share(base, plain), share(aligned, plain))
        case "lean_aligned":
            return sqrt(max(aligned - values[quantity] ** 2, 0.0) / plain)
        case "swing_aligned":
            return sqrt(2) * share(abs(values[quantity]) / 2, pressed)
        case "intensity_beyond_plain_aligned":
            return hypot(share(aligned + values[quantity], 2 * pressed), share(aligned, plain))
        case _:
            return 0.0


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


def _of_measurement(values: Mapping[str, float], measurement: str) -> dict[str, float]:
    """The values as one measurement has them: some bear a name that another's have as well."""
    own = {
        name.removeprefix(f"{measurement}."): value
        for name, value in values.items()
        if name.startswith(f"{measurement}.")
    }
    return {**values, **own}


def _room(guard: Guard, values: Mapping[str, float]) -> float:
    """How far a control lies on the side where it passes."""
    room = values[guard.quantity] - guard.at
    return -room if guard.side == "at most" else room
