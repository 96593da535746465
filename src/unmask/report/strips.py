"""A number on a line: the geometry of the small charts beside each finding and of the depth profile.

They are drawn as SVG in percent of their width, so they need no script, fit any screen and print.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from unmask.report.numbers import finite, short, ticks

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class Span:
    """From and width, in percent of the strip."""

    x: float
    width: float


@dataclass(frozen=True)
class Mark:
    """A labelled place, in percent of the strip.

    Attributes:
        anchor: which side of the label sits on the place, so that it stays inside.
    """

    x: float
    label: str
    anchor: str


@dataclass(frozen=True)
class Strip:
    """One estimate against its bar.

    Attributes:
        dot: the estimate; None where nothing was measured.
        interval: its 95 % interval.
        bars: the threshold, or both for "within".
        zone: where the interval has to lie for support.
        null: what chance gives in 95 of 100 cases.
        ticks: the axis.
    """

    dot: float | None
    interval: Span | None
    bars: tuple[Mark, ...]
    zone: Span | None
    null: Span | None
    ticks: tuple[Mark, ...]


def thresholds(bar: str) -> tuple[str, float] | None:
    """The side and number in a bar's words: "< 0.2" → ("<", 0.2), "within ±0.1" → ("within", 0.1).

    Returns:
        None where the words name neither, so that the strip is drawn without a bar.
    """
    found = _NUMBER.search(bar.replace("−", "-"))
    if found is None:
        return None
    if "±" in bar:
        return "within", abs(float(found.group()))
    side = next((sign for sign in ("<", ">", "≤", "≥") if sign in bar), None)
    return None if side is None else ({"≤": "<", "≥": ">"}.get(side, side), float(found.group()))


def strip(bar: Mapping[str, object], null_q95: object = None) -> Strip:
    """Lay out one bar of a finding.

    Args:
        bar: a `BarResult` as findings.json holds it.
        null_q95: 95 % quantile of the null of this estimate; a negative one is a lower tail's.
    """
    value, low, high = (finite(bar.get(key)) for key in ("value", "low", "high"))
    null = finite(null_q95)
    threshold = thresholds(str(bar.get("bar", "")))
    lines = () if threshold is None else _lines(*threshold)
    places = [x for x in (value, low, high, null, 0.0, *lines) if x is not None]
    pad = 0.12 * (max(places) - min(places) or 1.0)
    left, right = min(places) - pad, max(places) + pad

    def percent(x: float) -> float:
        return round(100 * (x - left) / (right - left), 3)

    def span(start: float, end: float) -> Span:
        a, b = percent(max(start, left)), percent(min(end, right))
        return Span(a, round(b - a, 3))

    def mark(x: float, label: str) -> Mark:
        at = percent(x)
        return Mark(at, label, "start" if at < 8 else "end" if at > 92 else "middle")

    return Strip(
        dot=None if value is None else percent(value),
        interval=None if low is None or high is None else span(low, high),
        bars=tuple(mark(x, short(x)) for x in lines),
        zone=None if threshold is None else span(*_zone(*threshold, left, right)),
        null=None if null is None else span(left, null) if null >= 0 else span(null, right),
        ticks=tuple(
            mark(x, short(x))
            for x in ticks(left, right)
            if all(abs(percent(x) - percent(at)) > 4 for at in lines)
        ),
    )


def _lines(side: str, at: float) -> tuple[float, ...]:
    return (-at, at) if side == "within" else (at,)


def _zone(side: str, at: float, left: float, right: float) -> tuple[float, float]:
    return {"within": (-at, at), "<": (left, at), ">": (at, right)}[side]
