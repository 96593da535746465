"""Planted activations: a concept whose axis formats share in part, topics and persons that lean their own way.

Every text's state is Gaussian. The aligned model sees the same texts with part of their noise in common, and the
concept as strong as a setting says.

An excess is covered at the size of the fit: its truth is the mean over samples of this size. Beside it stands what the
same probes would reach if they were fitted on ever more texts, which intervals at this size miss where the signal is
strong: a direction fitted on 88 persons is half noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from unmask.lab.replicates.study import SIZES, Floats, Study
from unmask.measurements.base import Estimate
from unmask.measurements.profiles import QUICK, Profile
from unmask.measurements.sets import ProbeSet
from unmask.measurements.structure import DECIDING, excess_estimates
from unmask.measurements.transfer import Transfers, draw, transfer
from unmask.measurements.variance import FRAMINGS, RANDOM_AXES, axis_doubt, log_ratios, ratio_estimates
from unmask.runner.requests import SIDES
from unmask.stats import bootstrap_weights, direction, matched_directions, standardise

D = 24
GAP = 3.5
"""How far apart the texts lie that an axis is fitted on: a direction fitted on a profile's pairs then lies about 6°
off, those of unrelated concepts 10°."""
DEPTH: Floats = np.array([0.0, 0.4, 0.8, 1.0, 0.7])
"""How much of the concept each layer has."""
SHARED_NOISE = 0.8
"""Share of the noise's variance that the two models have in common: training moves activations little."""
PERMUTATIONS = 10
"""Fewer than a profile's: they decide where the null's 95 % quantile lies, which is not looked at here."""
PILOTS = 400
"""Samples behind the mean of an estimate; the mean is then known to about .003."""
EXCESSES = ("excess_base", "excess_aligned", "excess_change", "transfer_change")
FITTED_ON_EVER_MORE = ", fitted on ever more"
"""Ends the name of a number that is held against what a probe fitted on ever more texts would give."""
FORMATS = ("statements", "stated", "implied")
TOPICS, PAIRS = 40, SIZES.pairs // 40
WORDS, LONG = 150, 10
"""Words that exist, and words in a text."""


@dataclass(frozen=True)
class Represented:
    """How strongly the concept is there.

    Attributes:
        base: distance of the poles in base's best layer along each format's axis, in sd of the noise.
        aligned: the same in the aligned model.
        turned: share of base's axis that the aligned one's has kept (1: all).
        telling: chance of a text to hold the one word of its pole that all formats share.
    """

    base: float
    aligned: float
    turned: float = 1.0
    telling: float = 0.0


def texts_of(name: str, labels: Floats, telling: float, rng: np.random.Generator) -> tuple[str, ...]:
    """Sentences of made-up words, each format with a vocabulary of its own in part, and at times a telling word."""
    common = 1.0 / np.arange(1, WORDS + 1)
    drawn = rng.choice(WORDS, size=(len(labels), LONG), p=common / common.sum())
    told = rng.random(len(labels)) < telling
    return tuple(
        " ".join(
            [*(f"w{k}" if k % 2 else f"{name}{k}" for k in row), *([f"pole{int(label)}"] if tell else [])]
        )
        for row, label, tell in zip(drawn, labels, told, strict=True)
    )


def probe_set(name: str, clusters: int, telling: float, rng: np.random.Generator) -> ProbeSet:
    """Statements in pairs, six to a topic, or one sentence a person."""
    n = clusters * PAIRS * 2 if name == "statements" else clusters
    labels = (np.arange(n) % 2).astype(np.float64)
    whose = np.arange(n) // (2 * PAIRS) if name == "statements" else np.arange(n)
    return ProbeSet(name, texts_of(name, labels, telling, rng), labels, tuple(f"{name} {k}" for k in whose))


def _axes() -> dict[str, Floats]:
    """`[D]` each: the concept as a format has it, any two at a cosine of .75, and what the concept turns to."""
    basis, _ = np.linalg.qr(np.random.default_rng(4).normal(size=(D, D)))
    mixed = {name: np.sqrt(0.75) * basis[0] + np.sqrt(0.25) * basis[1 + k] for k, name in enumerate(FORMATS)}
    return mixed | {"elsewhere": basis[len(FORMATS) + 1]}


