"""Planted answers: topics that differ in how partisan they are, askers that are followed, and a judge that errs.

Every answer is of one of six kinds, sorted by a judge whose mistakes vary from topic to topic and whose card is drawn
anew with each sample, so that everything an interval has to allow for does vary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from unmask.lab.replicates.study import SIZES, Floats, Study, beta, categorical
from unmask.measurements.answers import KINDS, Rates, count_kinds
from unmask.measurements.base import Estimate
from unmask.measurements.surface import answer_estimates, noise_floor
from unmask.measurements.swings import CONTROLS, PARTISAN, Group, Swings
from unmask.runner.requests import SIDES
from unmask.stats import bootstrap_weights, confusion_matrix

Labels = npt.NDArray[np.int64]

JUDGE = np.array(
    [
        [0.80, 0.05, 0.06, 0.05, 0.01, 0.03],
        [0.05, 0.80, 0.06, 0.05, 0.01, 0.03],
        [0.04, 0.04, 0.74, 0.15, 0.01, 0.02],
        [0.04, 0.04, 0.15, 0.74, 0.02, 0.01],
        [0.01, 0.01, 0.02, 0.04, 0.91, 0.01],
        [0.02, 0.02, 0.02, 0.02, 0.01, 0.91],
    ]
)
"""Rows true: right four times in five; where it errs, mostly between neighbouring kinds."""
JUDGE_CONCENTRATION = 20.0
"""How alike a judge's mistakes are from topic to topic: a share of .8 has an sd of .09 between them."""
CARD = (3, 3, 4, 4, 4, 4)
"""Labelled answers of each kind a topic; over 40 topics about what the built-in card holds."""
TOPICS = SIZES.questions
SPREAD = 2.0
"""Concentration of a topic's share of partisan answers: a mean of .4 has an sd of .28 between topics."""
SILENT = 0.03
"""Mean share of refusals, and of answers off the topic."""


def judged(kinds: Labels, rng: np.random.Generator) -> Labels:
    """What the judge calls answers `[topics, ...]` of these kinds; topics differ in how it errs."""
    rows = rng.standard_gamma(JUDGE_CONCENTRATION * JUDGE, (len(kinds), *JUDGE.shape))
    rows /= rows.sum(-1, keepdims=True)
    topic = np.arange(len(kinds)).reshape(-1, *([1] * (kinds.ndim - 1)))
    return categorical(rows[topic, kinds], rng)


def card(rng: np.random.Generator) -> Floats:
    """The judge's confusion on a card of its own topics, and on resamples of it: `[1 + resamples, kinds, kinds]`."""
    truth = np.tile(np.repeat(np.arange(len(KINDS)), CARD), (TOPICS, 1))
    weights = bootstrap_weights(np.repeat(np.arange(TOPICS), sum(CARD)), SIZES.resamples, rng)
    return confusion_matrix(truth.ravel(), judged(truth, rng).ravel(), len(KINDS), weights)


def kind_shares(a: Floats, b: Floats, z: Floats) -> Floats:
    """`[..., kinds]` from the shares of either pole among answers that have a stance; `z [2, ...]` are the scores of
    a topic's refusals and wanderings."""
    silent, off = beta(SILENT, 10.0, z[0]), beta(SILENT, 10.0, z[1])
    stanced = 1.0 - silent - off
    rest = 1.0 - a - b
    shares = np.broadcast_arrays(
        stanced * a, stanced * b, 0.6 * stanced * rest, 0.4 * stanced * rest, silent, off
    )
    return np.stack(shares, -1)


@dataclass(frozen=True)
class Said:
    """What one model says when it is asked openly.

    Attributes:
        intensity: mean share of partisan answers.
        toward_b: mean share of pole b among those.
        forced: spread of the forced choice's log odds over topics.
    """

    intensity: float
    toward_b: float
    forced: float

    @property
    def lean(self) -> float:
        return self.intensity * (2.0 * self.toward_b - 1.0)

    @property
    def gap(self) -> float:
        """E|forced stance| beyond the intensity."""
        z = ndtri((np.arange(20_000) + 0.5) / 20_000)
        return float(np.abs(np.tanh(self.forced * z / 2)).mean()) - self.intensity


def surface(setting: str, said: Mapping[str, Said]) -> Study:
    """Open questions, three answers each; the two models' topics resemble one another."""

    def parts(rng: np.random.Generator) -> tuple[dict[str, Labels], dict[str, Floats]]:
        shared, labels, forced = rng.normal(size=(2, TOPICS)), dict[str, Labels](), dict[str, Floats]()
        for side in SIDES:
            z = np.sqrt(0.5) * (shared + rng.normal(size=(2, TOPICS)))
            partisan, of_b = (
                beta(mean, SPREAD, score)
                for mean, score in zip((said[side].intensity, said[side].toward_b), z, strict=True)
            )
            shares = kind_shares(partisan * (1 - of_b), partisan * of_b, rng.normal(size=(2, TOPICS)))
            kinds = categorical(np.repeat(shares[:, None], SIZES.samples, 1), rng)
            labels[side] = judged(kinds, rng)
            log_odds = said[side].forced * (0.6 * z[0] + 0.8 * rng.normal(size=TOPICS))
            forced[side] = np.tanh(log_odds / 2)
        return labels, forced

    def sample(rng: np.random.Generator) -> dict[str, Estimate]:
        labels, forced = parts(rng)
        confusion, weights = card(rng), bootstrap_weights(np.arange(TOPICS), SIZES.resamples, rng)
        text = {side: Rates.of(count_kinds(labels[side]), weights, confusion) for side in SIDES}
        floor = noise_floor(labels["base"], confusion[0], rng)
        return answer_estimates(text, forced, floor, weights, TOPICS)

    def truth() -> dict[str, float]:
        # The noise floor is a property of this many samples, so what is planted is its mean over samples of this size.
        pilot = np.random.default_rng(0)
        floors = [noise_floor(parts(pilot)[0]["base"], JUDGE, pilot) for _ in range(60)]
        base, aligned = said["base"], said["aligned"]
        drop = base.intensity - aligned.intensity
        return {
            "intensity_drop": drop,
            "drop_beyond_noise": drop - float(np.mean(floors)),
            "base_partisan": base.intensity - 0.2,
            "forced_gap_aligned": aligned.gap,
            "forced_gap_excess": aligned.gap - base.gap,
            **{f"intensity_{side}": said[side].intensity for side in SIDES},
            **{f"lean_{side}": said[side].lean for side in SIDES},
        }

    return Study("surface", setting, truth, sample)


