"""Figures of the variance measurement: how far the models' states spread along the direction."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import numpy as np
import pandas as pd

from unmask.report.charts import style
from unmask.report.charts.style import Chart, Frame, Tables

FRAMINGS: Mapping[str, str] = {"template": "with the chat template", "plain": "without a template"}


def projection_panels(tables: Tables) -> Mapping[str, Chart]:
    """How open questions spread along the shared direction, a panel a framing."""
    frame = style.table(tables, "projections", "side", "framing", "projection")
    if frame is None:
        return {}
    frame = frame.dropna(subset=["projection"])
    framings = [framing for framing in FRAMINGS if framing in set(frame["framing"])]
    return {FRAMINGS[framing]: _spread(frame[frame["framing"] == framing]) for framing in framings}


def _spread(frame: Frame) -> Chart:
    """Each side's density above a tick for every question."""
    values = frame["projection"].to_numpy(float)
    margin = 0.5 * float(values.std())
    grid = np.linspace(values.min() - margin, values.max() + margin, 120)
    sides = [
        _density(group["projection"].to_numpy(float), grid, str(side))
        for side, group in frame.groupby("side")
    ]
    densities = style.frame(pd.concat(sides, ignore_index=True))
    x = alt.X("projection:Q", title="projection on the direction", scale=alt.Scale(nice=False))
    curves = (
        alt.Chart(densities)
        .mark_area(line={"strokeWidth": 2}, fillOpacity=0.18)
        .encode(
            x=x,
            y=alt.Y("density:Q", title=None, stack=None, axis=None),
            color=style.side_colour(),
            tooltip=["side:N", style.number_tip("projection")],
        )
    )
    # A mark on each summit tells the curves apart without colour.
    summits = densities.loc[densities.groupby("side")["density"].idxmax()]
    peaks = alt.Chart(summits).mark_point(filled=True, size=60, opacity=1)
    marks = peaks.encode(
        x=x, y="density:Q", color=style.side_colour(), shape=style.side_shape(), tooltip=["side:N"]
    )
    top = float(densities["density"].max())
    below = frame["side"].map({"base": -0.06 * top, "aligned": -0.14 * top})
    ticks = (
        alt.Chart(style.thin(frame.assign(row=below)))
        .mark_tick(thickness=1.2, height=9, opacity=0.7)
        .encode(
            x=x,
            y=alt.Y("row:Q", axis=None, scale=alt.Scale(domain=[-0.2 * top, 1.02 * top])),
            color=style.side_colour(),
            tooltip=[
                alt.Tooltip("side:N"),
                *_words(frame, "topic", "question"),
                style.number_tip("projection"),
            ],
        )
    )
    return style.finish(style.layer(curves, ticks, marks), 210)


def _words(frame: Frame, *columns: str) -> list[alt.Tooltip]:
    return [alt.Tooltip(f"{column}:N") for column in columns if column in frame.columns]


def _density(values: np.ndarray, grid: np.ndarray, side: str) -> Frame:
    """A Gaussian kernel density with Silverman's bandwidth."""
    width = 1.06 * max(float(values.std()), 1e-9) * max(len(values), 1) ** -0.2
    z = (grid[:, None] - values[None, :]) / width
    density = np.exp(-0.5 * z**2).sum(1) / (max(len(values), 1) * width * np.sqrt(2 * np.pi))
    return style.frame({"side": side, "projection": grid, "density": density})


def specificity(tables: Tables) -> Chart | None:
    """Log ratio of spreads along this direction, unrelated ones and random ones."""
    frame = style.table(tables, "specificity", "kind", "axis", "log_ratio")
    if frame is None:
        return None
    random = frame.loc[frame["kind"] == "random", "log_ratio"].dropna().to_numpy(float)
    x = alt.X(
        "log_ratio:Q", title="log σ-ratio, aligned over base (0: same spread)", scale=alt.Scale(zero=True)
    )
    layers: list[Chart] = [style.at(0)]
    if len(random):
        counts, edges = np.histogram(random, bins=min(40, max(8, len(random) // 12)))
        bins = style.frame({"log_ratio": edges[:-1], "end": edges[1:], "axes": counts, "none": 0})
        bars = alt.Chart(bins).mark_rect(color=style.NULL, opacity=1)
        y = alt.Y("axes:Q", title="random axes", axis=alt.Axis(tickCount=4))
        tooltip = [
            style.number_tip("log_ratio", "from"),
            style.number_tip("end", "to"),
            alt.Tooltip("axes:Q"),
        ]
        layers.append(bars.encode(x=x, x2="end:Q", y=y, y2="none:Q", tooltip=tooltip))
        layers.append(style.at(float(np.quantile(random, 0.05))))
    named = frame[frame["kind"] != "random"].assign(
        label=frame["axis"].astype(str).where(frame["kind"] != "concept", "this concept")
    )
    named = named.sort_values("log_ratio").assign(row=np.arange(len(named)) % 6)
    is_concept = "datum.kind === 'concept'"
    pins = alt.Chart(named).encode(x=x, tooltip=["label:N", "kind:N", style.number_tip("log_ratio")])
    strong = alt.condition(is_concept, alt.value(style.INK), alt.value(style.SOFT))
    place = alt.Y("row:O", axis=None, scale=alt.Scale(paddingOuter=0.6, domain=list(range(6))))
    pin_layers = style.layer(
        pins.mark_rule(strokeWidth=1.2).encode(color=strong),
        pins.mark_text(align="left", dx=5, fontSize=11.5).encode(text="label:N", y=place, color=strong),
    )
    return style.finish(style.layer(*layers, pin_layers).resolve_scale(y="independent"), 240)


def classes(tables: Tables) -> Chart | None:
    """Spread between the poles, within each, and their ratio d′."""
    frame = style.table(tables, "classes", "side", "within", "between", "d_prime")
    if frame is None:
        return None
    names = {"between": "between the poles", "within": "within a pole", "d_prime": "d′"}
    long = frame.melt("side", list(names), "what", "value")
    long = long.assign(what=long["what"].map(names))
    chart = style.rows(
        long, "what", "value", "σ units", order=list(names.values()), low=None, high=None
    )  # fmt: skip
    return style.finish(style.layer(style.at(0), chart), style.row_height(3))
