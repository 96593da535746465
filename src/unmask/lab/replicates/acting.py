"""Planted pushes and pressure: margins that follow a push along a direction, and facts that askers argue with.

The requests are an audit's own; what a model would have scored is drawn anew for each sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import numpy.typing as npt

from unmask.domains import load_domain
from unmask.domains.sample import take_evenly
from unmask.domains.schema import Question
from unmask.lab.replicates.study import SIZES, Floats, Study
from unmask.measurements.base import Context, Estimate
from unmask.measurements.dose_response import Curves, ask_curves, read_gains, slope_at_zero
from unmask.measurements.steering import UNRELATED, Arm, Push, pushes
from unmask.measurements.sycophancy import ask_facts, fact_shifts
from unmask.models.edits import Vector
from unmask.models.prompts import Frame
from unmask.runner.records import Records
from unmask.runner.requests import SIDES, Request, Score

FRAME = Frame("plain", "User: ", "\nAssistant:", True, " ", "planted")
LARGE = 400_000
"""Topics behind a large-sample value."""


class _LogProb(float):
    """The log-probability of an answer of one token, which is its own mean."""

    def mean(self) -> float:
        return self


class PlantedScores(Records):
    """The scores of requests that live as long as this does, looked up by identity: hashing thousands takes longer
    than all of the analysis."""

    def __init__(self, requests: Iterable[Request], values: Iterable[float]) -> None:
        super().__init__({})
        self._scores = {id(request): _LogProb(v) for request, v in zip(requests, values, strict=True)}

    def array(self, request: Request) -> npt.NDArray[np.float32]:
        return cast("npt.NDArray[np.float32]", self._scores[id(request)])


def _context(seed: int) -> Context:
    domain, rng = load_domain("partisan"), np.random.default_rng(0)
    sampled = domain.model_copy(
        update={
            "facts": take_evenly(domain.facts, SIZES.facts, lambda f: f.topic, rng),
            "questions": take_evenly(domain.questions, SIZES.questions, lambda q: q.topic, rng),
        }
    )
    return Context(sampled, SIZES, FRAME, seed, 4, {"base": "planted", "aligned": "planted"})


@dataclass(frozen=True)
class Moved:
    """How pushes move a pair's margins.

    Attributes:
        ratio: the aligned model's slope over base's.
        gain: base's mean slope, nats per token a dose.
        bend: the margin at which a curve levels off, nats per token.
    """

    ratio: float
    gain: float = 0.2
    bend: float = 1.5

    def slopes(self, rng: np.random.Generator, topics: int) -> tuple[Floats, Floats]:
        """Each topic's slope in base and in the aligned model `[topics]`; the two resemble one another."""
        base = self.gain * (1.0 + 0.8 * rng.normal(size=topics))
        return base, self.ratio * base + 0.4 * self.gain * rng.normal(size=topics)

    def margins(self, slopes: Floats, doses: Floats, rng: np.random.Generator) -> Floats:
        """`[doses, topics]`, with a resting margin and a little noise in every score."""
        bent = self.bend * np.tanh(doses[:, None] * slopes / self.bend)
        return rng.normal(size=len(slopes)) + bent + 0.05 * rng.normal(size=bent.shape)


RANDOM_SLOPE = 0.03
"""Sd of random directions' slopes, nats per token a dose."""


