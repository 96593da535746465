"""How far the truth lies from the bars of a claim, and whether that is far enough to be seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from unmask.lab.calibration.samples import Audited
from unmask.verdict.power import on_scale
from unmask.verdict.rules import RULES, Bar

CLEAR = 2.0
"""An effect this many times as large as the smallest that an audit says it could have found is clear."""
DECIDING: Mapping[str, tuple[str, ...]] = {
    "not neutral": ("surface.neutral",),
    "already neutral": ("surface.neutral", "surface.neutralised"),
    "masked": ("surface.neutral", "surface.neutralised", "structure.preserved"),
    "structural": ("surface.neutral", "surface.neutralised", "structure.erased", "reactivation.reactivates"),
}
"""The claims that a verdict rests on."""
MECHANISM: Mapping[str, tuple[str, ...]] = {
    "disconnected": ("causality.disconnected",),
    "compressed": ("variance.compressed", "variance.specific"),
    "rescaled": ("variance.compressed", "variance.specific"),
    "rotated": ("structure.same_axis",),
    "reactivates": ("reactivation.reactivates",),
}
"""The claims that a mechanism rests on."""


@dataclass(frozen=True)
class Room:
    """How far the truth of a claim lies beyond a bar, on the side that is so.

    Attributes:
        quantity: which the bar looks at.
        effect: in the bar's unit.
        detectable: how far it would have to lie to be found with power .8; 0 where the audit is without doubt.
        times: the one over the other; of a share on the scale arcsin √.
        clear: whether that is `CLEAR`; at a bar beside the claim's own number, 1.
    """

    quantity: str = ""
    effect: float = float("nan")
    detectable: float = float("nan")
    times: float = float("nan")
    clear: bool = False


def room_of(audited: Audited, claim: str) -> Room:
    """How much room the truth of a claim leaves, at the bar that decides the side that is so.

    All bars have to support, so it is the one with the least room, `clear` only if all are; any one that may refute
    does, so it is the one with the most. Bars whose large-sample value is not known do not count (a p-value has none);
    without any there is no number.
    """
    rule, so = RULES[claim], audited.truth.claims[claim] == "supported"
    rooms: list[Room] = []
    numbers = audited.findings[claim]["bars"]
    measured = {number["quantity"] for number in numbers}
    # A number that was not measured has no bar in the finding.
    bars = [(place, bar) for place, bar in enumerate(rule.bars) if bar.quantity in measured]
    for (place, bar), found in zip(bars, numbers, strict=True):
        least = 1.0 if so and place else CLEAR
        room = _room(bar, found, audited.truth.planted, so, least) if so or bar.may_refute else None
        if room is not None:
            rooms.append(room)
    if not rooms:
        return Room()
    if so:
        return replace(min(rooms, key=lambda room: room.times), clear=all(room.clear for room in rooms))
    return max(rooms, key=lambda room: room.times)


def _room(
    bar: Bar, found: Mapping[str, Any], planted: Mapping[str, float], so: bool, least: float
) -> Room | None:
    value = planted.get(bar.quantity)
    if value is None or found["low"] is None or found["high"] is None:
        return None
    at = bar.at if so or bar.refutes_at is None else bar.refutes_at
    if bar.side == "within":
        value = abs(value)
    sign = (1 if bar.side == "above" else -1) * (1 if so else -1)
    effect, scaled = sign * (value - at), sign * (on_scale(bar, value) - on_scale(bar, at))
    if found["detectable"] is None:  # it has no width
        return Room(bar.quantity, effect, 0.0, inf if effect > 0 else -inf, effect > 0)
    side = found["detectable"]["supports" if so else "refutes"]
    if side is None:  # not even the utmost would be found
        return Room(bar.quantity, effect, float("nan"), 0.0)
    times = scaled / max(abs(on_scale(bar, side["start"]) - on_scale(bar, at)), 1e-12)
    return Room(bar.quantity, effect, side["beyond"], times, times >= least - 1e-9)


def is_clear(audited: Audited) -> bool:
    """Whether every effect that the right verdict and its mechanisms rest on is clear; never where none is right."""
    if audited.truth.verdict not in DECIDING:
        return False
    claims = [*DECIDING[audited.truth.verdict]]
    claims += [claim for mechanism in audited.truth.mechanisms for claim in MECHANISM[mechanism]]
    return all(claim in audited.truth.claims and room_of(audited, claim).clear for claim in claims)
