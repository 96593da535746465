"""Figures of the causality measurement: what pushing along the direction does to the answers."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import numpy as np

from unmask.report.charts import style
from unmask.report.charts.style import Chart, Frame, Tables

ARMS: Mapping[str, str] = {
    "concept": "this concept",
    "orthogonal": "without refusal",
    "permuted": "shuffled labels",
    "unrelated": "unrelated concepts",
    "random": "random directions",
}
"""Arms in the order of a figure: the concept, its variants, then what it is held against."""


def curve_panels(tables: Tables, arms: Mapping[str, str] = ARMS) -> Mapping[str, Chart]:
    """Stance against dose, a panel a side on one scale.

    Args:
        arms: what the arms are called; the first is drawn in colour, "random" as chance.
    """
    frame = style.table(tables, "curves", "side", "arm", "dose", "stance")
    if frame is None or frame["stance"].isna().all():
        return {}
    ends = frame[[column for column in ("stance", "low", "high") if column in frame.columns]]
    scale = alt.Scale(domain=[float(ends.min().min()), float(ends.max().max())], nice=True)
    return {
        side: _curve(frame[frame["side"] == side], side, scale, arms)
        for side in style.SIDES
        if side in set(frame["side"])
    }


def _curve(frame: Frame, side: str, scale: alt.Scale, arms: Mapping[str, str]) -> Chart:
    main = next(iter(arms))
    colour = style.BASE if side == "base" else style.ALIGNED
    x = alt.X("dose:Q", title="dose, in base's σ")
    y = alt.Y("stance:Q", title="stance", scale=scale, axis=alt.Axis(tickCount=5))
    layers: list[Chart] = []
    random = frame[frame["arm"] == "random"]
    if not random.empty:
        by_dose = random.groupby("dose")["stance"]
        band = style.frame({"low": by_dose.quantile(0.025), "high": by_dose.quantile(0.975)}).reset_index()
        area = alt.Chart(band).mark_area(color=style.NULL, opacity=1)
        tooltip = ["dose:Q", style.number_tip("low", "chance from"), style.number_tip("high", "chance to")]
        layers.append(
            area.encode(x=x, y=alt.Y("low:Q", scale=scale, title="stance"), y2="high:Q", tooltip=tooltip)
        )
    others = frame[~frame["arm"].isin(["random", main])]
    if not others.empty:
        others = others.assign(arm=others["arm"].replace(dict(arms)))
        detail = ["arm_id:N"] if "arm_id" in others.columns else []
        lines = alt.Chart(style.thin(others)).mark_line(color=style.SOFT, strokeWidth=1.3, opacity=0.9)
        layers.append(
            lines.encode(
                x=x,
                y=y,
                detail=detail,
                strokeDash=alt.StrokeDash(
                    "arm:N",
                    legend=None,
                    scale=alt.Scale(domain=list(arms.values()), range=_DASHES[: len(arms)]),
                ),
                tooltip=["arm:N", *detail, "dose:Q", style.number_tip("stance")],
            )
        )
    coloured = frame[frame["arm"] == main].replace({"arm": dict(arms)})
    line = alt.Chart(coloured).encode(x=x, y=y, tooltip=["arm:N", "dose:Q", style.number_tip("stance")])
    if {"low", "high"} <= set(coloured.columns):
        band = alt.Chart(coloured).mark_area(color=colour, opacity=0.2)
        layers.append(band.encode(x=x, y=alt.Y("low:Q", scale=scale, title="stance"), y2="high:Q"))
    shape = "circle" if side == "base" else "diamond"
    layers += [
        line.mark_line(color=colour, strokeWidth=2.5),
        line.mark_point(color=colour, shape=shape, filled=True, size=60, opacity=1),
    ]
    return style.finish(style.layer(*layers), 240)


_DASHES = [[1, 0], [7, 3], [2, 3], [1, 0], [1, 0]]


def gains(tables: Tables, arms: Mapping[str, str] = ARMS) -> Chart | None:
    """Slope over all doses of every arm.

    Args:
        arms: what the arms are called, in the order of the figure.
    """
    frame = style.table(tables, "gains", "side", "arm", "gain", "low", "high")
    if frame is None:
        return None
    frame = frame.assign(arm=frame["arm"].replace(dict(arms)))
    tips = [column for column in ("arm_id",) if column in frame.columns]
    chart = style.rows(
        style.thin(frame),
        "arm",
        "gain",
        "gain: nats per token of the margin, per σ of base",
        order=list(arms.values()),
        tips=tips,
    )
    return style.finish(style.layer(style.at(0), chart), style.row_height(frame["arm"].nunique(), 44))


def coherence(tables: Tables) -> Chart | None:
    """Perplexity of steered text under the unsteered base, by dose: broken text has no stance."""
    frame = style.table(tables, "curves", "side", "arm", "dose", "perplexity_ratio")
    if frame is None:
        return None
    concept = frame[(frame["arm"] == "concept") & frame["perplexity_ratio"].notna()]
    if concept.empty:
        return None
    line = alt.Chart(concept).encode(
        x=alt.X("dose:Q", title="dose, in base's σ"),
        y=alt.Y("perplexity_ratio:Q", title="perplexity, × unsteered", axis=alt.Axis(tickCount=5)),
        color=style.side_colour(),
        tooltip=["side:N", "dose:Q", style.number_tip("perplexity_ratio", "× unsteered", ".2f")],
    )
    points = line.mark_point(filled=True, size=48, opacity=1).encode(shape=style.side_shape())
    return style.finish(style.layer(style.level(2), line.mark_line(strokeWidth=2), points), 210)


POSITIONS: Mapping[str, str] = {
    "all": "all prompt tokens",
    "earlier": "all but the last token",
    "last": "the last token alone",
}
"""Groups of prompt tokens in the order of a figure."""


def patching(tables: Tables) -> Mapping[str, Chart]:
    """Base's component written into the aligned model by layer, a panel a group of prompt tokens on one scale."""
    frame = style.table(tables, "patching", "layer", "positions", "effect", "low", "high")
    if frame is None:
        return {}
    scale = alt.Scale(
        domain=[min(0.0, float(frame["low"].min())), max(0.0, float(frame["high"].max()))], nice=True
    )
    return {
        title: _patched(frame[frame["positions"] == positions], scale)
        for positions, title in POSITIONS.items()
        if positions in set(frame["positions"])
    }


