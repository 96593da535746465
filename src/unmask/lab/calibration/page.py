"""The calibration as one HTML page in the report's style, without scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from unmask.lab.calibration import curves
from unmask.lab.calibration.rates import SAYS_CHANGED, Tables, confusion
from unmask.lab.calibration.room import MECHANISM
from unmask.lab.calibration.samples import OPEN
from unmask.report.page import stylesheet

Frame = Any  # pandas ships no types


def render_calibration(tables: Tables, replicates: pd.DataFrame | None = None) -> str:
    """Draw a calibration.

    Args:
        tables: of a calibration's audits.
        replicates: of the analysis alone, as `lab.replicates.coverage` gives them; None leaves that section out.
    """
    verdicts = confusion(tables.audits)
    template = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    ).from_string((Path(__file__).parent / "page.html.j2").read_text(encoding="utf-8"))
    return template.render(
        style=Markup(stylesheet()),
        headline=headline(tables),
        verdicts={
            "columns": list(verdicts.columns),
            "rows": [(truth, list(row.items())) for truth, row in verdicts.iterrows()],
        },
        rates=tables.verdicts.to_dict("records"),
        kinds=tables.kinds.to_dict("records"),
        untouched=tables.untouched.to_dict("records"),
        beneath={"columns": list(SAYS_CHANGED), "rows": tables.beneath.to_dict("records")},
        cards=tables.cards.to_dict("records"),
        mechanisms={"columns": list(MECHANISM), "rows": tables.mechanisms.to_dict("records")},
        claims=tables.claims.to_dict("records"),
        power=Markup(curves.svg(curves.power(tables.findings))),
        coverage=Markup(curves.svg(curves.coverage(tables.coverage))),
        replicates=None
        if replicates is None
        else {
            "draws": f"{replicates['replicates'].min():,}",
            "figure": Markup(curves.svg(curves.replicates(replicates))),
        },
    )


def headline(tables: Tables) -> dict[str, Any]:
    """The numbers that come first."""
    table: Frame = tables.audits
    settled = table[table["truth"] != OPEN]
    clear: Frame = settled[settled["clear"]]
    untouched: Frame = tables.untouched
    return {
        "audits": len(table),
        "pairs": len(table[["upbringing", "domain", "sample"]].drop_duplicates()),
        "bases": table["upbringing"].nunique(),
        "domains": table["domain"].nunique(),
        "seeds": table["seed"].nunique(),
        "profile": ", ".join(dict.fromkeys(table["profile"])),
        "settled": len(settled),
        "right": int(settled["right"].sum()),
        "open": len(table) - len(settled),
        "clear": len(clear),
        "right_of_clear": int(clear["right"].sum()),
        "confident_and_wrong": int(table["confident_and_wrong"].sum()),
        "untouched": int(untouched["audits"].sum()),
        "untouched_masks": int(untouched.loc[untouched["surface"] == "neutral", "audits"].sum()),
        "wrong_on_untouched": int(untouched["wrong"].sum()),
    }
