"""How often a claim was right on models whose truth is known, in words for a reader who decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NEARLY = 0.9
"""Share of the calibrated sample from which on a finding's own counts as of that size."""


def error_rates(finding: Mapping[str, Any], profile: str | None) -> str:
    """What the calibration measured of a finding's claim at its sample size; says so where it measured nothing.

    Args:
        finding: as findings.json holds it.
        profile: the audit's sample sizes; of none, or in a run without rates, nothing is said.
    """
    if profile is None or "error_rates" not in finding:
        return ""
    rates: Mapping[str, int] | None = finding["error_rates"]
    if rates is None:
        return f"How often this claim is right at the sample size {profile} has not been measured."
    parts = [
        _part(
            "true",
            rates["true"],
            rates["refuted_if_true"],
            "refuted",
            rates["clear_true"],
            rates["found_true"],
        ),
        _part(
            "false",
            rates["false"],
            rates["supported_if_false"],
            "supported",
            rates["clear_false"],
            rates["found_false"],
        ),
    ]
    said = "; ".join(part for part in parts if part)
    here = finding["n"]
    other = f" (there n was {rates['n']}, here it is {here})" if here < NEARLY * rates["n"] else ""
    return f"On small models of a made-up world whose truth is known, at the sample size {profile}{other}: {said}."


def _part(truth: str, n: int, wrong: int, opposite: str, clear: int, found: int) -> str:
    if n == 0:
        return f"no audit in which the claim was {truth}"
    right = {"true": "supported", "false": "refuted"}[truth]
    clearly = f", and {right} in {found} of the {clear} in which clearly so" if clear else ""
    return f"{opposite} in {wrong} of {n} audits in which it was {truth}{clearly}"