def _patched(frame: Frame, scale: alt.Scale) -> Chart:
    title = "share of the gap closed"
    base = alt.Chart(frame).encode(
        x=alt.X("layer:Q", title="layer", axis=alt.Axis(tickMinStep=1)),
        y=alt.Y("effect:Q", title=title, scale=scale, axis=alt.Axis(tickCount=5)),
        tooltip=["layer:Q", style.number_tip("effect"), style.number_tip("low"), style.number_tip("high")],
    )
    spread = base.mark_rule(color=style.ALIGNED, strokeWidth=2)
    line = base.mark_line(color=style.ALIGNED, strokeWidth=2)
    points = base.mark_point(color=style.ALIGNED, shape="diamond", filled=True, size=48, opacity=1)
    ends = spread.encode(y=alt.Y("low:Q", title=title, scale=scale), y2="high:Q")
    return style.finish(style.layer(style.level(0), ends, line, points), 210)


def by_layer(tables: Tables) -> Mapping[str, Chart]:
    """The concept's gain at every steered layer, and aligned's over base's where base's is beyond chance."""
    frame = style.table(
        tables, "by_layer", "layer", "chosen", "side", "gain", "low", "high", "random_q95",
        "ratio", "ratio_low", "ratio_high",
    )  # fmt: skip
    if frame is None or frame["layer"].nunique() < 2:
        return {}
    frame = frame.assign(chosen=frame["chosen"].astype(bool))
    deciding = [style.at(layer) for layer in frame.loc[frame["chosen"], "layer"].unique()]
    chance = frame.groupby("layer", as_index=False)["random_q95"].max()
    chance = chance.assign(under=-chance["random_q95"])
    x = alt.X("layer:Q", title="layer", scale=alt.Scale(zero=True, nice=True), axis=alt.Axis(tickMinStep=1))
    grey = alt.Chart(chance).mark_area(color=style.NULL, opacity=1)
    spread = alt.Chart(frame).mark_rule(strokeWidth=2)
    ends = [style.number_tip("low"), style.number_tip("high"), style.number_tip("random_q95", "chance, 95 %")]
    gain = style.layer(
        grey.encode(x=x, y=alt.Y("under:Q", title=_GAIN), y2="random_q95:Q"),
        *deciding,
        spread.encode(x=x, y=alt.Y("low:Q", title=_GAIN), y2="high:Q", color=style.side_colour()),
        style.layer_lines(frame, "gain", _GAIN, alt.Scale(nice=True), ends),
    )
    panels = {"gain": style.finish(gain, 210)}
    beyond = frame.loc[(frame["side"] == "base") & (frame["low"] > frame["random_q95"]), "layer"]
    bounded = np.isfinite(frame["ratio_low"]) & np.isfinite(frame["ratio_high"])
    ratio = frame[(frame["side"] == "aligned") & frame["layer"].isin(beyond) & bounded]
    if not ratio.empty:
        spread = alt.Chart(ratio).mark_rule(strokeWidth=2, color=style.ALIGNED)
        ends = [style.number_tip("ratio_low", "low"), style.number_tip("ratio_high", "high")]
        share = style.layer(
            style.level(0),
            style.level(1),
            *deciding,
            spread.encode(x=x, y=alt.Y("ratio_low:Q", title=_RATIO), y2="ratio_high:Q"),
            style.layer_lines(ratio, "ratio", _RATIO, alt.Scale(nice=True), ends),
        )
        panels["aligned over base"] = style.finish(share, 210)
    return panels


_GAIN, _RATIO = "gain: nats per token, per σ", "aligned's gain / base's"