def states(
    sets: Mapping[str, ProbeSet], planted: Represented, rng: np.random.Generator
) -> dict[str, dict[str, Floats]]:
    """Both models' activations `[n, layers, D]` on every set, each feature in sd over its own set."""
    axes = _axes()
    mixing = np.random.default_rng(5).normal(size=(D, D)) / np.sqrt(
        D
    )  # neighbouring features resemble one another
    x: dict[str, dict[str, Floats]] = {side: {} for side in SIDES}
    for name, probe in sets.items():
        n, (_, cluster) = len(probe.texts), np.unique(probe.clusters, return_inverse=True)
        count = int(cluster.max()) + 1
        # A topic moves both its poles, has the concept more or less, and has an axis of its own beside it.
        moved = 0.6 * rng.normal(size=(count, 1, D))[cluster] if count < n else 0.0
        strength = (1.0 + 0.3 * rng.normal(size=count))[cluster] if count < n else np.ones(n)
        own_axis = 0.15 * rng.normal(size=(count, D))[cluster] if count < n else np.zeros((n, D))
        common = rng.normal(size=(n, len(DEPTH), D))
        for side, size in zip(SIDES, (planted.base, planted.aligned), strict=True):
            noise = np.sqrt(SHARED_NOISE) * common + np.sqrt(1 - SHARED_NOISE) * rng.normal(size=common.shape)
            kept = planted.turned if side == "aligned" else 1.0
            axis = kept * axes[name] + np.sqrt(1 - kept**2) * axes["elsewhere"]
            pull = size * (probe.labels - 0.5)[:, None] * (strength[:, None] * axis + own_axis)
            noisy = noise @ (np.eye(D) + 0.5 * mixing) + moved
            x[side][name] = standardise(noisy + DEPTH[:, None] * pull[:, None])
    return x


def analysed(
    sets: dict[str, ProbeSet],
    x: Mapping[str, Mapping[str, Floats]],
    profile: Profile,
    rng: np.random.Generator,
) -> dict[str, Estimate]:
    """The deciding transfers and what follows from them, as an audit reckons them."""
    drawn = draw(sets, profile.resamples, profile.permutations, lambda _: rng)

    def between(fit_side: str, test_side: str, known: Transfers | None = None) -> Transfers:
        return {
            (fit, test): transfer(
                sets[fit], sets[test], x[fit_side][fit], x[test_side][test], drawn,
                known[fit, test].words if known else None,
            )
            for fit, test in DECIDING
        }  # fmt: skip

    base = between("base", "base")
    own = {"base": base, "aligned": between("aligned", "aligned", base)}
    return excess_estimates(own, between("base", "aligned", base), sets)


def structure(setting: str, planted: Represented, persons: int = SIZES.identities) -> Study:
    """Statements on 40 topics, and so many persons a pole in either kind of identity."""

    def sampled(
        topics: int, per_pole: int, profile: Profile, rng: np.random.Generator
    ) -> dict[str, Estimate]:
        sets = {
            name: probe_set(name, topics if name == "statements" else 2 * per_pole, planted.telling, rng)
            for name in FORMATS
        }
        return analysed(sets, states(sets, planted, rng), profile, rng)

    def sample(rng: np.random.Generator) -> dict[str, Estimate]:
        found = sampled(TOPICS, persons, replace(SIZES, permutations=PERMUTATIONS), rng)
        return found | {name + FITTED_ON_EVER_MORE: found[name] for name in EXCESSES}

    def truth() -> dict[str, float]:
        rng = np.random.default_rng(0)
        bare = replace(SIZES, permutations=1, resamples=2)
        pilots = [sampled(TOPICS, persons, bare, rng) for _ in range(PILOTS)]
        limit = sampled(1_000, 6_000, bare, rng)
        return {
            **{name: float(np.mean([pilot[name].value for pilot in pilots])) for name in EXCESSES},
            **{name + FITTED_ON_EVER_MORE: limit[name].value for name in EXCESSES},
        }

    return Study("structure", setting, truth, sample)


@dataclass(frozen=True)
class Squeezed:
    """What the aligned model does to the axes.

    Attributes:
        concept: by how much it scales the concept's axis.
        unrelated: by how much the four unrelated ones, the least first.
        everything: by how much all of them.
        own: sd of what it adds of its own, over base's sd.
        beside: sd along a dimension that it leaves alone, at right angles to all named axes; base's states along that
            go in part with those along the concept.
    """

    concept: float
    unrelated: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
    everything: float = 1.0
    own: float = 0.3
    beside: float = 0.0

    @cached_property
    def through(self) -> Floats:
        """`[D, D]`, from base's states to the aligned model's."""
        named, _ = np.linalg.qr(np.random.default_rng(6).normal(size=(D, D)))
        scales = np.ones(D)
        scales[: 1 + len(self.unrelated)] = self.concept, *self.unrelated
        wobble = 0.25 * np.random.default_rng(7).normal(size=(D, D)) / np.sqrt(D)
        if self.beside:
            wobble -= np.outer(self.large, self.large @ wobble)
        return self.everything * (named * scales @ named.T + wobble)

    @property
    def axes(self) -> Floats:
        """`[1 + unrelated, D]`."""
        named, _ = np.linalg.qr(np.random.default_rng(6).normal(size=(D, D)))
        return named.T[: 1 + len(self.unrelated)]

    @property
    def large(self) -> Floats:
        """`[D]`, the dimension beside."""
        named, _ = np.linalg.qr(np.random.default_rng(6).normal(size=(D, D)))
        return named[:, -1]

    @property
    def covariances(self) -> dict[str, Floats]:
        """`[D, D]` of open questions, by side."""
        turn, _ = np.linalg.qr(np.random.default_rng(8).normal(size=(D, D)))
        base: Floats = (turn * (np.arange(1, D + 1) ** -0.7) @ turn.T).astype(np.float64)
        if self.beside:
            along = base @ self.axes[0]
            together = 0.5 * self.beside / np.sqrt(self.axes[0] @ along) * np.outer(along, self.large)
            base = base + together + together.T + self.beside**2 * np.outer(self.large, self.large)
        own = (self.everything * self.own) ** 2 * np.trace(base) / D * np.eye(D)
        return {"base": base, "aligned": self.through.T @ base @ self.through + own}

    def ratio(self, axes: Floats) -> Floats:
        """`[axes]`, log σ aligned over base."""
        sd = {side: np.sqrt(np.einsum("ad,de,ae->a", axes, c, axes)) for side, c in self.covariances.items()}
        return np.log(sd["aligned"] / sd["base"])


