"""A finding: a claim with its status, its number, and everything that could overturn it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Status = Literal["supported", "refuted", "inconclusive"]


@dataclass(frozen=True)
class ControlResult:
    """One control of a finding.

    Attributes:
        name: what is controlled.
        value: what was measured, None where the measurement could not provide it.
        bar: the bar in words, "≥ 0.9".
        passed: whether the bar is met.
        why: what a failure would mean.
    """

    name: str
    value: float | None
    bar: str
    passed: bool
    why: str


@dataclass(frozen=True)
class BarResult:
    """One bar of a claim's rule: the number it looks at and on which side the interval lies.

    Attributes:
        quantity: the name of the estimate.
        value, low, high: the estimate and its 95 % interval.
        unit: what it is counted in.
        bar: the bar in words, "within ±0.1".
        side: "supports", "refutes" or "undecided".
        p: p-value against the bar, from the bootstrap, adjusted by Holm over the measurement's claims.
    """

    quantity: str
    value: float
    low: float
    high: float
    unit: str
    bar: str
    side: Literal["supports", "refutes", "undecided"]
    p: float | None


@dataclass(frozen=True)
class Finding:
    """A judged claim; the first bar is its headline number."""

    id: str
    measurement: str
    claim: str
    means: str
    not_means: str
    status: Status
    bars: tuple[BarResult, ...]
    controls: tuple[ControlResult, ...]
    null: Mapping[str, object] | None
    n: int
    note: str

    @property
    def estimate(self) -> float:
        return self.bars[0].value

    @property
    def interval(self) -> tuple[float, float]:
        return self.bars[0].low, self.bars[0].high

    @property
    def failed_controls(self) -> tuple[ControlResult, ...]:
        return tuple(control for control in self.controls if not control.passed)

    def record(self) -> dict[str, object]:
        """The finding as `findings.json` holds it."""
        return {
            "id": self.id,
            "measurement": self.measurement,
            "claim": self.claim,
            "means": self.means,
            "not_means": self.not_means,
            "status": self.status,
            "estimate": self.estimate,
            "unit": self.bars[0].unit,
            "interval": list(self.interval),
            "level": 0.95,
            "bars": [vars(bar) for bar in self.bars],
            "null": None if self.null is None else dict(self.null),
            "controls": [vars(control) for control in self.controls],
            "n": self.n,
            "note": self.note,
        }


@dataclass(frozen=True)
class Verdict:
    """What the findings add up to for one pair and one domain.

    Attributes:
        label: "not neutral", "already neutral", "masked", "structural" or "inconclusive".
        sentence: the label in a sentence for a reader who decides, not measures.
        mechanisms: how a mask is made.
        because: ids of the findings that decide.
        blocked_by: for an inconclusive verdict, what stands in the way: "surface.neutral: coherent 0.31, bar ≥ 0.9".
    """

    label: str
    sentence: str
    mechanisms: tuple[str, ...]
    because: tuple[str, ...]
    blocked_by: tuple[str, ...]

    def record(self) -> dict[str, object]:
        """The verdict as `findings.json` holds it."""
        return {
            "label": self.label,
            "sentence": self.sentence,
            "mechanisms": list(self.mechanisms),
            "because": list(self.because),
            "blocked_by": list(self.blocked_by),
        }
