"""What a sample could find, before it is drawn: as `verdict.power` says of a sample that was, with spreads from others.

Estimates that are not there yet have no interval. Those in `spreads.json` come from audits of a demo pair
(`unmask.lab.demo.spreads` makes it anew), one estimate for every number that a rule looks at: of several audits that
with the middling interval. It is resized to the sample at hand. Another pair, or another domain, may scatter otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from unmask.measurements.base import Estimate, Reading
from unmask.verdict.findings import Detectable
from unmask.verdict.power import ALPHA, detectable, resized
from unmask.verdict.rules import Rule

SPREADS = Path(__file__).parent / "spreads.json"


@dataclass(frozen=True)
class Spreads:
    """How estimates of some audits scattered.

    Attributes:
        pair: which was audited.
        profile: in which size.
        estimates: by measurement and quantity.
    """

    pair: str
    profile: str
    estimates: Mapping[tuple[str, str], Estimate]


@dataclass(frozen=True)
class Foreseen:
    """What a bar's sample could find.

    Attributes:
        claim: the claim's id.
        quantity: the number that the bar looks at.
        bar: the bar in words.
        unit: what the number is counted in.
        n: clusters of the sample to be drawn.
        detectable: the smallest effects on either side; None where the number is counted and has no width.
    """

    claim: str
    quantity: str
    bar: str
    unit: str
    n: int
    detectable: Detectable | None

    def record(self) -> dict[str, object]:
        """As `unmask plan --json` prints it."""
        return asdict(self)


@cache
def reference_spreads() -> Spreads:
    """The spreads that ship."""
    held: dict[str, Any] = json.loads(SPREADS.read_text(encoding="utf-8"))
    rows: list[dict[str, Any]] = held["estimates"]
    return Spreads(
        held["pair"], held["profile"], {(row["measurement"], row["quantity"]): _estimate(row) for row in rows}
    )


def foresee(
    claims: Sequence[str], reading: Reading, rules: Mapping[str, Rule], spreads: Spreads
) -> list[Foreseen]:
    """What each bar of a measurement's claims could find, claims at the level that Holm leaves the one held hardest.

    Args:
        claims: the measurement's.
        reading: of a rehearsal: only the sizes of its samples are looked at.
        rules: decision rules by claim.
        spreads: how estimates scatter; a number that they lack is left out.
    """
    bars = [(claim, bar) for claim in claims for bar in rules[claim].bars]
    known = {
        bar.quantity: spreads.estimates[reading.measurement, bar.quantity]
        for _, bar in bars
        if (reading.measurement, bar.quantity) in spreads.estimates and bar.quantity in reading.estimates
    }
    tested = {
        claim for claim, bar in bars if bar.quantity in known and known[bar.quantity].replicates is not None
    }
    level = ALPHA / max(1, len(tested))
    foreseen: list[Foreseen] = []
    for claim, bar in bars:
        if bar.quantity not in known:
            continue
        estimate, n = known[bar.quantity], reading.estimates[bar.quantity].n
        found = detectable(bar, resized(bar, estimate, n), level) if min(n, estimate.n) > 1 else None
        foreseen.append(Foreseen(claim, bar.quantity, bar.words, estimate.unit, n, found))
    return foreseen


def _estimate(row: Mapping[str, Any]) -> Estimate:
    """A row of the table. Of its replicates the power asks only whether there are any: not where it was counted."""
    low, high = (
        end if row[name] is None else row[name] for name, end in (("low", -np.inf), ("high", np.inf))
    )
    replicates = np.array([low, high]) if high > low else None
    return Estimate(row["value"], low, high, row["unit"], row["n"], None, replicates)
