"""Figures of the structure measurement: what the models represent."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt

from unmask.report.charts import style
from unmask.report.charts.style import Chart, Frame, Tables

_DECIDING = (("stated", "implied"), ("implied", "stated"), ("statements", "implied"))
"""The transfers whose mean excess decides; figures are shown beside them."""


def _named(frame: Frame) -> Frame:
    return frame.assign(transfer=frame["fit"].astype(str) + " → " + frame["test"].astype(str))


def _order(frame: Frame) -> list[str]:
    """Deciding transfers first, then the others as they come."""
    first = [f"{fit} → {test}" for fit, test in _DECIDING]
    names = list(dict.fromkeys(frame["transfer"]))
    return [name for name in first if name in names] + [name for name in names if name not in first]


def excess(tables: Tables) -> Chart | None:
    """AUC above words, transfer by transfer."""
    frame = style.table(tables, "excess", "side", "fit", "test", "excess", "low", "high")
    if frame is None:
        return None
    frame = _named(frame)
    tips = [column for column in ("auc", "words") if column in frame.columns]
    chart = style.rows(frame, "transfer", "excess", "AUC above words", order=_order(frame), tips=tips)
    return style.finish(style.layer(style.at(0), chart), style.row_height(frame["transfer"].nunique()))


def transfer_panels(tables: Tables) -> Mapping[str, Chart]:
    """Cross-format AUC over the layers, a panel a transfer; within-format probes say nothing and are left to
    the table."""
    frame = style.table(tables, "transfer", "side", "fit", "test", "layer", "auc")
    if frame is None:
        return {}
    frame = _named(frame[frame["fit"] != frame["test"]])
    return {name: _transfer(frame[frame["transfer"] == name]) for name in _order(frame)[:6]}


def _transfer(frame: Frame) -> Chart:
    scale = alt.Scale(domain=[0.4, 1.0], clamp=True)
    layers: list[Chart] = []
    if "null_q95" in frame.columns and frame["null_q95"].notna().any():
        null = frame.groupby("layer", as_index=False)["null_q95"].max().assign(floor=0.4)
        layers.append(
            alt.Chart(null)
            .mark_area(color=style.NULL, opacity=1)
            .encode(
                x="layer:Q",
                y=alt.Y("floor:Q", scale=scale, title="AUC"),
                y2="null_q95:Q",
                tooltip=["layer:Q", style.number_tip("null_q95", "chance, 95 %")],
            )
        )
    if "words_auc" in frame.columns and frame["words_auc"].notna().any():
        words = frame.groupby("layer", as_index=False)["words_auc"].mean()
        layers.append(
            alt.Chart(words)
            .mark_line(color=style.INK, strokeDash=[2, 3], strokeWidth=1.5)
            .encode(
                x="layer:Q",
                y=alt.Y("words_auc:Q", scale=scale),
                tooltip=["layer:Q", style.number_tip("words_auc", "bag of words")],
            )
        )
    columns = ["side", "layer", "auc"]
    layers.append(style.layer_lines(frame[columns], "auc", "AUC", scale))
    return style.finish(style.layer(*layers), 190)


def cross(tables: Tables) -> Chart | None:
    """Probes carried from one model to the other, beside each model's own."""
    frame = style.table(tables, "cross", "fit_side", "test_side", "fit", "test", "auc", "low", "high")
    if frame is None:
        return None
    frame = _named(frame)
    probe = "probe of " + frame["fit_side"].astype(str) + ", read in " + frame["test_side"].astype(str)
    frame = frame.assign(probe=probe)
    probes = [f"probe of {fit}, read in {test}" for fit in style.SIDES for test in style.SIDES]
    y = alt.Y("probe:N", title=None, sort=probes, axis=alt.Axis(labelLimit=190))
    plain = alt.Chart(frame).encode(
        y=y,
        yOffset=alt.YOffset("transfer:N", sort=_order(frame), scale=alt.Scale(paddingOuter=0.4)),
        color=alt.Color(
            "test_side:N",
            legend=None,
            scale=alt.Scale(domain=list(style.SIDES), range=[style.BASE, style.ALIGNED]),
        ),
        tooltip=[
            "transfer:N",
            "probe:N",
            style.number_tip("auc"),
            style.number_tip("low"),
            style.number_tip("high"),
        ],
    )
    scale = alt.Scale(zero=False)
    shape = alt.Shape(
        "test_side:N", legend=None, scale=alt.Scale(domain=list(style.SIDES), range=["circle", "diamond"])
    )
    x = alt.X("auc:Q", title="AUC", scale=scale, axis=alt.Axis(grid=True, tickCount=5))
    chart = style.layer(
        style.at(0.5),
        plain.mark_rule(strokeWidth=1.5).encode(x=alt.X("low:Q", title="AUC", scale=scale), x2="high:Q"),
        plain.mark_point(filled=True, size=50, opacity=1).encode(x=x, shape=shape),
    )
    return style.finish(chart, style.row_height(frame["probe"].nunique(), 46))


