"""Figures of the features measurement: which latents carry the concept, which went silent, what clamping them does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import altair as alt
import numpy as np
import pandas as pd

from unmask.features.deactivation import SHARE
from unmask.report.charts import causality, style
from unmask.report.charts.style import Chart, Frame, Tables

STATES = ("silenced", "alive", "unsure")
ARMS: Mapping[str, str] = {
    "features": "these latents",
    "direction": "the direction",
    "random": "random latents",
}
"""Arms in the order of a figure."""
PARTS: Mapping[str, str] = {
    "bias": "bias",
    "selected": "these latents",
    "other latents": "all other latents",
    "error": "error",
}
"""Parts of what the direction reads, in the order in which they are added up."""
TOTAL = "total"
_OF: Mapping[str, str] = {
    "statements": "statements: from pole to pole",
    "questions": "open questions: mean",
}
_SILENCE: Mapping[str, str] = {
    "selected": "these latents",
    "matched latents": "latents that fire as often",
    "random dictionary": "a random dictionary",
}
_DICTIONARIES: Mapping[str, str] = {"this": "this dictionary", "random": "a random one"}
_FITS: Mapping[str, tuple[str, str]] = {
    "fvu": ("variance left", "FVU"),
    "recovered": ("CE recovered", "share"),
    "cost": ("cost of reading the copy", "nats a token"),
}
_KINDS: Mapping[str, str] = {
    "base-only": "base only",
    "shared": "shared",
    "other": "other",
    "aligned-only": "aligned only",
}


def curve_panels(tables: Tables) -> Mapping[str, Chart]:
    """Stance against dose with latents clamped, a panel a side on one scale."""
    return causality.curve_panels(tables, ARMS)


def gains(tables: Tables) -> Chart | None:
    """Slope over all doses of every arm."""
    return causality.gains(tables, ARMS)


def firing(tables: Tables) -> Chart | None:
    """Aligned's rate against base's in own answers, one mark a latent, up to the most that aligned's hits allow."""
    frame = style.table(tables, "latents", "latent", "state", "said_base", "said_aligned", "bound")
    if frame is None:
        return None
    frame = frame.dropna(subset=["said_base", "said_aligned"])
    if frame.empty:
        return None
    top = min(1.0, 1.05 * float(frame[["said_base", "said_aligned", "bound"]].max().max())) or 1.0
    values = [value for value in (0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0) if value <= top]
    # Shares spread near 0, where silence is decided, and lines through 0 stay straight.
    scale = alt.Scale(type="sqrt", domain=[0, top], nice=False)
    axis = alt.Axis(values=[0, *values], format="~%", grid=False)
    x = alt.X("said_base:Q", title="base's answers in which it fires", scale=scale, axis=axis)
    y = alt.Y("said_aligned:Q", title="aligned's answers", scale=scale, axis=axis)
    tips = [
        alt.Tooltip("latent:N"),
        alt.Tooltip("state:N"),
        style.number_tip("said_base", "base", ".1%"),
        style.number_tip("said_aligned", "aligned", ".1%"),
        style.number_tip("bound", "at most", ".1%"),
    ]
    columns = ["latent", "state", "said_base", "said_aligned", "bound"]
    base = alt.Chart(style.thin(frame[columns])).encode(x=x, tooltip=tips)
    states = list(STATES)
    ink = [style.INK, style.INK, style.SOFT]
    chart = style.layer(
        _line(1.0, top, scale),
        _line(SHARE, top, scale),
        _name("as often", top, top, scale, align="right", dx=-12, dy=-6),
        # Latents that base itself uses rarely are never called silenced, so there is room at the left.
        _name("a tenth", 0.06 * top, SHARE * 0.06 * top, scale, align="left", dx=4, dy=16),
        base.mark_rule(color=style.SOFT, strokeWidth=1.2).encode(y=y, y2="bound:Q"),
        base.mark_point(size=55, strokeWidth=1.5, opacity=1).encode(
            y=y,
            stroke=alt.Stroke("state:N", legend=None, scale=alt.Scale(domain=states, range=ink)),
            fill=alt.Fill(
                "state:N",
                legend=None,
                scale=alt.Scale(domain=states, range=[style.INK, "var(--paper)", style.NULL]),
            ),
        ),
    )
    return style.finish(chart, 300)


