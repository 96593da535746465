"""The figures of the calibration's page."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import vl_convert

from unmask.report.charts import CONFIG
from unmask.report.charts.style import ALIGNED, BASE, INK, NULL, SOFT, frame, layer
from unmask.stats import rate_interval

Frame = Any  # pandas ships no types
BINS = (-np.inf, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, np.inf)
LEAST_SHOWN = 0.6
"""Coverage; a line that ends lower is cut there."""
LABELS = 250
"""Room for a quantity's name, px: a browser's font may be wider than the one that figures are laid out with."""
ALLOWED = (0.91, 0.985)
"""Shares of 95 % intervals that two hundred cannot tell from .95 at 1 %."""
BIN_NAMES = ("< −2", "−2 … −1", "−1 … −½", "−½ … 0", "0 … ½", "½ … 1", "1 … 2", "> 2")


def power(findings: pd.DataFrame) -> alt.FacetChart:
    """Share of audits that support and that refute each claim, by how far the truth lies from its bar.

    Args:
        findings: of `rates.findings_table`; distances are in units of the smallest effect that the audit says it would
            find, positive where the claim is so.
    """
    rows: list[dict[str, object]] = []
    known: Frame = findings[np.isfinite(findings["times"])].copy()
    sign = np.where(known["truth"] == "supported", 1.0, -1.0)
    places = np.digitize(sign * known["times"], BINS[1:-1])
    known["at"] = [BIN_NAMES[int(place)] for place in places]
    for (claim, at), group in known.groupby(["claim", "at"]):
        for status in ("supported", "refuted"):
            share = rate_interval(int((group["status"] == status).sum()), len(group))
            rows.append(
                {"claim": claim, "at": at, "status": status, "share": share.value, "low": share.low,
                 "high": share.high, "n": len(group)}
            )  # fmt: skip
    table = frame(rows)
    plain = alt.Chart(table).encode(
        x=alt.X(
            "at:O",
            sort=list(BIN_NAMES),
            title="beyond the bar, in detectable effects",
            axis=alt.Axis(labelAngle=-55),
        ),
        color=alt.Color(
            "status:N",
            scale=alt.Scale(domain=["supported", "refuted"], range=[ALIGNED, BASE]),
            legend=alt.Legend(title=None, orient="top"),
        ),
    )
    lines = plain.mark_line(strokeWidth=2).encode(
        y=alt.Y("share:Q", title="share of audits", scale=alt.Scale(domain=[0, 1]))
    )
    ends = plain.mark_rule(strokeWidth=1.5).encode(y="low:Q", y2="high:Q")
    points = plain.mark_point(filled=True, size=45, opacity=1).encode(y="share:Q")
    return (
        layer(lines, ends, points)
        .properties(width=210, height=140)
        .facet(
            facet=alt.Facet("claim:N", title=None, header=alt.Header(labelColor=INK, labelFontSize=12.5)),
            columns=3,
        )
    )


def coverage(table: pd.DataFrame) -> alt.LayerChart:
    """Share of intervals that hold the truth, with its range over batches, beside the band that is allowed.

    Args:
        table: of `rates.coverage`.
    """
    plain = alt.Chart(frame(table)).encode(y=_rows())
    ends = plain.mark_rule(strokeWidth=2, color=BASE).encode(x=_share("low"), x2="high:Q")
    points = plain.mark_point(filled=True, size=60, opacity=1, color=BASE).encode(x=_share("coverage"))
    return layer(*_allowed(), ends, points).properties(width=470, height=18 * len(table) + 10)


def replicates(table: pd.DataFrame) -> alt.LayerChart:
    """Share of intervals that hold the truth: a row a quantity, a dot a planted setting.

    Args:
        table: of `lab.replicates.coverage`.
    """
    shown = frame(table)
    plain = alt.Chart(shown).encode(y=_rows(), x=_share("coverage"))
    inside = alt.FieldRangePredicate(field="coverage", range=list(ALLOWED))
    colour = alt.condition(inside, alt.value(BASE), alt.value(ALIGNED))
    dots = plain.mark_point(filled=True, size=45, opacity=0.75).encode(color=colour)
    height = 18 * table["quantity"].nunique() + 10
    return layer(*_allowed(), dots).properties(width=470, height=height)


def _rows() -> alt.Y:
    return alt.Y("quantity:N", title=None, sort=None, axis=alt.Axis(minExtent=LABELS, labelLimit=LABELS))


def _share(field: str) -> alt.X:
    scale = alt.Scale(domain=[LEAST_SHOWN, 1.0], clamp=True, zero=False)
    return alt.X(f"{field}:Q", scale=scale, title="share of intervals that hold the truth")


def _allowed() -> tuple[alt.Chart, alt.Chart]:
    """The band that is allowed, and where intervals of 95 % should lie."""
    low, high = ALLOWED
    band = alt.Chart(frame({"low": [low], "high": [high]})).mark_rect(color=NULL, opacity=0.6)
    nominal = alt.Chart(frame({"at": [0.95]})).mark_rule(color=SOFT, strokeDash=[3, 3])
    return band.encode(x=_share("low"), x2="high:Q"), nominal.encode(x=_share("at"))


def svg(chart: alt.Chart | alt.LayerChart | alt.FacetChart) -> str:
    """A figure as SVG whose colours are the page's variables."""
    return vl_convert.vegalite_to_svg({**chart.to_dict(), "config": dict(CONFIG)})
