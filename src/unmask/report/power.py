"""What a sample could have found, in words for a reader who decides, not measures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from unmask.report.numbers import finite, number

_TOO_MANY = 100  # times the sample: past this the estimate lies almost on its bar


def could_find(bar: Mapping[str, Any]) -> str:
    """The smallest effects that a bar's sample could have found, in a sentence; empty where it has none.

    Args:
        bar: a `BarResult` as findings.json holds it.
    """
    found: Mapping[str, Any] | None = bar.get("detectable")
    if found is None:
        return ""
    words, unit = str(bar.get("bar", "")), str(bar.get("unit", ""))
    supports, refutes = (_start(found.get(side)) for side in ("supports", "refutes"))
    if "±" in words:
        return _within(supports, refutes)
    up, down = ("or less", "or more") if "<" in words else ("or more", "or less")
    against = "" if refutes is None else f"ruled the claim out at {_value(refutes, unit)} {down}"
    if supports is None:
        nothing = "This sample could not have shown it, however large the effect"
        return f"{nothing}; it could have {against}." if against else f"{nothing}."
    beyond = finite(found["supports"].get("beyond"))
    further = "" if beyond is None else f", {number(beyond)} past the bar"
    return (
        f"This sample could have found a value of {_value(supports, unit)} {up}{further}"
        f"{f', and {against}' if against else ''}."
    )


def larger_sample(finding: Mapping[str, Any]) -> str:
    """How much larger a sample would settle an inconclusive finding, in a sentence; empty where none would.

    Args:
        finding: as findings.json holds it.
    """
    needed: Mapping[str, Any] | None = finding.get("sample_needed")
    times = None if needed is None else finite(needed.get("times"))
    if needed is None or times is None:
        return ""
    if times > _TOO_MANY:
        return (
            "No sample of a practical size would settle it if the estimate stands, which lies almost on its bar: "
            f"it would take more than {_TOO_MANY} times as many."
        )
    about = f"{times:.1f}" if times < 10 else f"{times:.0f}"
    return (
        f"If the estimate stands, a sample about {about} times as large ({needed['n']:,} in place of "
        f"{finding['n']:,}) would settle it: {needed['status']}."
    )


def _start(effect: Mapping[str, Any] | None) -> float | None:
    return None if effect is None else finite(effect.get("start"))


def _value(x: float, unit: str) -> str:
    """A number; a log ratio also as the ratio that it is."""
    return f"{number(x)} (a ratio of {number(math.exp(x))})" if unit.startswith("log ") else number(x)


def _within(supports: float | None, refutes: float | None) -> str:
    outside = (
        "" if refutes is None else f"it could have found one of {number(refutes)} or more to either side"
    )
    if supports is None:
        nothing = "This sample could not have shown even a value of 0 to lie between the bars"
        return f"{nothing}; {outside}." if outside else f"{nothing}."
    inside = f"This sample could have shown a value within ±{number(supports)} to lie between the bars"
    return f"{inside}; {outside}." if outside else f"{inside}."
