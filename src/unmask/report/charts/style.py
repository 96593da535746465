"""One look for all figures: base and aligned keep their colour and mark, chance is grey, and every colour is a
CSS variable of the page, so that figures follow its light, dark and print themes without being drawn again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

Chart = alt.Chart | alt.LayerChart
Frame = Any
"""A `pandas.DataFrame`. Pandas ships no types, and what a checker guesses of its methods is wrong."""
Tables = Mapping[str, Frame]
"""A measurement's tables by their own name: "summary", "rates", …"""

SIDES = ("base", "aligned")
INK, SOFT, RULE, NULL = "var(--ink)", "var(--ink-soft)", "var(--rule)", "var(--chance)"
BASE, ALIGNED = "var(--base)", "var(--aligned)"

MAX_POINTS = 2_000

CONFIG: Mapping[str, object] = {
    "background": "transparent",
    "font": "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif",
    "padding": 2,
    "view": {"stroke": None},
    "aria": False,  # the figure's box carries the description; thousands of spoken marks would bury it
    "axis": {
        "domainColor": RULE,
        "gridColor": "var(--grid)",
        "tickColor": RULE,
        "labelColor": SOFT,
        "titleColor": SOFT,
        "labelFontSize": 11.5,
        "titleFontSize": 11.5,
        "titleFontWeight": "normal",
        "labelLimit": 130,
        "tickSize": 4,
    },
    "axisY": {"domain": False, "ticks": False, "labelPadding": 6},
    "axisX": {
        "grid": False,
        "labelFlush": False,
        "labelOverlap": "greedy",
        "labelSeparation": 8,
        "tickCount": 6,
    },
    "text": {"color": INK, "fontSize": 11.5},
    "rule": {"color": SOFT},
}
"""Vega-Lite config, given once to every figure of the page."""


def table(tables: Tables, name: str, *columns: str) -> Frame | None:
    """A table with rows and all the columns that a figure needs, or None: the figure is then left out."""
    frame = tables.get(name)
    if frame is None or frame.empty or not set(columns) <= set(frame.columns):
        return None
    return frame


def thin(frame: Frame, rows: int = MAX_POINTS) -> Frame:
    """At most `rows` rows, spread evenly: what a figure can show; the page's tables hold more."""
    if len(frame) <= rows:
        return frame
    return frame.iloc[np.linspace(0, len(frame) - 1, rows).round().astype(int)]


def frame(data: object) -> Frame:
    """Rows for a chart, from whatever pandas takes."""
    return pd.DataFrame(data)  # pyright: ignore[reportArgumentType]  # whatever it takes is hard to name


def layer(*charts: Chart) -> alt.LayerChart:
    """Charts on top of one another."""
    return alt.LayerChart(layer=list(charts))


def finish(chart: Chart, height: float) -> Chart:
    """Fit the width of the page, with a height that is known before the figure is drawn."""
    return chart.properties(
        width="container",
        height=round(height),
        autosize=alt.AutoSizeParams(type="fit", contains="padding"),
    )


def side_colour() -> alt.Color:
    """The colour of a side; its legend is the page's own."""
    return alt.Color("side:N", legend=None, scale=alt.Scale(domain=list(SIDES), range=[BASE, ALIGNED]))


def side_shape() -> alt.Shape:
    """The mark of a side, for those who do not tell the colours apart."""
    return alt.Shape("side:N", legend=None, scale=alt.Scale(domain=list(SIDES), range=["circle", "diamond"]))


def side_offset() -> alt.YOffset:
    """Base above aligned within a row."""
    return alt.YOffset("side:N", sort=list(SIDES), scale=alt.Scale(paddingOuter=0.45))


def number_tip(field: str, title: str | None = None, fmt: str = ".3f") -> alt.Tooltip:
    """A number in a tooltip."""
    return alt.Tooltip(f"{field}:Q", title=title or field, format=fmt)


def rows(
    frame: Frame,
    y: str,
    x: str,
    title: str,
    *,
    order: Sequence[str],
    domain: tuple[float, float] | None = None,
    low: str | None = "low",
    high: str | None = "high",
    tips: Sequence[str] = (),
) -> alt.LayerChart:
    """Rows of estimates with their intervals, base above aligned in each.

    Args:
        frame: one row a side and `y`.
        y: the column that names the rows, top to bottom in `order`.
        x: the column of the estimate; `low` and `high` hold its interval, None where there is none.
        title: what x counts, with its unit.
        tips: further columns for the tooltip.
    """
    scale = alt.Scale(zero=False, nice=True) if domain is None else alt.Scale(domain=list(domain), clamp=True)
    axis_x = alt.X(f"{x}:Q", title=title, scale=scale, axis=alt.Axis(grid=True, tickCount=5))
    axis_y = alt.Y(f"{y}:N", title=None, sort=list(order))
    tooltip = [
        alt.Tooltip(f"{y}:N", title=y.replace("_", " ")),
        alt.Tooltip("side:N"),
        number_tip(x),
        *(number_tip(end) for end in (low, high) if end is not None),
        *(alt.Tooltip(f"{tip}:N", title=tip.replace("_", " ")) for tip in tips),
    ]
    plain = alt.Chart(frame).encode(y=axis_y, yOffset=side_offset(), color=side_colour(), tooltip=tooltip)
    points = plain.mark_point(filled=True, size=75, opacity=1).encode(x=axis_x, shape=side_shape())
    if low is None or high is None:
        return layer(points)
    lines = plain.mark_rule(strokeWidth=2).encode(
        x=alt.X(f"{low}:Q", scale=scale, title=title), x2=f"{high}:Q"
    )
    return layer(lines, points)


def at(value: float) -> alt.Chart:
    """A vertical reference line."""
    return (
        alt.Chart(frame({"at": [value]}))
        .mark_rule(color=SOFT, strokeWidth=1, strokeDash=[3, 3])
        .encode(x="at:Q")
    )


def level(value: float) -> alt.Chart:
    """A horizontal reference line."""
    return (
        alt.Chart(frame({"at": [value]}))
        .mark_rule(color=SOFT, strokeWidth=1, strokeDash=[3, 3])
        .encode(y="at:Q")
    )


def row_height(n_rows: int, each: float = 40, around: float = 52) -> float:
    """Height of a figure of `n_rows` rows, axis included."""
    return around + each * max(n_rows, 1)


def layer_lines(
    frame: Frame, y: str, title: str, scale: alt.Scale, tips: Sequence[Any] = ()
) -> alt.LayerChart:
    """One line a side over the layers."""
    base = alt.Chart(frame).encode(
        x=alt.X("layer:Q", title="layer", axis=alt.Axis(tickMinStep=1)),
        y=alt.Y(f"{y}:Q", title=title, scale=scale, axis=alt.Axis(tickCount=5)),
        color=side_colour(),
        tooltip=[alt.Tooltip("side:N"), alt.Tooltip("layer:Q"), number_tip(y), *tips],
    )
    return layer(
        base.mark_line(strokeWidth=2),
        base.mark_point(filled=True, size=34, opacity=1).encode(shape=side_shape()),
    )