def cosine(tables: Tables) -> Chart | None:
    """Cosine of the two models' directions, over chance and beside how well base agrees with itself."""
    return _geometry(tables, "cosine", "cosine")


def mahalanobis(tables: Tables) -> Chart | None:
    """The same cosine where all directions of the data count alike."""
    return _geometry(tables, "mahalanobis", "Mahalanobis cosine")


def cka(tables: Tables) -> Chart | None:
    """Similarity of the two models' states as a whole."""
    return _geometry(tables, "cka", "CKA")


def _geometry(tables: Tables, name: str, title: str) -> Chart | None:
    frame = style.table(tables, "geometry", "layer", name)
    if frame is None or frame[name].isna().all():
        return None
    x = alt.X("layer:Q", title="layer", axis=alt.Axis(tickMinStep=1))
    scale = alt.Scale(domain=[min(0.0, float(frame[name].min())), 1.0])
    layers: list[Chart] = []
    null, halves = f"{name}_null_q95", f"{name}_split_half"
    if null in frame.columns:
        area = alt.Chart(frame[["layer", null]].assign(floor=scale.domain[0])).mark_area(
            color=style.NULL, opacity=1
        )
        tooltip = ["layer:Q", style.number_tip(null, "chance, 95 %")]
        layers.append(
            area.encode(x=x, y=alt.Y("floor:Q", scale=scale, title=title), y2=f"{null}:Q", tooltip=tooltip)
        )
    if halves in frame.columns:
        line = alt.Chart(frame[["layer", halves]]).mark_line(
            color=style.SOFT, strokeDash=[6, 3], strokeWidth=1.5
        )
        tooltip = ["layer:Q", style.number_tip(halves, "base, two halves of the topics")]
        layers.append(line.encode(x=x, y=alt.Y(f"{halves}:Q", scale=scale, title=title), tooltip=tooltip))
    both = alt.Chart(frame[["layer", name]]).encode(
        x=x,
        y=alt.Y(f"{name}:Q", title=title, scale=scale, axis=alt.Axis(tickCount=5)),
        tooltip=["layer:Q", style.number_tip(name)],
    )
    layers += [
        both.mark_line(color=style.INK, strokeWidth=2),
        both.mark_point(color=style.INK, filled=True, size=26, opacity=1),
    ]
    return style.finish(style.layer(*layers), 200)


def people_panels(tables: Tables, kinds: Mapping[str, str]) -> Mapping[str, Chart]:
    """Named people: where the probe puts them against their known position, a panel a side."""
    frame = style.table(tables, "figures", "side", "name", "pole", "score", "projection")
    if frame is None:
        return {}
    title = f"known score: − {kinds['a']}, + {kinds['b']}"
    return {
        side: _people(frame[frame["side"] == side], side, title)
        for side in style.SIDES
        if side in set(frame["side"])
    }


def _people(frame: Frame, side: str, title: str) -> Chart:
    colour = style.BASE if side == "base" else style.ALIGNED
    points = (
        alt.Chart(style.thin(frame))
        .mark_point(size=44, strokeWidth=1.5, color=colour, opacity=0.9)
        .encode(
            x=alt.X("score:Q", title=title, scale=alt.Scale(nice=True)),
            y=alt.Y("projection:Q", title="projection", scale=alt.Scale(zero=False)),
            fill=alt.condition("datum.pole === 'b'", alt.value(colour), alt.value("transparent")),
            tooltip=["name:N", "pole:N", style.number_tip("score"), style.number_tip("projection")],
        )
    )
    return style.finish(style.layer(points), 220)