def _line(slope: float, top: float, scale: alt.Scale) -> Chart:
    """A line through 0."""
    ends = style.frame({"said_base": [0.0, top], "said_aligned": [0.0, slope * top]})
    line = alt.Chart(ends).mark_line(color=style.SOFT, strokeWidth=1, strokeDash=[3, 3])
    return line.encode(x=alt.X("said_base:Q", scale=scale), y=alt.Y("said_aligned:Q", scale=scale))


def _name(
    name: str, x: float, y: float, scale: alt.Scale, *, align: Literal["left", "right"], dx: float, dy: float
) -> Chart:
    """What a line is called."""
    place = style.frame({"said_base": [x], "said_aligned": [y], "name": [name]})
    text = alt.Chart(place).mark_text(align=align, baseline="bottom", dx=dx, dy=dy, color=style.SOFT)
    return text.encode(
        x=alt.X("said_base:Q", scale=scale), y=alt.Y("said_aligned:Q", scale=scale), text="name:N"
    )


def silence(tables: Tables) -> Chart | None:
    """Share of latents silenced: as seen, and the range that is sure."""
    frame = style.table(tables, "silence", "kind", "latents", "silent", "low", "high")
    if frame is None:
        return None
    frame = frame.assign(kind=frame["kind"].replace(dict(_SILENCE)))
    scale = alt.Scale(domain=[0, 1])
    title = "share silenced"
    base = alt.Chart(frame).encode(
        y=alt.Y("kind:N", title=None, sort=list(_SILENCE.values()), axis=alt.Axis(labelLimit=180)),
        tooltip=[
            alt.Tooltip("kind:N"),
            alt.Tooltip("latents:Q"),
            style.number_tip("silent", fmt=".0%"),
            style.number_tip("low", "surely at least", ".0%"),
            style.number_tip("high", "at most", ".0%"),
        ],
    )
    axis = alt.Axis(grid=True, tickCount=5, format="~%")
    chart = style.layer(
        base.mark_rule(strokeWidth=2, color=style.INK).encode(
            x=alt.X("low:Q", title=title, scale=scale, axis=axis), x2="high:Q"
        ),
        base.mark_point(filled=True, size=75, opacity=1, color=style.INK).encode(
            x=alt.X("silent:Q", title=title, scale=scale, axis=axis)
        ),
    )
    return style.finish(chart, style.row_height(frame["kind"].nunique()))


def decomposition(tables: Tables) -> Mapping[str, Chart]:
    """What the direction reads, added up part by part, a panel what it is read of."""
    frame = style.table(tables, "decomposition", "side", "of", "part", "value", "total")
    if frame is None:
        return {}
    return {title: _added_up(frame[frame["of"] == of]) for of, title in _OF.items() if of in set(frame["of"])}


def _added_up(frame: Frame) -> Chart:
    """Each part starts where the one before it ended; the total is drawn from 0."""
    steps = _steps(frame)
    order = [*PARTS.values(), TOTAL]
    y = alt.Y("part:N", title=None, sort=order)
    plain = alt.Chart(steps).encode(
        y=y,
        yOffset=style.side_offset(),
        color=style.side_colour(),
        tooltip=[
            alt.Tooltip("part:N"),
            alt.Tooltip("side:N"),
            style.number_tip("value"),
            style.number_tip("end", "adds up to"),
        ],
    )
    title = "σ of base along the direction"
    x = alt.X("end:Q", title=title, axis=alt.Axis(grid=True, tickCount=5))
    bars = plain.mark_rule(strokeWidth=7).encode(x=alt.X("start:Q", title=title), x2="end:Q")
    # From where a part ends the line falls to the next row, whose bar covers the rest of it.
    joined = plain.mark_line(strokeWidth=1, interpolate="step-before").encode(x=x, order="step:Q")
    ends = plain.mark_point(filled=True, size=75, opacity=1).encode(x=x, shape=style.side_shape())
    chart = style.layer(style.at(0), joined, bars.encode(opacity=_FAINT), ends)
    return style.finish(chart, style.row_height(len(order)))


_FAINT = alt.condition(f"datum.part === '{TOTAL}'", alt.value(1), alt.value(0.45))


