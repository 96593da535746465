"""A finding: a claim with its status, its number, and everything that could overturn it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
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
class Effect:
    """The smallest effect that a sample would have found.

    Attributes:
        start: the true value of the quantity from which on it is found; for "within ±0.1" a distance from 0, which
            supports up to `start` and refutes from it.
        beyond: how far that lies from the bar.
        level: two-sided level of the test.
    """

    start: float
    beyond: float
    level: float


@dataclass(frozen=True)
class Detectable:
    """What the sample behind a bar would have shown with power .8; `verdict.power` says how it is reckoned.

    Attributes:
        supports: the smallest effect on the bar's supporting side; None where no possible value would have been found.
        refutes: the same on the other side; None also for a bar that may not refute.
        power: the chance with which each would have been found.
    """

    supports: Effect | None
    refutes: Effect | None
    power: float = 0.8


@dataclass(frozen=True)
class SampleNeeded:
    """The sample that would settle an inconclusive finding with power .8 if its estimates stand.

    Attributes:
        times: how many times as large it is.
        n: the finding's `n` times that, rounded up.
        status: what the finding would be.
    """

    times: float
    n: int
    status: Literal["supported", "refuted"]


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
        detectable: the smallest effects that this sample would have found; None where the number has no width.
    """

    quantity: str
    value: float
    low: float
    high: float
    unit: str
    bar: str
    side: Literal["supports", "refutes", "undecided"]
    p: float | None
    detectable: Detectable | None = None


@dataclass(frozen=True)
class Finding:
    """A judged claim; the first bar is its headline number.

    Attributes:
        null: what the first bar's number that has a null would be by chance: of which quantity, the kind of null, its
            95 % quantile, how many samples, p.
        sample_needed: for an inconclusive finding, the sample that would settle it; None where more of the same would
            not, or something else than its width stands in the way.
    """

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
    sample_needed: SampleNeeded | None = None

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
        bars = [asdict(bar) for bar in self.bars]
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
            "detectable": bars[0]["detectable"],
            "bars": bars,
            "null": None if self.null is None else dict(self.null),
            "controls": [vars(control) for control in self.controls],
            "n": self.n,
            "sample_needed": None if self.sample_needed is None else asdict(self.sample_needed),
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