REQUEST_REACH: Mapping[str, float] = {"plain": 0.4, "both": 1.0, "unhedge": 0.7}
IDENTITY_REACH: Mapping[str, float] = {"stated": 1.0, "implied": 0.6}
SENTENCE_REACH = 2 / 3
"""How much of a topic's following each request, kind of asker and sentence brings out, on average."""


@dataclass(frozen=True)
class Followed:
    """How one model's answers follow who asks.

    Attributes:
        swing: mean stance towards askers of pole b less that towards those of pole a.
        chance: the same between the two halves of the askers who have no pole.
        plain: share of partisan answers when nobody in particular asks.
    """

    swing: float
    chance: float
    plain: float

    @property
    def follows(self) -> float:
        """Mean share of answers that take the asker's side because of it."""
        return self.swing / 2

    @property
    def most(self) -> float:
        """A topic's mean share of followed answers where asker, request and sentence bring all of it out."""
        reach = np.mean([*REQUEST_REACH.values()]) * np.mean([*IDENTITY_REACH.values()]) * SENTENCE_REACH
        return self.follows / float(reach)


def reactivation(setting: str, followed: Mapping[str, Followed]) -> Study:
    """Eight askers and nobody, three requests, twenty questions; each question has an asker's sentence of its own."""
    topics = SIZES.persona_questions

    def sample(rng: np.random.Generator) -> dict[str, Estimate]:
        cells: list[Group] = []
        shares: list[Floats] = []
        shared = rng.normal(size=(3, topics))
        sentences = {
            (identity, end): beta(SENTENCE_REACH, 4.0, rng.normal(size=topics))
            for identity in IDENTITY_REACH
            for end in (0, 1)
        }
        for side in SIDES:
            model = followed[side]
            z = np.sqrt(0.5) * (shared + rng.normal(size=(3, topics)))
            follow, plain, of_b = (
                beta(mean, SPREAD, scores)
                for mean, scores in zip((model.most, model.plain, 0.5), z, strict=True)
            )
            for identity in ("none", *PARTISAN, *CONTROLS):
                for end in (0,) if identity == "none" else (0, 1):
                    for request, reach in REQUEST_REACH.items():
                        pulled = np.zeros(topics)
                        if identity in PARTISAN:
                            pulled = follow * reach * IDENTITY_REACH[identity] * sentences[identity, end]
                        elif identity in CONTROLS:
                            pulled = beta(model.chance / 2, 6.0, rng.normal(size=topics))
                        a, b = (1 - pulled) * plain * (1 - of_b), (1 - pulled) * plain * of_b
                        a, b = (a, b + pulled) if end else (a + pulled, b)
                        cells.append(Group(side, identity, request, end))
                        shares.append(kind_shares(a, b, rng.normal(size=(2, topics))))
        labels = judged(categorical(np.stack(shares, 1), rng), rng).T
        weights = bootstrap_weights(np.arange(topics), SIZES.resamples, rng)
        return Swings.of(cells, list(labels), weights, card(rng)).estimates(topics)

    def truth() -> dict[str, float]:
        planted: dict[str, float] = {}
        for side, model in followed.items():
            planted |= {
                f"swing_{side}": model.swing,
                f"swing_beyond_irrelevant_{side}": model.swing - abs(model.chance),
                f"intensity_beyond_plain_{side}": model.follows * (1 - model.plain),
            }
        return planted

    return Study("reactivation", setting, truth, sample)


def studies() -> list[Study]:
    """Openness and context, from nothing to find to plenty."""
    return [
        surface("no drop", {"base": Said(0.5, 0.5, 1.7), "aligned": Said(0.5, 0.9, 1.7)}),
        surface("near the bars", {"base": Said(0.4, 0.3, 2.0), "aligned": Said(0.2, 0.75, 1.3)}),
        surface("strong", {"base": Said(0.7, 0.6, 2.5), "aligned": Said(0.05, 0.5, 2.0)}),
        surface("silent", {"base": Said(0.22, 0.5, 1.0), "aligned": Said(0.0, 0.5, 0.5)}),
        reactivation("nothing", {"base": Followed(0.3, 0.0, 0.4), "aligned": Followed(0.0, 0.0, 0.1)}),
        reactivation("near the bars", {"base": Followed(0.4, 0.1, 0.5), "aligned": Followed(0.2, 0.0, 0.05)}),
        reactivation("strong", {"base": Followed(0.5, 0.3, 0.3), "aligned": Followed(0.6, 0.0, 0.2)}),
    ]
