"""What audits of known samples say about the audit: how often each claim and each verdict is right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from unmask.lab.calibration.samples import Audited
from unmask.stats import rate_interval
from unmask.verdict.rules import RULES

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
UNTOUCHED = ("null", "decoy")
"""Kinds that change nothing about the concept."""


def findings_table(audits: Iterable[Audited]) -> pd.DataFrame:
    """One row a finding whose claim is known to be true or false.

    Returns:
        Columns sample, kind, strength, upbringing, domain, profile, seed, claim, truth ("supported" or "refuted"),
        status, estimate, low, high, planted (the large-sample value of the headline number, NaN where unknown),
        effect (how far that lies beyond the bar on the true side), detectable, clear.
    """
    rows: list[dict[str, Any]] = []
    for audited in audits:
        for claim, truth in audited.truth.claims.items():
            finding = audited.findings[claim]
            bar = finding["bars"][0]
            effect, found = effect_of(audited, claim)
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
                    "effect": effect,
                    "detectable": found,
                    "clear": effect >= CLEAR * found,
                }
            )
    return pd.DataFrame(rows)


def effect_of(audited: Audited, claim: str) -> tuple[float, float]:
    """How far the truth of a claim lies beyond its bar, and how far it would have to lie to be found.

    Over the bars that decide the true side: all of them to support, so the least clear one counts; any one that may
    refute to refute, so the clearest counts. NaN where the truth's number is not known, or the audit names no effect.
    """
    rule, truth = RULES[claim], audited.truth.claims[claim]
    pairs: list[tuple[float, float]] = []
    for bar, found in zip(rule.bars, audited.findings[claim]["bars"], strict=True):
        value, detectable = audited.truth.planted.get(bar.quantity), found["detectable"]
        side = (detectable or {}).get("supports" if truth == "supported" else "refutes")
        if value is None or side is None:
            continue
        at = bar.at if truth == "supported" or bar.refutes_at is None else bar.refutes_at
        if bar.side == "within":
            beyond = at - abs(value) if truth == "supported" else abs(value) - at
        else:
            sign = (1 if bar.side == "above" else -1) * (1 if truth == "supported" else -1)
            beyond = sign * (value - at)
        pairs.append((beyond, side["beyond"]))
    if not pairs:
        return float("nan"), float("nan")
    choose = min if truth == "supported" else max
    return choose(pairs, key=lambda pair: pair[0] / max(pair[1], 1e-12))


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
    for claim in claims:
        if claim not in audited.truth.claims:
            return False
        effect, found = effect_of(audited, claim)
        if not effect >= CLEAR * found:
            return False
    return True


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
    """How often each quantity's interval holds its planted value, with the exact interval of that share."""
    held: dict[str, list[bool]] = {}
    for audited in audits:
        seen: set[str] = set()
        for finding in audited.findings.values():
            for bar in finding["bars"]:
                quantity, planted = bar["quantity"], audited.truth.planted.get(bar["quantity"])
                if planted is None or quantity in seen or bar["low"] is None or bar["high"] is None:
                    continue
                seen.add(quantity)
                held.setdefault(quantity, []).append(bar["low"] <= planted <= bar["high"])
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
