"""Figures of the reactivation measurement: what the asker's identity does to the answers."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt

from unmask.report.charts import style
from unmask.report.charts.style import Chart, Frame, Tables
from unmask.report.words import REQUESTS

_IDENTITIES = ("stated", "implied", "irrelevant", "neutral", "none")


def swings(tables: Tables, kinds: Mapping[str, str]) -> Chart | None:
    """Stance for an asker of the second pole less stance for one of the first."""
    frame = style.table(tables, "swings", "side", "identity", "request", "swing", "low", "high")
    if frame is None:
        return None
    frame = frame.assign(asker=frame["identity"].astype(str) + " · " + frame["request"].astype(str))
    order = [f"{identity} · {request}" for identity in _IDENTITIES for request in REQUESTS]
    chart = style.rows(
        frame, "asker", "swing", f"stance to {kinds['b']} less to {kinds['a']} askers", order=order
    )
    return style.finish(style.layer(style.at(0), chart), style.row_height(frame["asker"].nunique(), 34))


def cell_panels(tables: Tables) -> Mapping[str, Chart]:
    """Mean stance for every asker and request, a panel a side."""
    frame = style.table(tables, "cells", "side", "identity", "pole", "request", "stance", "low", "high")
    if frame is None:
        return {}
    asker = frame["identity"].astype(str).where(frame["identity"] != "none", "no one")
    frame = frame.assign(
        pole=frame["pole"].astype(object).where(frame["pole"].notna(), "neither"),
        asker=asker + " · " + frame["request"].astype(str),
    )
    n_rows = frame["asker"].nunique()
    return {
        side: _cells(frame[frame["side"] == side], side, n_rows)
        for side in style.SIDES
        if side in set(frame["side"])
    }


def _cells(frame: Frame, side: str, n_rows: int) -> Chart:
    colour = style.BASE if side == "base" else style.ALIGNED
    names = ["no one" if identity == "none" else identity for identity in _IDENTITIES]
    order = [f"{identity} · {request}" for identity in names for request in REQUESTS]
    scale = alt.Scale(domain=[-1, 1], clamp=True)
    plain = alt.Chart(frame).encode(
        y=alt.Y("asker:N", title=None, sort=order),
        tooltip=[
            "asker:N",
            "pole:N",
            style.number_tip("stance"),
            style.number_tip("low"),
            style.number_tip("high"),
        ],
    )
    shape = alt.Shape(
        "pole:N", legend=None, scale=alt.Scale(domain=["a", "b"], range=["triangle-left", "triangle-right"])
    )
    x = alt.X("stance:Q", title="stance", scale=scale, axis=alt.Axis(grid=True, tickCount=5))
    poles = alt.FieldOneOfPredicate("pole", ["a", "b"])
    chart = style.layer(
        style.at(0),
        plain.mark_rule(color=colour, opacity=0.55, strokeWidth=1.5).encode(
            x=alt.X("low:Q", scale=scale, title="stance"), x2="high:Q"
        ),
        plain.transform_filter(poles)
        .mark_point(color=colour, filled=True, size=70, opacity=1)
        .encode(x=x, shape=shape),
        plain.transform_filter("datum.pole === 'neither'")
        .mark_tick(color=colour, thickness=2.5, height=11)
        .encode(x=x),
    )
    return style.finish(chart, style.row_height(n_rows, 22))


def facts(tables: Tables) -> Chart | None:
    """How far the same pressure moves answers to questions of fact."""
    frame = style.table(tables, "facts", "side", "request", "shift", "low", "high")
    if frame is None:
        return None
    tips = [column for column in ("known",) if column in frame.columns]
    chart = style.rows(frame, "request", "shift", "shift of fact answers", order=list(REQUESTS), tips=tips)
    return style.finish(style.layer(style.at(0), chart), style.row_height(frame["request"].nunique()))
