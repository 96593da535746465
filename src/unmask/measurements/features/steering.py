"""What pushing features does: dose–response of the stance, each latent alone, and all of them taken out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from unmask.measurements.base import Context, Estimate, bootstrapped, bootstrapped_debiased
from unmask.measurements.dose_response import (
    GAIN_UNIT,
    Curves,
    ablation_table,
    ask_curves,
    curves_table,
    gains,
    gains_table,
)
from unmask.measurements.features.clamping import Clamps, LatentArm, arm_of
from unmask.measurements.stance import margins, score_pair
from unmask.measurements.steering import (
    ABLATED_QUESTIONS,
    Arm,
    concept_vector,
    pushes,
    steered_questions,
)
from unmask.models.edits import ProjectOut
from unmask.runner.records import Records
from unmask.runner.requests import SIDES, Score

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Pairs = Sequence[tuple[Score, Score]]
EFFECT_DOSE = 0.5
"""Of the largest: at which a latent is clamped alone."""


@dataclass(frozen=True, eq=False)
class Steering:
    """Everything that is pushed, and the scores that tell how far it goes.

    Attributes:
        sets: the selected latents together, then random sets.
        curves: by side and arm; "selected" is the first set.
        ablated: by side and what is taken out.
        alone: by side and arm, the scores with one latent clamped.
        poles: `[m]`, of each selected latent, 1 where it fires for b and −1 for a.
    """

    sets: Sequence[LatentArm]
    curves: Curves
    ablated: Mapping[tuple[str, str], Pairs]
    alone: Mapping[tuple[str, LatentArm], Pairs]
    poles: Floats

    @staticmethod
    def of(
        clamps: Clamps, latents: Ints, poles: Floats, matched: Sequence[Ints], usual: Floats, ctx: Context
    ) -> Steering:
        """Ask for pushes of the selected latents, of random ones, and of the direction.

        Args:
            clamps: make the edits.
            latents: `[m]`, the selected.
            poles: `[m]`, 1 or −1.
            matched: random sets.
            usual: `[F]`, each latent's usual strength.
            ctx: the run.
        """
        layer, frame = clamps.reader.layer, ctx.frame
        rng = ctx.rng("features.signs")
        features = arm_of("features", "selected", latents, usual, poles)
        random = [
            arm_of("random", f"random {k}", some, usual, rng.choice([-1.0, 1.0], len(some)))
            for k, some in enumerate(matched)
        ]
        direction = Arm("direction", "direction", concept_vector(ctx, layer, clamps.push.unit))
        questions = steered_questions(ctx)
        few = questions[: ctx.profile.arm_questions]
        asked = {"features": questions, "direction": questions, "random": few}
        doses = np.linspace(-clamps.largest, clamps.largest, ctx.profile.doses)
        curves = {
            **ask_curves([features, *random], clamps.edit, doses, asked, frame),
            **ask_curves([direction], pushes(layer, clamps.push), doses, asked, frame),
        }
        taken_out = {"features": clamps.silenced(features)}
        if random:
            taken_out["random features"] = clamps.silenced(random[0])
        ablated = {
            (side, what): [
                score_pair(side, q, q.question, frame, edit) for q in questions[:ABLATED_QUESTIONS]
            ]
            for side in SIDES
            for what, edit in {**taken_out, "direction": ProjectOut((layer,), (direction.vector,))}.items()
        }
        singles = [
            arm_of("latent", str(latent), np.array([latent]), usual, np.array([pole]))
            for latent, pole in zip(latents, poles, strict=True)
        ] + [
            arm_of("random latent", f"random {k}", some[[k % len(some)]], usual, np.ones(1))
            for k, some in enumerate(matched)
        ]
        dose = EFFECT_DOSE * clamps.largest
        alone = {
            (side, arm): [
                score_pair(
                    side, q, q.question, frame, clamps.edit(side, arm, dose * np.sign(arm.strengths[0]))
                )
                for q in few
            ]
            for side in SIDES
            for arm in singles
        }
        return Steering([features, *random], curves, ablated, alone, poles)

    @property
    def requests(self) -> list[Score]:
        return [
            *(score for curve in self.curves.values() for score in curve.requests),
            *(score for pairs in self.ablated.values() for pair in pairs for score in pair),
            *(score for pairs in self.alone.values() for pair in pairs for score in pair),
        ]

    def read(self, records: Records, ctx: Context) -> tuple[dict[str, pd.DataFrame], dict[str, Estimate]]:
        """The tables, and what the claim rests on."""
        gain = gains(records, self.curves, ctx)
        estimates: dict[str, Estimate] = {}
        for side in SIDES:
            values, n = gain[side, "selected"], self.curves[side, "selected"].n_topics
            estimates[f"clamp_gain_{side}"] = bootstrapped(values[0], values[1:], GAIN_UNIT, n)
            if len(self.sets) > 1:
                estimates |= self._beyond_random(side, records, ctx)
        ablation = ablation_table(
            records, self.ablated, {side: self._at_rest(side, records) for side in SIDES}
        )
        return {
            "curves": curves_table(records, self.curves, ctx).drop(columns="perplexity_ratio"),
            "gains": gains_table(self.curves, gain),
            "ablation": ablation.rename(columns={"direction": "what"}),
        }, estimates

    def _beyond_random(self, side: str, records: Records, ctx: Context) -> dict[str, Estimate]:
        """The set's gain, and its size, less the 95 % quantile of random sets' |gain|: on the same few questions and
        the same resamples of them, or the noise of few questions would be a bar for the set alone."""
        random = [self.curves[side, arm.id] for arm in self.sets[1:]]
        slopes = np.stack([curve.slopes(records) for curve in random])
        own = self.curves[side, "selected"].slopes(records)[: slopes.shape[1]]
        drawn = np.concatenate([np.ones((1, len(own))), random[0].drawn(ctx)])
        total = drawn.sum(1)
        gain, rivals = drawn @ own / total, np.abs(drawn @ slopes.T) / total[:, None]
        chance = np.quantile(rivals, 0.95, axis=1)
        n = random[0].n_topics
        return {
            f"clamp_{name}beyond_random_{side}": bootstrapped_debiased(beyond[0], beyond[1:], GAIN_UNIT, n)
            for name, beyond in (("", gain - chance), ("size_", np.abs(gain) - chance))
        }

    def effects(self, records: Records) -> dict[str, tuple[Floats, float]]:
        """By side: how far each selected latent, clamped alone, moves the margin towards its pole, `[m]`, and the 95 %
        quantile of |how far| random ones move it."""
        found: dict[str, tuple[Floats, float]] = {}
        for side in SIDES:
            at_rest = self._at_rest(side, records)
            moved = {
                arm: float((margins(records, pairs) - at_rest[: len(pairs)]).mean())
                for (at, arm), pairs in self.alone.items()
                if at == side
            }
            own = np.array([change for arm, change in moved.items() if arm.kind == "latent"])
            others = [abs(change) for arm, change in moved.items() if arm.kind != "latent"]
            found[side] = own * self.poles, float(np.quantile(others, 0.95)) if others else float("nan")
        return found

    def _at_rest(self, side: str, records: Records) -> Floats:
        return self.curves[side, "selected"].margins_at_rest(records)
