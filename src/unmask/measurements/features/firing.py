"""On which texts the selected latents fire, and how many have gone silent, beside latents that carry something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from unmask.features.deactivation import HALF, Deactivation, deactivation, design_effect
from unmask.features.selection import select
from unmask.measurements.base import Estimate, exact
from unmask.measurements.features.coding import Coded, Reader, Text
from unmask.measurements.sets import ProbeSet
from unmask.runner.records import Records
from unmask.runner.requests import SIDES

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
LEAST_RATE = 0.01
"""Of on-topic texts: what a selected latent has to fire on to be a feature of them."""


@dataclass(frozen=True, eq=False)
class Firing:
    """On which texts the m selected latents fire, by side.

    Attributes:
        latents: `[m]`.
        usual: `[F]`, each latent's usual strength in base; half of it is to fire.
        answers: `[answers, F]`, the largest code in each of a model's own answers.
        read: `[m]`, the share of on-topic statements on which each fires.
        asked: `[m]`, the share of open questions, on their own words.
        strength: `[m]`, the median peak pre-activation over answers, in usual strengths.
        design: how many times fewer independent answers would say as much.
    """

    latents: Ints
    usual: Floats
    answers: Mapping[str, npt.NDArray[np.float32]]
    read: Mapping[str, Floats]
    asked: Mapping[str, Floats]
    strength: Mapping[str, Floats]
    design: float

    @staticmethod
    def of(
        reader: Reader,
        latents: Ints,
        coded: Mapping[str, Coded],
        asked: Mapping[str, Coded],
        said: Mapping[str, Coded],
        strength: Mapping[str, Floats],
    ) -> Firing:
        """Of statements, open questions and answers coded in both models; answers to one question stand together.

        Args:
            reader: the dictionary.
            latents: `[m]`.
            coded: statements, by side.
            asked: open questions.
            said: answers.
            strength: `[answers, m]`, peak pre-activations in answers; NaN for an empty one.
        """
        usual = coded["base"].usual
        bars = HALF * usual[latents]
        fires = {side: said[side].peaks[:, latents] >= bars for side in SIDES}
        questions = len(asked["base"].peaks)
        return Firing(
            latents,
            usual,
            {side: said[side].peaks for side in SIDES},
            {side: (coded[side].peaks[:, latents] >= bars).mean(0) for side in SIDES},
            {side: (asked[side].peaks[:, latents] >= bars).mean(0) for side in SIDES},
            {side: np.nanmedian(strength[side], axis=0) / usual[latents] for side in SIDES},
            max(design_effect(one.reshape(questions, -1, len(latents))) for one in fires.values()),
        )

    @property
    def n(self) -> int:
        """A model's answers."""
        return len(self.answers["base"])

    @property
    def found(self) -> Deactivation:
        """How often the selected latents fire in either model's answers."""
        return self.compare(self.latents)

    def compare(self, latents: Ints) -> Deactivation:
        """The same of other latents."""
        return _compare(self.answers, latents, self.usual, self.design)


def _compare(
    answers: Mapping[str, npt.NDArray[np.float32]], latents: Ints, usual: Floats, design: float
) -> Deactivation:
    bars = HALF * usual[latents]
    base, aligned = ((answers[side][:, latents] >= bars).sum(0) for side in SIDES)
    return deactivation(base, aligned, len(answers["base"]), len(answers["aligned"]), design)


def silence(
    firing: Firing, matched: Sequence[Ints], random: pd.DataFrame, questions: int
) -> tuple[pd.DataFrame, dict[str, Estimate]]:
    """How many of the selected latents went silent, beside others that fire as often, and what decides the claim.

    Args:
        firing: of the selected.
        matched: random sets of latents.
        random: as `random_silence` gives it.
        questions: how many different ones the answers are to.
    """
    seen, low, high = firing.found.share
    rivals = [firing.compare(some).share[0] for some in matched]
    m, unit = len(firing.latents), "share of selected latents"
    rows = [_row("selected", m, (seen, low, high))]
    estimates = {
        "silenced": Estimate(seen, low, high, unit, questions, bounds=True),
        "fires_on_text_base": exact(float((firing.read["base"] >= LEAST_RATE).mean()), unit, m),
    }
    if rivals:
        ends = np.quantile(rivals, [0.025, 0.975])
        rows.append(_row("matched latents", m, (float(np.mean(rivals)), float(ends[0]), float(ends[1]))))
        chance = float(np.quantile(rivals, 0.95))
        estimates["silenced_beyond_matched"] = Estimate(
            seen - chance, low - chance, high - chance, unit, questions, bounds=True
        )
    return pd.concat([pd.DataFrame(rows), random], ignore_index=True), estimates


def random_silence(
    random: Reader,
    statements: ProbeSet,
    read: Sequence[Text],
    said: Mapping[str, Sequence[Text]],
    records: Records,
    late: Records,
    most: int,
    design: float,
) -> pd.DataFrame:
    """The same of random directions that tell the poles apart: one row, or none where none do."""
    on_text = random.code(read, records)
    chosen = select(on_text.means, statements.labels, statements.clusters).chosen(most)
    if not len(chosen):
        return pd.DataFrame()
    answers = {side: random.code(said[side], late).peaks for side in SIDES}
    found = _compare(answers, chosen, on_text.usual, design)
    return pd.DataFrame([_row("random dictionary", len(chosen), found.share)])


def _row(kind: str, latents: int, share: tuple[float, float, float]) -> dict[str, object]:
    silent, low, high = share
    return {"kind": kind, "latents": latents, "silent": silent, "low": low, "high": high}
