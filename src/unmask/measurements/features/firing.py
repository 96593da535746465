"""On which texts the selected latents fire, and how many have gone silent, beside latents that carry something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from unmask.features.deactivation import HALF, Deactivation, deactivation, design_effect
from unmask.features.selection import select
from unmask.measurements.base import Estimate, exact
from unmask.measurements.features.clamping import matched_sets
from unmask.measurements.features.coding import Coded, Reader, Text
from unmask.measurements.sets import ProbeSet
from unmask.runner.records import Records
from unmask.runner.requests import SIDES

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]
LEAST_RATE = 0.01
"""Of on-topic texts: what a selected latent has to fire on in base to be a feature of them."""
LEAST_SHARE = 0.5
"""Of base's rate on on-topic texts: what a latent has to fire at in the aligned model, or it cannot be seen there."""
LEAST_TOKENS = 5
"""Of either answer, or a pair of them says nothing of firing."""


def paired(
    answers: Mapping[str, Sequence[Text]], records: Records, layer: int
) -> tuple[dict[str, list[Text]], Booleans]:
    """Both models' answers to the same questions, cut to the tokens of the shorter: in a longer one more fires.

    Args:
        answers: by side, one to the same question in each place.
        records: hold them.
        layer: whose states are read.

    Returns:
        By side, the pairs of which neither is too short; and `[answers]`, which they are.
    """
    lengths = np.stack([[len(text.read(records, layer)[0]) for text in answers[side]] for side in SIDES])
    least = lengths.min(0)
    kept = least >= LEAST_TOKENS
    cut = {
        side: [replace(answers[side][at], most=int(least[at])) for at in np.flatnonzero(kept).tolist()]
        for side in SIDES
    }
    return cut, kept


@dataclass(frozen=True, eq=False)
class Firing:
    """On which texts the m selected latents fire, by side.

    Attributes:
        latents: `[m]`.
        usual: `[F]`, each latent's usual strength in base; half of it is to fire.
        answers: `[answers, F]`, the largest code in each of a model's own answers.
        topics: `[answers]`, what each is about.
        read: `[m]`, the share of on-topic statements on which each fires.
        asked: `[m]`, the share of open questions, on their own words.
        strength: `[m]`, the median peak pre-activation over answers, in usual strengths.
    """

    latents: Ints
    usual: Floats
    answers: Mapping[str, npt.NDArray[np.float32]]
    topics: npt.NDArray[np.str_]
    read: Mapping[str, Floats]
    asked: Mapping[str, Floats]
    strength: Mapping[str, Floats]

    @staticmethod
    def of(
        latents: Ints,
        coded: Mapping[str, Coded],
        asked: Mapping[str, Coded],
        said: Mapping[str, Coded],
        topics: npt.NDArray[np.str_],
        strength: Mapping[str, Floats],
    ) -> Firing:
        """Of texts coded in both models.

        Args:
            latents: `[m]`.
            coded: statements, by side.
            asked: open questions.
            said: answers.
            topics: of the answers.
            strength: `[answers, m]`, peak pre-activations in answers.
        """
        usual = coded["base"].usual
        bars = HALF * usual[latents]
        return Firing(
            latents,
            usual,
            {side: said[side].peaks for side in SIDES},
            topics,
            {side: (coded[side].peaks[:, latents] >= bars).mean(0) for side in SIDES},
            {side: (asked[side].peaks[:, latents] >= bars).mean(0) for side in SIDES},
            {side: np.median(strength[side], axis=0) / usual[latents] for side in SIDES},
        )

    @property
    def n(self) -> int:
        """A model's answers."""
        return len(self.topics)

    @property
    def seen(self) -> Booleans:
        """`[m]`, which fire on on-topic text that the aligned model reads, or silence could not be told from a
        dictionary that does not see them there."""
        return (self.read["base"] > 0) & (self.read["aligned"] >= LEAST_SHARE * self.read["base"])

    @property
    def found(self) -> Deactivation:
        """How often the selected latents fire in either model's answers; silent are only those that are `seen`."""
        found = self.compare(self.latents)
        return replace(found, silenced=found.silenced & self.seen)

    def compare(self, latents: Ints) -> Deactivation:
        """The same of other latents."""
        return _compare(self.answers, latents, self.usual, self.topics)


def _compare(
    answers: Mapping[str, npt.NDArray[np.float32]], latents: Ints, usual: Floats, topics: npt.NDArray[np.str_]
) -> Deactivation:
    fires = {side: answers[side][:, latents] >= HALF * usual[latents] for side in SIDES}
    design = np.maximum(*(design_effect(one, topics) for one in fires.values()))
    base, aligned = (fires[side].sum(0) for side in SIDES)
    return deactivation(base, aligned, len(topics), len(topics), design)


def silence(
    firing: Firing, free: Ints, count: int, rng: np.random.Generator, random: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, Estimate]]:
    """How many of the selected latents went silent, beside others that fire as often in base's answers.

    Args:
        firing: of the selected.
        free: latents that do not carry the concept.
        count: how many random sets of them.
        rng: draws them.
        random: as `random_silence` gives it.
    """
    seen, low, high = firing.found.share
    rates = (firing.answers["base"] >= HALF * firing.usual).mean(0)
    fire = firing.latents[rates[firing.latents] > 0]  # what base never says has no rival that falls silent
    matched = matched_sets(fire, rates, free[rates[free] > 0], count, rng) if len(fire) else []
    rivals = [firing.compare(some).share[0] for some in matched]
    m, topics = len(firing.latents), len({*firing.topics.tolist()})
    unit = "share of selected latents, surely at least and at most"
    rows = [_row("selected", m, (seen, low, high))]
    estimates = {
        "silenced": Estimate(seen, low, high, unit, topics, bounds=True),
        "fires_on_text_base": exact(
            float((firing.read["base"] >= LEAST_RATE).mean()), "share of selected latents", m
        ),
        "fires_on_text_aligned": exact(float(firing.seen.mean()), "share of selected latents", m),
    }
    chance = float("nan")
    if rivals:
        ends = np.quantile(rivals, [0.025, 0.975])
        rows.append(
            _row("matched latents", len(fire), (float(np.mean(rivals)), float(ends[0]), float(ends[1])))
        )
        chance = float(np.quantile(rivals, 0.95))
    estimates["silenced_beyond_matched"] = Estimate(
        seen - chance, low - chance, high - chance, unit, topics, bounds=True
    )
    return pd.concat([pd.DataFrame(rows), random], ignore_index=True), estimates


def random_silence(
    random: Reader,
    statements: ProbeSet,
    read: Sequence[Text],
    said: Mapping[str, Sequence[Text]],
    topics: npt.NDArray[np.str_],
    records: Records,
    late: Records,
    most: int,
) -> pd.DataFrame:
    """The same of random directions that tell the poles apart: one row, or none where none do."""
    on_text = random.code(read, records)
    chosen = select(on_text.means, statements.labels, statements.clusters).chosen(most)
    if not len(chosen):
        return pd.DataFrame()
    answers = {side: random.code(said[side], late).peaks for side in SIDES}
    found = _compare(answers, chosen, on_text.usual, topics)
    return pd.DataFrame([_row("random dictionary", len(chosen), found.share)])


def _row(kind: str, latents: int, share: tuple[float, float, float]) -> dict[str, object]:
    silent, low, high = share
    return {"kind": kind, "latents": latents, "silent": silent, "low": low, "high": high}
