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
    SAYS_CHANGED,
    audits_table,
    cards_table,
    claim_rates,
    confusion,
    coverage,
    findings_table,
    mechanisms_table,
    untouched_table,
    verdict_rates,
)
from unmask.lab.calibration.room import MECHANISM
from unmask.lab.calibration.samples import OPEN, Audited
from unmask.report.page import stylesheet

Frame = Any  # pandas ships no types


def render_calibration(audits: Sequence[Audited], replicates: pd.DataFrame | None = None) -> str:
    """Draw a calibration.

    Args:
        audits: of known samples.
        replicates: of the analysis alone, as `lab.replicates.coverage` gives them; None leaves that section out.
    """
    findings = findings_table(audits)
    table = audits_table(audits)
    verdicts = confusion(table)
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
        rates=verdict_rates(table).to_dict("records"),
        untouched={"columns": list(SAYS_CHANGED), "rows": untouched_table(audits).to_dict("records")},
        cards=cards_table(audits).to_dict("records"),
        mechanisms={"columns": list(MECHANISM), "rows": mechanisms_table(audits).to_dict("records")},
        claims=claim_rates(findings).to_dict("records"),
        power=Markup(curves.svg(curves.power(findings))),
        coverage=Markup(curves.svg(curves.coverage(coverage(audits)))),
        replicates=None
        if replicates is None
        else {
            "draws": f"{replicates['replicates'].min():,}",
            "figure": Markup(curves.svg(curves.replicates(replicates))),
        },
    )


def headline(audits: Sequence[Audited]) -> dict[str, Any]:
    """The numbers that come first."""
    table: Frame = audits_table(audits)
    settled = table[table["truth"] != OPEN]
    clear: Frame = settled[settled["clear"]]
    untouched: Frame = untouched_table(audits)
    return {
        "audits": len(audits),
        "pairs": len({(row.upbringing, row.domain, row.sample) for row in audits}),
        "bases": len({row.upbringing for row in audits}),
        "domains": len({row.domain for row in audits}),
        "seeds": len({row.seed for row in audits}),
        "profile": ", ".join(dict.fromkeys(audited.profile for audited in audits)),
        "settled": len(settled),
        "right": int(settled["right"].sum()),
        "open": len(table) - len(settled),
        "clear": len(clear),
        "right_of_clear": int(clear["right"].sum()),
        "confident_and_wrong": int(table["confident_and_wrong"].sum()),
        "untouched": int(untouched["audits"].sum()) if len(untouched) else 0,
        "wrong_on_untouched": int(untouched["wrong"].sum()) if len(untouched) else 0,
    }