def causality(setting: str, moved: Moved) -> Study:
    """Forty questions along the concept, twenty on eight topics along the unrelated one, eight along random ones."""
    ctx = _context(0)
    doses = np.linspace(-4.0, 4.0, SIZES.doses)
    unit = Vector("planted", np.ones(2, dtype=np.float32))
    arms = [Arm("concept", "concept", unit), Arm("unrelated", UNRELATED, unit)]
    arms += [Arm("random", f"random {k}", unit) for k in range(SIZES.random_arms)]
    probes = [
        Question(topic=f"sentiment {k % 8}", question=f"probe {k}", a=f"dull {k}", b=f"bright {k}")
        for k in range(SIZES.steered_questions // 2)
    ]
    asked = {
        "concept": ctx.domain.questions,
        "unrelated": probes,
        "random": ctx.domain.questions[: SIZES.arm_questions],
    }
    push = Push(np.ones(2), dict.fromkeys(SIDES, 1.0), 1.0, 1.0)
    curves = ask_curves(arms, pushes(1, push), doses, asked, FRAME)
    requests = [score for curve in curves.values() for score in curve.requests]

    def sample(rng: np.random.Generator) -> dict[str, Estimate]:
        values = _margins(curves, moved, rng)
        scores = np.stack([-values / 2, values / 2], -1).ravel()
        records = PlantedScores(requests, scores.tolist())
        return read_gains(records, curves, replace(ctx, seed=int(rng.integers(2**31))))[0]

    def truth() -> dict[str, float]:
        rng, at_zero = np.random.default_rng(0), slope_at_zero(doses)
        base, aligned = (
            float((at_zero @ moved.margins(slopes, doses, rng)).mean()) for slopes in moved.slopes(rng, LARGE)
        )
        unrelated = {"unrelated_moves_aligned": moved.gain}
        return {"gain_base": base, "gain_aligned": aligned, "gain_ratio": aligned / base, **unrelated}

    return Study("causality", setting, truth, sample)


def _margins(curves: Curves, moved: Moved, rng: np.random.Generator) -> Floats:
    """Every curve's margins, one after another, each `[doses, questions]`."""
    first = next(iter(curves.values()))
    concept: dict[str, Floats] = dict(zip(SIDES, moved.slopes(rng, len(first.questions)), strict=True))
    values: list[Floats] = []
    for (side, _), curve in curves.items():
        n = len(curve.questions)
        if curve.arm.kind == "concept":
            margins = moved.margins(concept[side], curve.doses, rng)
        elif curve.arm.kind == "unrelated":
            _, topic = np.unique([q.topic for q in curve.questions], return_inverse=True)
            slopes = moved.gain * (
                1.0 + 0.5 * rng.normal(size=curve.n_topics)[topic] + 0.4 * rng.normal(size=n)
            )
            margins = replace(moved, bend=1e6).margins(slopes, curve.doses, rng)
        else:
            slopes = RANDOM_SLOPE * (rng.normal() + rng.normal(size=n))
            margins = replace(moved, bend=1e6).margins(slopes, curve.doses, rng)
        values.append(margins.ravel())
    return np.concatenate(values)


@dataclass(frozen=True)
class Pressed:
    """How far words move a fact's margin, in nats per token.

    Attributes:
        belief: an asker who is sure.
        mention: words whose truth the asker leaves open.
    """

    belief: float
    mention: float


REQUESTS = ("plain", "both", "unhedge")
WAYS: Mapping[str, tuple[int, int]] = {"believed": (1, 2), "mentioned": (3, 4)}
"""Where the last axis of planted fact margins has the true words and the false ones."""


def sycophancy(setting: str, pressed: Mapping[str, Pressed]) -> Study:
    """Twenty facts on thirteen topics under three requests."""
    ctx = _context(0)
    pressure = ask_facts(ctx, REQUESTS)
    requests: list[Score] = [
        score for side in SIDES for asks in pressure[side].values() for ask in asks for score in ask.requests
    ]
    _, topic = np.unique([fact.topic for fact in ctx.domain.facts], return_inverse=True)

    def sample(rng: np.random.Generator) -> Mapping[str, Estimate]:
        margins = _fact_margins(pressed, topic, rng)
        scores = np.stack([margins / 2, -margins / 2], -1).ravel()
        records = PlantedScores(requests, scores.tolist())
        return fact_shifts(records, pressure, replace(ctx, seed=int(rng.integers(2**31))))[0]

    def truth() -> dict[str, float]:
        large = np.tanh(_fact_margins(pressed, np.arange(LARGE // 4), np.random.default_rng(0)) / 2)
        planted: dict[str, float] = {}
        for side, stances in zip(SIDES, large, strict=True):  # [requests, facts, ways to ask]
            known = stances[..., 0] > 0
            shift = {name: (stances[..., i] - stances[..., j]) / 2 for name, (i, j) in WAYS.items()}
            believed, mentioned = (
                float(np.mean([moved[k].mean() for moved, k in zip(shift[name], known, strict=True)]))
                for name in WAYS
            )
            planted[f"fact_shift_{side}"] = believed
            planted[f"fact_shift_beyond_mention_{side}"] = believed - mentioned
        return planted

    return Study("sycophancy", setting, truth, sample)


def _fact_margins(
    pressed: Mapping[str, Pressed], topic: npt.NDArray[np.int64], rng: np.random.Generator
) -> Floats:
    """`[sides, requests, facts, 5]`: alone, to one sure of the truth and of the falsehood, where each is mentioned."""
    n, count = len(topic), int(topic.max()) + 1
    alone = 1.5 + rng.normal(size=count)[topic] + rng.normal(size=n)
    moves = 1.0 + 0.6 * rng.normal(size=count)[topic] + 0.6 * rng.normal(size=n)
    sides: list[Floats] = []
    for side in SIDES:
        believed, mentioned = (
            size * moves * (1.0 + 0.3 * rng.normal(size=(len(REQUESTS), n)))
            for size in (pressed[side].belief, pressed[side].mention)
        )
        rest = alone + 0.3 * rng.normal(size=(len(REQUESTS), n))
        sides.append(
            np.stack([rest, rest + believed, rest - believed, rest + mentioned, rest - mentioned], -1)
        )
    return np.stack(sides) + 0.1 * rng.normal(size=(2, len(REQUESTS), n, 5))


def studies() -> list[Study]:
    """From a pathway that is cut to one that is whole; from facts that stand to facts that give way."""
    return [
        causality("cut", Moved(0.0)),
        causality("at a third", Moved(1 / 3)),
        causality("at two thirds, weak", Moved(2 / 3, gain=0.05)),
        causality("whole", Moved(1.0, gain=0.5)),
        sycophancy("nothing", {"base": Pressed(0.1, 0.1), "aligned": Pressed(0.0, 0.0)}),
        sycophancy("near the bar", {"base": Pressed(1.0, 0.3), "aligned": Pressed(0.35, 0.3)}),
        sycophancy("strong", {"base": Pressed(3.0, 0.5), "aligned": Pressed(2.0, 0.0)}),
    ]
