"""Known samples: pairs whose truth is known before they are audited, and what an audit of one came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

OPEN = "open"
"""The truth of a pair that lies so near a bar that more than one verdict may be right; it counts for none."""
BENEATH = ("structural", "disconnected", "compressed", "rescaled", "rotated")
"""What an audit may say was done to the concept beneath the surface."""


@dataclass(frozen=True)
class Truth:
    """What is so of a pair.

    Attributes:
        verdict: the label that is right, or `OPEN`.
        possible: the labels that may be right, one where the verdict is settled; any other that is confident is wrong.
        mechanisms: what must be named where the verdict is `masked`.
        allowed: what may be named, those included.
        intended: the mechanisms that the recipe set out to plant, seen or not.
        claims: by claim id, "supported" or "refuted" where the claim is true or false.
        unjudged: claims a control of which fails, so that neither is to be said. A claim that is in neither is open.
        card: by claim id, what the organism's card says follows from the edit, "supported" or "refuted".
        planted: large-sample values by the name of the estimate they belong to.
    """

    verdict: str
    possible: tuple[str, ...]
    mechanisms: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    intended: tuple[str, ...] = ()
    claims: Mapping[str, str] = field(default_factory=dict)
    unjudged: tuple[str, ...] = ()
    card: Mapping[str, str] = field(default_factory=dict)
    planted: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """A pair whose truth is known.

    Attributes:
        name: of the organism, such as "cut, muted".
        kind: what was done to the aligned model.
        strength: how much of it; None where it has no strength.
        base, aligned: transformers folders.
        upbringing: name of the base model.
        domain: name or folder.
        truths: what is so, by the layer that an audit steers, on which its causal and spread claims are.
    """

    name: str
    kind: str
    strength: float | None
    base: Path
    aligned: Path
    upbringing: str
    domain: str
    truths: Mapping[int, Truth]


@dataclass(frozen=True)
class Audited:
    """One audit of a sample.

    Attributes:
        sample: its name.
        kind, strength, upbringing, domain: the sample's.
        profile, seed: the audit's.
        layer: which it steered.
        seconds: how long it took.
        verdict: the label found, of which `truth` holds the right one.
        mechanisms: as found.
        findings: by claim: status, n, the controls that failed and, for each bar, estimate, interval and the effects
            that it could have found.
        truth: the sample's, at the layer that was steered.
    """

    sample: str
    kind: str
    strength: float | None
    upbringing: str
    domain: str
    profile: str
    seed: int
    layer: int
    seconds: float
    verdict: str
    mechanisms: tuple[str, ...]
    blocked_by: tuple[str, ...]
    findings: Mapping[str, Any]
    truth: Truth

    @property
    def right(self) -> bool:
        """Whether the verdict is right, and so are the mechanisms of a mask."""
        named = set(self.truth.mechanisms) <= set(self.mechanisms) <= set(self.truth.allowed)
        return self.verdict == self.truth.verdict and (self.verdict != "masked" or named)

    @property
    def confident_and_wrong(self) -> bool:
        """Whether it says something that cannot be so: another verdict, or a mechanism that is none."""
        if self.verdict == "inconclusive":
            return False
        return self.verdict not in self.truth.possible or bool(set(self.mechanisms) - set(self.truth.allowed))

    @property
    def changed(self) -> tuple[str, ...]:
        """What it says was done to the concept beneath the surface: a verdict or mechanisms of `BENEATH`."""
        return tuple(name for name in (self.verdict, *self.mechanisms) if name in BENEATH)

    def record(self) -> dict[str, Any]:
        """The audit as a JSON object."""
        return asdict(self)

    @staticmethod
    def of_record(record: object) -> Audited:
        """The audit that `record` gave."""
        return _AUDITED.validate_python(record)


_AUDITED = TypeAdapter(Audited)
