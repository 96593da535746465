"""What a calibration leaves behind: small tables, a page, and the counts that findings quote."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd

from unmask.lab.calibration.page import headline, render_calibration
from unmask.lab.calibration.rates import (
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
from unmask.lab.calibration.samples import Audited
from unmask.verdict.calibrated import ErrorRates

_COUNTS = tuple(one.name for one in fields(ErrorRates))
_FINDINGS = ("upbringing", "domain", "sample", "seed", "claim", "truth", "status", "estimate", "low", "high", "n",
             "planted", "bar", "effect", "detectable", "times", "clear", "failed")  # fmt: skip


def write_calibration(
    audits: Sequence[Audited], folder: Path, replicates: pd.DataFrame | None = None
) -> None:
    """Write tables as CSV (those of `rates`, by the name of their function), `page.html` and `rates.json`.

    Args:
        audits: of known samples.
        folder: where to.
        replicates: as `lab.replicates.coverage` gives them; also written, as `replicates.csv`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ordered = sorted(audits, key=lambda row: (row.profile, row.domain, row.upbringing, row.sample, row.seed))
    findings = findings_table(ordered)
    verdicts = audits_table(ordered)
    tables = {
        "audits": verdicts,
        "verdicts": verdict_rates(verdicts),
        "untouched": untouched_table(ordered),
        "cards": cards_table(ordered),
        "findings": findings[list(_FINDINGS)],
        "claims": claim_rates(findings),
        "coverage": coverage(ordered),
        "mechanisms": mechanisms_table(ordered),
        **({} if replicates is None else {"replicates": replicates}),
    }
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False, float_format="%.4g", lineterminator="\n")
    (folder / "page.html").write_text(render_calibration(ordered, replicates), encoding="utf-8")
    (folder / "rates.json").write_text(json.dumps(published(findings), indent=1) + "\n", encoding="utf-8")


def published(findings: pd.DataFrame) -> dict[str, dict[str, dict[str, int]]]:
    """The counts that findings quote, by profile and claim: what `verdict/calibration.json` holds."""
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for row in claim_rates(findings).to_dict("records"):
        counts.setdefault(str(row["profile"]), {})[str(row["claim"])] = {
            name: int(row[name]) for name in _COUNTS
        }
    return counts


def summary(audits: Sequence[Audited]) -> str:
    """The numbers that come first and the verdicts, for a terminal."""
    numbers: dict[str, Any] = headline(audits)
    table = audits_table(audits)
    return "\n".join(
        [
            f"{numbers['audits']} audits of {numbers['pairs']} pairs ({numbers['profile']}), "
            f"{numbers['open']} of them too near a bar to count.",
            f"Right where the effect is clear: {numbers['right_of_clear']} of {numbers['clear']}; "
            f"right in all that count: {numbers['right']} of {numbers['settled']}.",
            f"Confident and wrong: {numbers['confident_and_wrong']}; "
            f"where the concept was left alone {numbers['wrong_on_untouched']} of {numbers['untouched']}.",
            verdict_rates(table).to_string(index=False),
            confusion(table).to_string(),
        ]
    )
