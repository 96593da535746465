"""How sharp a sample is, in words for a reader who decides, not measures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from unmask.report.numbers import finite, number

_RATIO, _LOG_RATIO = "aligned / base", "log σ ratio"  # units, as the measurements name them
_OFTEN = "in 80 of 100 draws"
_TOO_MANY = 100  # times the sample: past this the estimate lies almost on its bar


def could_find(bar: Mapping[str, Any]) -> str:
    """How sharp a bar's sample is, in a sentence that holds however the finding went; empty where nothing is known.

    Args:
        bar: a `BarResult` as findings.json holds it.
    """
    found: Mapping[str, Any] | None = bar.get("detectable")
    if found is None:
        return ""
    words, unit = str(bar.get("bar", "")), str(bar.get("unit", ""))
    if any(end in bar and finite(bar[end]) is None for end in ("low", "high")):
        return (
            "Base's own number cannot be told from 0, so no ratio to it can be found."
            if unit == _RATIO
            else ""
        )
    supports, refutes = (_start(found.get(side)) for side in ("supports", "refutes"))
    if "±" in words:
        return _within(supports, refutes)
    up, down = ("or less", "or more") if "<" in words else ("or more", "or less")
    against = "" if refutes is None else f"rules the claim out at {_value(refutes, unit)} {down}"
    if supports is None:
        nothing = f"A sample this sharp shows no possible value to be past the bar {_OFTEN}"
        return f"{nothing}; as often it {against}." if against else f"{nothing}."
    beyond = finite(found["supports"].get("beyond"))
    further = "" if beyond is None else f", {number(beyond)} past the bar,"
    return (
        f"A sample this sharp finds a value of {_value(supports, unit)} {up}{further} {_OFTEN}"
        f"{f', and as often {against}' if against else ''}."
    )


def larger_sample(finding: Mapping[str, Any], topics: Mapping[str, int] | None = None) -> str:
    """How much larger a sample would probably settle an inconclusive finding; empty where none would.

    Args:
        finding: as findings.json holds it.
        topics: how many topics the domain's questions and facts have, as run.json holds them.
    """
    needed: Mapping[str, Any] | None = finding.get("sample_needed")
    times = None if needed is None else finite(needed.get("times"))
    if needed is None or times is None:
        return ""
    if times > _TOO_MANY:
        return (
            "The estimate lies almost on its bar: if it is exactly right, no sample of a practical size would settle "
            f"it. It would take more than {_TOO_MANY} times as many."
        )
    about = f"{times:.1f}" if times < 10 else f"{times:.0f}"
    if finding.get("measurement") == "structure":
        unit, there = "in the set that has fewest", None
    else:
        kind = "facts" if finding.get("id") == "reactivation.sycophancy" else "questions"
        unit, there = "topics", (topics or {}).get(kind)
    more = f" The domain has {there:,} topics." if there is not None and needed["n"] > there else ""
    return (
        f"If the estimate is exactly right, a sample about {about} times as large ({needed['n']:,} {unit} in place of "
        f"{finding['n']:,}) has a chance of 80 % to make it {needed['status']}.{more}"
    )


def _start(effect: Mapping[str, Any] | None) -> float | None:
    return None if effect is None else finite(effect.get("start"))


def _value(x: float, unit: str) -> str:
    """A number; the log ratio itself also as the ratio that it is, which a difference of two such is not."""
    return f"{number(x)} (a ratio of {number(math.exp(x))})" if unit == _LOG_RATIO else number(x)


def _within(supports: float | None, refutes: float | None) -> str:
    outside = "" if refutes is None else f"finds one of {number(refutes)} or more to either side"
    if supports is None:
        nothing = f"A sample this sharp shows not even a value of 0 to lie between the bars {_OFTEN}"
        return f"{nothing}; as often it {outside}." if outside else f"{nothing}."
    near = f"within ±{number(supports)}" if supports > 0 else "of 0"
    inside = f"A sample this sharp shows a value {near} to lie between the bars {_OFTEN}"
    return f"{inside}, and as often {outside}." if outside else f"{inside}."
