"""The calibration as one HTML page in the report's style, without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from unmask.lab.calibration import curves
from unmask.lab.calibration.rates import (
    MECHANISM,
    UNTOUCHED,
    audits_table,
    claim_rates,
    confusion,
    coverage,
    findings_table,
    mechanisms_table,
)
from unmask.lab.calibration.samples import OPEN, Audited
from unmask.report.page import stylesheet

Frame = Any  # pandas ships no types


def render_calibration(audits: Sequence[Audited], replicates: pd.DataFrame | None = None) -> str:
    """Draw a calibration.

    Args:
        audits: of known samples.
        replicates: of the analysis alone, columns name, coverage, low, high; None leaves that section out.
    """
    findings = findings_table(audits)
    verdicts = confusion(audits_table(audits))
    template = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    ).from_string((Path(__file__).parent / "page.html.j2").read_text(encoding="utf-8"))
    return template.render(
        style=Markup(stylesheet()),
        headline=headline(audits),
        verdicts={
            "columns": list(verdicts.columns),
            "rows": [(truth, list(row.items())) for truth, row in verdicts.iterrows()],
        },
        mechanisms={"columns": list(MECHANISM), "rows": mechanisms_table(audits).to_dict("records")},
        claims=claim_rates(findings).to_dict("records"),
        power=Markup(curves.svg(curves.power(findings))),
        coverage=Markup(curves.svg(curves.coverage(coverage(audits), "quantity"))),
        replicates=None if replicates is None else Markup(curves.svg(curves.coverage(replicates, "name"))),
    )


def headline(audits: Sequence[Audited]) -> dict[str, Any]:
    """The numbers that come first."""
    table: Frame = audits_table(audits)
    settled = table[table["truth"] != OPEN]
    clear, untouched = settled[settled["clear"]], settled[settled["kind"].isin(UNTOUCHED)]
    pairs = {(row.upbringing, row.domain, row.sample) for row in audits}
    return {
        "audits": len(audits),
        "organisms": len(pairs),
        "profile": ", ".join(dict.fromkeys(audited.profile for audited in audits)),
        "clear": len(clear),
        "right_of_clear": int(clear["right"].sum()),
        "untouched": len(untouched),
        "wrong_on_untouched": int(untouched["confident_and_wrong"].sum()),
        "open": len(table) - len(settled),
        "right": int(settled["right"].sum()),
        "confident_and_wrong": int(settled["confident_and_wrong"].sum()),
    }
