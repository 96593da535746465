"""The table from which `unmask plan` foretells what a sample could find, made from finished audits of one pair:

    python -m unmask.lab.demo.spreads runs/demo-check/base-masked-*

It prints what `verdict/spreads.json` holds.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from unmask.folder import RunFolder


def spreads(runs: Sequence[Path]) -> dict[str, Any]:
    """For every number that a bar looks at, the estimate whose interval is the middling one of these runs.

    Raises:
        ValueError: the runs are not of one pair and profile.
        FileNotFoundError: a folder is no run's.
    """
    found = [RunFolder(run).read("findings.json") for run in runs]
    of = {(f"{held['pair']['base']} → {held['pair']['aligned']}", held["profile"]) for held in found}
    if len(of) != 1:
        raise ValueError(f"the runs must be of one pair and one profile; they are of {sorted(of)}.")
    ((pair, profile),) = of
    by_number: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for held in found:
        for row in {(row["measurement"], row["quantity"]): row for row in _rows(held)}.values():
            by_number.setdefault((row["measurement"], row["quantity"]), []).append(row)
    middling = [sorted(rows, key=_width)[len(rows) // 2] for _, rows in sorted(by_number.items())]
    return {"pair": pair, "profile": profile, "runs": len(runs), "estimates": middling}


def _rows(findings: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for result in findings["results"]:
        for finding in result["findings"]:
            for bar in finding["bars"]:
                yield {
                    "measurement": finding["measurement"],
                    "quantity": bar["quantity"],
                    "unit": bar["unit"],
                    "value": bar["value"],
                    "low": bar["low"],
                    "high": bar["high"],
                    "n": finding["n"],
                }


def _width(row: Mapping[str, Any]) -> float:
    return math.inf if None in (row["low"], row["high"]) else row["high"] - row["low"]


if __name__ == "__main__":
    print(json.dumps(spreads([Path(word) for word in sys.argv[1:]]), indent=1, ensure_ascii=False))
