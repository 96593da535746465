"""What a calibration leaves behind: small tables, a page, and the counts that findings quote."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pandas as pd

from unmask.lab.calibration.page import headline, render_calibration
from unmask.lab.calibration.rates import Tables, confusion
from unmask.verdict.calibrated import ErrorRates

_COUNTS = tuple(one.name for one in fields(ErrorRates))
_FINDINGS = ("upbringing", "domain", "sample", "seed", "claim", "truth", "status", "estimate", "low", "high", "n",
             "planted", "bar", "effect", "detectable", "times", "clear", "failed")  # fmt: skip


def write_calibration(tables: Tables, folder: Path, replicates: pd.DataFrame | None = None) -> None:
    """Write tables as CSV by their names, `page.html` and `rates.json`.

    Args:
        tables: of a calibration's audits.
        folder: where to.
        replicates: as `lab.replicates.coverage` gives them; also written, as `replicates.csv`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = {one.name: getattr(tables, one.name) for one in fields(tables)}
    written["findings"] = tables.findings[list(_FINDINGS)]
    if replicates is not None:
        written["replicates"] = replicates
    for name, table in written.items():
        table.to_csv(folder / f"{name}.csv", index=False, float_format="%.4g", lineterminator="\n")
    (folder / "page.html").write_text(render_calibration(tables, replicates), encoding="utf-8")
    (folder / "rates.json").write_text(
        json.dumps(published(tables.claims), indent=1) + "\n", encoding="utf-8"
    )


def published(claims: pd.DataFrame) -> dict[str, dict[str, dict[str, int]]]:
    """The counts that findings quote, by profile and claim: what `verdict/calibration.json` holds."""
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for row in claims.to_dict("records"):
        counts.setdefault(str(row["profile"]), {})[str(row["claim"])] = {
            name: int(row[name]) for name in _COUNTS
        }
    return counts


def summary(tables: Tables) -> str:
    """The numbers that come first and the verdicts, for a terminal."""
    numbers = headline(tables)
    return "\n".join(
        [
            f"{numbers['audits']} audits of {numbers['pairs']} pairs ({numbers['profile']}), "
            f"{numbers['open']} of them too near a bar to count.",
            f"Right where the effect is clear: {numbers['right_of_clear']} of {numbers['clear']}; "
            f"right in all that count: {numbers['right']} of {numbers['settled']}.",
            f"Confident and wrong: {numbers['confident_and_wrong']}; "
            f"where the concept was left alone {numbers['wrong_on_untouched']} of {numbers['untouched']}.",
            tables.verdicts.to_string(index=False),
            confusion(tables.audits).to_string(),
        ]
    )