def _steps(frame: Frame) -> Frame:
    rows: list[tuple[str, str, int, float, float, float]] = []
    for side in style.SIDES:
        mine = frame[frame["side"] == side].drop_duplicates("part").set_index("part")
        if mine.empty:
            continue
        end = 0.0
        for i, (part, name) in enumerate(PARTS.items()):
            value = float(mine["value"].get(part, 0.0))
            rows.append((side, name, i, end, end + value, value))
            end += value
        total = float(mine["total"].iloc[0])
        rows.append((side, TOTAL, len(PARTS), 0.0, total, total))
    return pd.DataFrame(rows, columns=pd.Index(["side", "part", "step", "start", "end", "value"]))


def fit(tables: Tables) -> Mapping[str, Chart]:
    """What the dictionary leaves of the variance and of the loss, beside a random one."""
    frame = style.table(tables, "fit", "side", "dictionary", *_FITS)
    if frame is None:
        return {}
    frame = frame.assign(dictionary=frame["dictionary"].replace(dict(_DICTIONARIES)))
    order = list(_DICTIONARIES.values())
    height = style.row_height(frame["dictionary"].nunique(), 44)
    return {
        name: style.finish(
            style.layer(
                style.at(0),
                style.rows(
                    frame[["side", "dictionary", column]],
                    "dictionary",
                    column,
                    unit,
                    order=order,
                    low=None,
                    high=None,
                ),
            ),
            height,
        )
        for column, (name, unit) in _FITS.items()
        if frame[column].notna().any()
    }


def crosscoder(tables: Tables) -> Mapping[str, Chart]:
    """Into which model latents write: all of them as bars, and each by its kind after latent scaling."""
    frame = style.table(tables, "crosscoder", "latent", "relative_norm", "kind", "selected")
    if frame is None:
        return {}
    frame = frame[frame["kind"] != "inactive"].dropna(subset=["relative_norm"])
    if frame.empty:
        return {}
    counts, edges = np.histogram(frame["relative_norm"].to_numpy(float), bins=40, range=(0.0, 1.0))
    bins = style.frame({"relative_norm": edges[:-1], "end": edges[1:], "latents": counts, "none": 0})
    title = "share of its decoder norm in aligned"
    scale = alt.Scale(domain=[0, 1])
    x = alt.X("relative_norm:Q", title=title, scale=scale)
    bars = (
        alt.Chart(bins)
        .mark_rect(color=style.NULL, opacity=1)
        .encode(
            x=x,
            x2="end:Q",
            y=alt.Y("latents:Q", title="latents", axis=alt.Axis(tickCount=4)),
            y2="none:Q",
            tooltip=[style.number_tip("relative_norm", "from"), style.number_tip("end", "to"), "latents:Q"],
        )
    )
    return {
        "all latents": style.finish(style.layer(bars, style.at(0.5)), 230),
        "after latent scaling": style.finish(_by_kind(frame, x), 230),
    }


def _by_kind(frame: Frame, x: alt.X) -> Chart:
    numbers = frame["kind"].value_counts()
    labels = {kind: f"{name}: {int(numbers.get(kind, 0)):,}" for kind, name in _KINDS.items()}
    frame = frame.assign(row=frame["kind"].map(labels), selected=frame["selected"].astype(bool))
    columns = ["latent", "relative_norm", "kind", "row", *(c for c in ("auroc",) if c in frame.columns)]
    tips = [alt.Tooltip("latent:N"), alt.Tooltip("kind:N"), style.number_tip("relative_norm")]
    if "auroc" in columns:
        tips.append(style.number_tip("auroc", "AUROC"))
    y = alt.Y("row:N", title=None, sort=None, scale=alt.Scale(domain=list(labels.values())))
    kinds = alt.Scale(domain=list(_KINDS), range=[style.BASE, style.SOFT, style.SOFT, style.ALIGNED])
    others = alt.Chart(style.thin(frame.loc[~frame["selected"], columns]))
    ticks = others.mark_tick(thickness=1.2, height=14, opacity=0.6).encode(
        x=x, y=y, color=alt.Color("kind:N", legend=None, scale=kinds), tooltip=tips
    )
    chosen = alt.Chart(frame.loc[frame["selected"], columns])
    shapes = alt.Scale(domain=list(_KINDS), range=["circle", "circle", "circle", "diamond"])
    points = chosen.mark_point(filled=True, size=70, opacity=1, color=style.INK).encode(
        x=x, y=y, shape=alt.Shape("kind:N", legend=None, scale=shapes), tooltip=tips
    )
    return style.layer(style.at(0.5), ticks, points)
