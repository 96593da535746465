"""What audits of known samples say about the audit: how often each claim and each verdict is right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import pandas as pd

from unmask.lab.calibration.samples import Audited
from unmask.stats import rate_interval
from unmask.verdict.power import on_scale
from unmask.verdict.rules import RULES, Bar

CLEAR = 2.0
"""An effect this many times as large as the smallest that an audit says it could have found is clear."""
RESOLUTION = 1e-3
"""How finely planted values are known."""
ROUNDING = 1e-6
"""A planted value this close to an interval lies in it."""
OF_BASE = ("base_partisan",)
"""Quantities with a bar that are base's alone."""
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
UNTOUCHED = ("null", "decoy", "elsewhere")
"""Kinds whose edit leaves the concept alone; under a neutral surface, where one was put on them."""


def findings_table(audits: Iterable[Audited]) -> pd.DataFrame:
    """One row a finding whose claim is known to be true or false.

    Returns:
        Columns sample, kind, strength, upbringing, domain, profile, seed, claim, truth ("supported" or "refuted"),
        status, estimate, low, high, planted (the large-sample value of the headline number, NaN where unknown),
        bar, effect, detectable, times, clear (those of `Room`, which may be of another bar than the estimate).
    """
    rows: list[dict[str, Any]] = []
    for audited in audits:
        for claim, truth in audited.truth.claims.items():
            finding = audited.findings[claim]
            bar = finding["bars"][0]
            room = room_of(audited, claim)
            rows.append(
                {
                    **_about(audited),
                    "claim": claim,
                    "truth": truth,
                    "status": finding["status"],
                    "failed": ", ".join(finding["failed"]),
                    "estimate": bar["value"],
                    "low": bar["low"],
                    "high": bar["high"],
                    "planted": audited.truth.planted.get(bar["quantity"], float("nan")),
                    "bar": room.quantity,
                    "effect": room.effect,
                    "detectable": room.detectable,
                    "times": room.times,
                    "clear": room.clear,
                }
            )
    return pd.DataFrame(rows)


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
    for place, (bar, found) in enumerate(zip(rule.bars, audited.findings[claim]["bars"], strict=True)):
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


def audits_table(audits: Iterable[Audited]) -> pd.DataFrame:
    """One row an audit: what is so, what was found, whether that is right, and whether the effect was clear."""
    return pd.DataFrame(
        [
            {
                **_about(audited),
                "truth": audited.truth.verdict,
                "true_mechanisms": ", ".join(audited.truth.mechanisms),
                "verdict": audited.verdict,
                "mechanisms": ", ".join(audited.mechanisms),
                "right": audited.right,
                "confident_and_wrong": audited.confident_and_wrong,
                "clear": is_clear(audited),
                "blocked_by": audited.blocked_by[0] if audited.blocked_by else "",
                "seconds": audited.seconds,
            }
            for audited in audits
        ]
    )


def is_clear(audited: Audited) -> bool:
    """Whether every effect that the right verdict and its mechanisms rest on is clear; never where none is right."""
    if audited.truth.verdict not in DECIDING:
        return False
    claims = [*DECIDING[audited.truth.verdict]]
    claims += [claim for mechanism in audited.truth.mechanisms for claim in MECHANISM[mechanism]]
    return all(claim in audited.truth.claims and room_of(audited, claim).clear for claim in claims)


def claim_rates(findings: pd.DataFrame) -> pd.DataFrame:
    """How often each claim is right and wrong: one row a claim and profile.

    Returns:
        Columns profile, claim; `true`, `false`: audits in which the claim is so and is not; `supported_if_true`,
        `refuted_if_true`, `supported_if_false`, `refuted_if_false`: counts; `clear_true`, `found_true`, `clear_false`,
        `found_false`: audits whose effect was clear, and those of them with the right status.
    """
    rows: list[dict[str, Any]] = []
    for profile, claim in dict.fromkeys(zip(findings["profile"], findings["claim"], strict=True)):
        group = findings[(findings["profile"] == profile) & (findings["claim"] == claim)]
        row: dict[str, Any] = {"profile": profile, "claim": claim}
        for name, truth in (("true", "supported"), ("false", "refuted")):
            mine = group[group["truth"] == truth]
            row[name] = len(mine)
            for status in ("supported", "refuted"):
                row[f"{status}_if_{name}"] = list(mine["status"]).count(status)
            clear = mine[mine["clear"]]
            row[f"clear_{name}"] = len(clear)
            row[f"found_{name}"] = list(clear["status"]).count(truth)
        rows.append(row)
    return pd.DataFrame(rows)


def confusion(audits: pd.DataFrame) -> pd.DataFrame:
    """Verdicts found (columns) by what is so (rows), counts."""
    return pd.crosstab(audits["truth"], audits["verdict"])


def mechanisms_table(audits: Sequence[Audited]) -> pd.DataFrame:
    """For each kind of mask that was found to be one: how often each mechanism is named."""
    rows: list[dict[str, Any]] = []
    found = [audited for audited in audits if audited.verdict == "masked" == audited.truth.verdict]
    for kind in dict.fromkeys(audited.sample for audited in found):
        mine = [audited for audited in found if audited.sample == kind]
        row: dict[str, Any] = {
            "sample": kind,
            "planted": ", ".join(mine[0].truth.mechanisms) or "none",
            "n": len(mine),
        }
        row |= {name: sum(name in audited.mechanisms for audited in mine) for name in MECHANISM}
        rows.append(row)
    return pd.DataFrame(rows)


def coverage(audits: Sequence[Audited]) -> pd.DataFrame:
    """How often each quantity's interval holds its planted value, with the exact interval of that share.

    A number of base alone, which is the same in every audit of a batch, counts once. Intervals narrower than
    `RESOLUTION`, in which rounding decides, do not count: those of what an organism leaves as it was.
    """
    held: dict[str, dict[tuple[object, ...], bool]] = {}
    for audited in audits:
        batch = (audited.upbringing, audited.domain, audited.profile, audited.seed)
        for finding in audited.findings.values():
            for bar in finding["bars"]:
                planted, low, high = audited.truth.planted.get(bar["quantity"]), bar["low"], bar["high"]
                if planted is None or low is None or high is None or high - low < RESOLUTION:
                    continue
                one = batch if bar["quantity"] in OF_BASE else (*batch, audited.sample)
                held.setdefault(bar["quantity"], {})[one] = low - ROUNDING <= planted <= high + ROUNDING
    rows: list[dict[str, Any]] = []
    for quantity, inside in held.items():
        share = rate_interval(sum(inside.values()), len(inside))
        rows.append(
            {
                "quantity": quantity,
                "n": len(inside),
                "coverage": share.value,
                "low": share.low,
                "high": share.high,
            }
        )
    return pd.DataFrame(rows)


def _about(audited: Audited) -> dict[str, Any]:
    names = ("sample", "kind", "strength", "upbringing", "domain", "profile", "seed")
    return {name: getattr(audited, name) for name in names}
