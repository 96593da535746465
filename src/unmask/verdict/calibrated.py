"""How often each claim was right and wrong on models whose truth is known, as the calibration measured it.

`calibration.json` is the `rates.json` that `unmask lab calibrate` writes (`make calibration` puts it here) and holds
counts alone; docs/calibration.md says how they came about.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class ErrorRates:
    """Counts of audits of known samples, at one profile's sample sizes.

    Attributes:
        n: clusters behind a finding, the median.
        true, false: audits in which the claim is so, and in which it is not.
        supported_if_false, refuted_if_true: of those, how many said the opposite.
        clear_true, clear_false: audits whose effect was at least twice the smallest that the audit says it could find.
        found_true, found_false: of those, how many had the right status.
    """

    n: int
    true: int
    false: int
    supported_if_false: int
    refuted_if_true: int
    clear_true: int
    clear_false: int
    found_true: int
    found_false: int


def error_rates(profile: str, claim: str) -> ErrorRates | None:
    """The measured error rates of a claim at a profile's sample sizes; None where none were measured."""
    counts = _published().get(profile, {}).get(claim)
    return None if counts is None else ErrorRates(**counts)


def error_record(profile: str, claim: str) -> dict[str, int] | None:
    """The same as findings.json holds it."""
    rates = error_rates(profile, claim)
    return None if rates is None else asdict(rates)


@cache
def _published() -> Mapping[str, Mapping[str, Mapping[str, int]]]:
    path = files("unmask.verdict") / "calibration.json"
    return dict[str, Any](json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
