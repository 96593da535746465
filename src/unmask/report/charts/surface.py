"""Figures of the surface measurement: what the models say."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import pandas as pd

from unmask.report.charts import style
from unmask.report.charts.style import Chart, Tables
from unmask.report.words import READ_OUTS

_KINDS = ("a", "b", "neutral", "hedged", "refusal", "off_topic")


def intensity(tables: Tables) -> Chart | None:
    """How strongly each read-out takes sides."""
    return _summary(tables, "intensity", "intensity E|s|", (0.0, 1.0))


def lean(tables: Tables, kinds: Mapping[str, str]) -> Chart | None:
    """Which side each read-out takes."""
    return _summary(tables, "lean", f"lean: −1 {kinds['a']}, +1 {kinds['b']}", (-1.0, 1.0))


def _summary(tables: Tables, name: str, title: str, domain: tuple[float, float]) -> Chart | None:
    low, high = f"{name}_low", f"{name}_high"
    frame = style.table(tables, "summary", "side", "read_out", name, low, high)
    if frame is None:
        return None
    order = [read_out for read_out in READ_OUTS if read_out in set(frame["read_out"])]
    frame = frame.assign(**{"read-out": frame["read_out"].replace(dict(READ_OUTS))})
    labels = [READ_OUTS[read_out] for read_out in order]
    chart = style.rows(
        frame[["side", "read-out", name, low, high]], "read-out", name, title,
        order=labels, domain=domain, low=low, high=high,
    )  # fmt: skip
    if domain[0] < 0:
        chart = style.layer(style.at(0), chart)
    return style.finish(chart, style.row_height(frame["read_out"].nunique()))


def rates(tables: Tables, kinds: Mapping[str, str]) -> Chart | None:
    """How the answers are labelled, in shares.

    Args:
        kinds: what each kind is called, the domain's poles included.
    """
    frame = style.table(tables, "rates", "side", "kind", "rate", "low", "high")
    if frame is None:
        return None
    frame = frame.assign(kind=frame["kind"].replace(dict(kinds)))
    order = [kinds.get(kind, kind) for kind in _KINDS]
    chart = style.rows(frame, "kind", "rate", "share of answers", order=order, domain=(0.0, 1.0))
    return style.finish(chart, style.row_height(frame["kind"].nunique(), 34))


def topics(tables: Tables, read_out: str) -> Chart | None:
    """Mean stance topic by topic, base joined to aligned."""
    frame = style.table(tables, "stances", "side", "read_out", "topic", "stance")
    if frame is None:
        return None
    frame = frame[frame["read_out"] == read_out]
    means = frame.groupby(["topic", "side"], as_index=False)["stance"].mean().dropna(subset="stance")
    means = means.sort_values(["topic", "side"], ascending=[True, False])  # aligned is drawn over base
    if means.empty:
        return None
    wide = means.pivot_table(index="topic", columns="side", values="stance").reindex(
        columns=list(style.SIDES)
    )
    order = list(wide.sort_values(list(style.SIDES)).index)
    n = len(order)
    each = max(5.0, min(19.0, 700 / n))
    y = alt.Y("topic:N", title=None, sort=order, axis=alt.Axis(labels=each >= 11, labelFontSize=11))
    scale = alt.Scale(domain=[-1, 1])
    joined = alt.Chart(wide.reset_index()).mark_rule(color=style.RULE, strokeWidth=1.5)
    points = alt.Chart(means).mark_point(filled=True, opacity=1, size=48 if each >= 11 else 24)
    chart = style.layer(
        style.at(0),
        joined.encode(y=y, x=alt.X("base:Q", title="mean stance", scale=scale), x2="aligned:Q"),
        points.encode(
            y=y,
            x=alt.X("stance:Q", title="mean stance", scale=scale, axis=alt.Axis(grid=True, tickCount=5)),
            color=style.side_colour(),
            shape=style.side_shape(),
            tooltip=[alt.Tooltip("topic:N"), alt.Tooltip("side:N"), style.number_tip("stance")],
        ),
    )
    return style.finish(chart, style.row_height(n, each))


def judge(tables: Tables, kinds: Mapping[str, str]) -> Chart | None:
    """The judge's confusion on labelled text: share of each true kind by what the judge said."""
    frame = style.table(tables, "judge_card", "truth", "predicted", "count")
    if frame is None:
        return None
    cells = frame.groupby(["truth", "predicted"], as_index=False)["count"].sum()
    total = cells.groupby("truth")["count"].transform("sum")
    cells["share"] = cells["count"] / total.where(total > 0)
    order = [kinds.get(kind, kind) for kind in _KINDS]
    cells = cells.assign(
        truth=cells["truth"].replace(dict(kinds)),
        predicted=cells["predicted"].replace(dict(kinds)),
        light=pd.Series(cells["share"] < 0.55, index=cells.index),
    )
    base = alt.Chart(cells).encode(
        x=alt.X(
            "predicted:N",
            title="judged",
            sort=order,
            axis=alt.Axis(orient="top", labelAngle=-40, labelOverlap=False, domain=False),
        ),
        y=alt.Y("truth:N", title="true", sort=order),
        tooltip=["truth:N", "predicted:N", "count:Q", style.number_tip("share", fmt=".0%")],
    )
    squares = base.mark_rect(color="var(--ink)", cornerRadius=2).encode(
        opacity=alt.Opacity("share:Q", legend=None, scale=alt.Scale(domain=[0, 1], range=[0.03, 0.85]))
    )
    text = base.mark_text(fontSize=11).encode(
        text="count:Q",
        color=alt.condition("datum.light", alt.value("var(--ink)"), alt.value("var(--paper)")),
    )
    return style.finish(style.layer(squares, text), style.row_height(cells["truth"].nunique(), 34, 84))