def axis_texts(
    axis: Floats, pairs: int, root: npt.NDArray[np.floating[Any]], rng: np.random.Generator
) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """States `[2 pairs, D]` of texts whose poles lie `GAP` apart along an axis, their labels and topics, six pairs to a
    topic."""
    topics = np.arange(pairs) // 6
    noise = np.sqrt(0.5) * rng.normal(size=(topics.max() + 1, D))[topics] + np.sqrt(0.5) * rng.normal(
        size=(pairs, D)
    )
    apart: Floats = GAP * axis + noise @ root
    return (
        np.stack([-apart / 2, apart / 2], axis=1).reshape(-1, D),
        np.tile([0.0, 1.0], pairs),
        np.repeat(topics, 2),
    )


def variance(setting: str, squeezed: Squeezed) -> Study:
    """Forty open questions on forty topics, in a frame and bare."""
    covariance = squeezed.covariances
    root = np.linalg.cholesky(covariance["base"]).T
    own = squeezed.everything * squeezed.own * np.sqrt(np.trace(covariance["base"]) / D)

    def sample(rng: np.random.Generator) -> dict[str, Estimate]:
        n = SIZES.questions
        topic = rng.normal(size=(n, D))
        x: dict[str, dict[str, Floats]] = {side: {} for side in SIDES}
        for framing in FRAMINGS:
            base = (np.sqrt(0.7) * topic + np.sqrt(0.3) * rng.normal(size=(n, D))) @ root
            x["base"][framing] = base
            x["aligned"][framing] = base @ squeezed.through + own * rng.normal(size=(n, D))
        centred = np.concatenate([x["base"][framing] - x["base"][framing].mean(0) for framing in FRAMINGS])
        fitted = [
            axis_texts(axis, SIZES.axis_pairs if place else SIZES.pairs, root, rng)
            for place, axis in enumerate(squeezed.axes)
        ]
        named = [direction(texts[:, None], labels)[0] for texts, labels, _ in fitted]
        axes = np.concatenate([np.stack(named), matched_directions(centred, RANDOM_AXES, rng)])
        ratios = log_ratios(x, axes, bootstrap_weights(np.arange(n), SIZES.resamples, rng))
        for place, (texts, labels, topics) in enumerate(fitted):
            drawn = bootstrap_weights(topics, SIZES.resamples, rng)
            ratios[:, place] += axis_doubt(x, texts, labels, drawn)
        return ratio_estimates(ratios, len(squeezed.unrelated), n)

    def truth() -> dict[str, float]:
        concept, *unrelated = squeezed.ratio(squeezed.axes)
        random = squeezed.ratio(np.random.default_rng(0).normal(size=(200_000, D)) @ root)
        return {
            "log_sd_ratio": float(concept),
            "below_random": float(concept - np.quantile(random, 0.05)),
            "below_unrelated": float(concept - min(unrelated)),
        }

    return Study("variance", setting, truth, sample)


def studies() -> list[Study]:
    """From nothing there, or nothing changed, to plenty."""
    return [
        structure("kept", Represented(1.5, 1.5)),
        structure("weakened", Represented(2.0, 1.3, 0.8)),
        structure("erased", Represented(2.5, 0.0)),
        structure("words tell", Represented(1.4, 1.0, 1.0, 0.3)),
        structure("kept, 120 persons a pole", Represented(1.5, 1.5), QUICK.identities),
        structure("erased, 120 persons a pole", Represented(2.5, 0.0), QUICK.identities),
        variance("unchanged", Squeezed(1.0)),
        variance("all shrunk alike", Squeezed(1.0, everything=0.7)),
        variance("near the bar", Squeezed(0.72, (0.8, 1.0, 1.0, 1.0))),
        variance("squeezed", Squeezed(0.35)),
        variance("beside a large dimension", Squeezed(0.72, beside=2.0, own=0.05)),
    ]
