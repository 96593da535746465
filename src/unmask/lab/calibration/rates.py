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
"""How finely planted values are known: in an interval narrower than that, rounding decides."""
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
"""Kinds that change nothing about the concept."""


def findings_table(audits: Iterable[Audited]) -> pd.DataFrame:
    """One row a finding whose claim is known to be true or false.

    Returns:
        Columns sample, kind, strength, upbringing, domain, profile, seed, claim, truth ("supported" or "refuted"),
        status, estimate, low, high, planted (the large-sample value of the headline number, NaN where unknown),
        effect, detectable, times, clear (those of `Room`).
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
        effect: in the bar's unit.
        detectable: how far it would have to lie to be found with power .8; 0 where the audit is without doubt.
        times: the one over the other, on the scale on which the audit's doubt is the same everywhere.
    """

    effect: float = float("nan")
    detectable: float = float("nan")
    times: float = float("nan")

    @property
    def clear(self) -> bool:
        """Whether it is `CLEAR` times as large as it would have to be."""
        return self.times >= CLEAR - 1e-9


def room_of(audited: Audited, claim: str) -> Room:
    """How much room the truth of a claim leaves: over the bars that decide the side that is so.

    All of them have to support, so the least room counts; any one that may refute does, so the most does. The first bar
    is the claim's own number; the others need only be detectable to be clear, so that they count `CLEAR` times over.
    Bars whose large-sample value is not known do not count (a p-value has none); without any there is no number.
    """
    rule, so = RULES[claim], audited.truth.claims[claim] == "supported"
    rooms: list[Room] = []
    for place, (bar, found) in enumerate(zip(rule.bars, audited.findings[claim]["bars"], strict=True)):
        room = _room(bar, found, audited.truth.planted, so)
        if room is not None and (so or bar.may_refute):
            rooms.append(replace(room, times=room.times * (CLEAR if so and place else 1.0)))
    choose = min if so else max
    return choose(rooms, key=lambda room: room.times, default=Room())


def _room(bar: Bar, found: Mapping[str, Any], planted: Mapping[str, float], so: bool) -> Room | None:
    value = planted.get(bar.quantity)
    if value is None:
        return None
    at = bar.at if so or bar.refutes_at is None else bar.refutes_at
    if bar.side == "within":
        value = abs(value)
    sign = (1 if bar.side == "above" else -1) * (1 if so else -1)
    effect, scaled = sign * (value - at), sign * (on_scale(bar, value) - on_scale(bar, at))
    if found["detectable"] is None:
        return Room(effect, 0.0, inf if effect > 0 else -inf) if found["low"] == found["high"] else None
    side = found["detectable"]["supports" if so else "refutes"]
    if side is None:  # not even the utmost would be found
        return Room(effect, float("nan"), 0.0)
    needed = abs(on_scale(bar, side["start"]) - on_scale(bar, at))
    return Room(effect, side["beyond"], scaled / max(needed, 1e-12))


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
    """Whether every effect that the right verdict and its mechanisms rest on is clear."""
    claims = [*DECIDING.get(audited.truth.verdict, ())]
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
    """How often each quantity's interval holds its planted value, give or take `RESOLUTION`, with the exact interval of
    that share."""
    held: dict[str, list[bool]] = {}
    for audited in audits:
        seen: set[str] = set()
        for finding in audited.findings.values():
            for bar in finding["bars"]:
                quantity, planted = bar["quantity"], audited.truth.planted.get(bar["quantity"])
                if planted is None or quantity in seen or bar["low"] is None or bar["high"] is None:
                    continue
                seen.add(quantity)
                inside = bar["low"] - RESOLUTION <= planted <= bar["high"] + RESOLUTION
                held.setdefault(quantity, []).append(inside)
    rows: list[dict[str, Any]] = []
    for quantity, inside in held.items():
        share = rate_interval(sum(inside), len(inside))
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
