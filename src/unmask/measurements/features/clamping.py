"""Pushing a model by its latents: sets of codes go towards given values, at the same size of perturbation as a push
along a direction.

A latent of a set is clamped to a multiple of its usual strength in base, positive if it fires for the pole that is
pushed towards and negative if for the other. The multiple is the one at which the change of the states, root mean
square over the tokens of on-topic statements, is as large as the largest push along the direction; at least 1. For
smaller doses the codes go a share of that way. So a dose is a perturbation of the same size in every arm and model, as
far as the statements tell: elsewhere latents are active on other tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt

import numpy as np
import numpy.typing as npt
import torch

from unmask.measurements.features.coding import Coded, Reader
from unmask.measurements.steering import Push
from unmask.models.edits import ClampLatents, Edit
from unmask.runner.requests import SIDES, Side

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_RIVALS = 2
"""Times as many latents of like rate as sets are drawn from, those nearest in rate."""


@dataclass(frozen=True)
class LatentArm:
    """A set of latents that is pushed.

    Attributes:
        kind: "features", "random", "latent" or "random latent".
        id: its name.
        latents: `[m]`.
        strengths: `[m]`, each one's usual strength, negative for what fires for pole a.
    """

    kind: str
    id: str
    latents: tuple[int, ...]
    strengths: tuple[float, ...]


def matched_sets(
    latents: Ints, rates: Floats, free: Ints, count: int, rng: np.random.Generator
) -> list[Ints]:
    """Random sets of latents, each with another in place of every selected one that fires about as often.

    Args:
        latents: `[m]`, the selected.
        rates: `[F]`, how often each fires in base.
        free: those that may be drawn.
        count: how many sets.
        rng: source of randomness.

    Returns:
        `count` arrays `[m]` of different latents; none where a selected latent has too few rivals whose rate is within
        twice of its own.
    """
    rivals: list[Ints] = []
    for latent in latents:
        distance = np.abs(np.log2(rates[free] + 1e-9) - np.log2(rates[latent] + 1e-9))
        near = free[np.lexsort((free, distance))]
        rivals.append(near[np.sort(distance) <= 1][: max(_RIVALS * count, 2 * len(latents))])
    sets: list[Ints] = []
    for _ in range(count):
        taken: list[int] = []
        for some in sorted(rivals, key=len):  # those with the fewest rivals choose first
            left = some[~np.isin(some, taken)]
            if not len(left):
                return []
            taken.append(int(rng.choice(left)))
        sets.append(np.array(taken))
    return sets


@dataclass(frozen=True, eq=False)
class Clamps:
    """Edits that push both models by sets of latents, sized on what the latents do on on-topic text.

    Attributes:
        reader: whose latents.
        push: one dose, by side.
        largest: the largest dose.
        texts: on-topic text, coded in each model.
        provenance: of all that multiples and shares are computed from.
    """

    reader: Reader
    push: Push
    largest: float
    texts: Mapping[str, Coded]
    provenance: str
    _reached: dict[tuple[Side, LatentArm, int], tuple[float, float]] = field(default_factory=dict)

    def edit(self, side: Side, arm: LatentArm, dose: float) -> Edit | None:
        """The edit of a dose; none at 0."""
        if dose == 0:
            return None
        multiple, size = self.reach(side, arm, 1 if dose > 0 else -1)
        values = np.sign(dose) * multiple * np.array(arm.strengths)
        share = abs(dose) * self.push.size[side] / size
        return self._clamp(arm, f"at {dose:g} of {self.largest:g}", values, share)

    def silenced(self, arm: LatentArm) -> Edit:
        """The edit that takes the set's codes out."""
        return self._clamp(arm, "at no code", np.zeros(len(arm.latents)), 1.0)

    def reach(self, side: Side, arm: LatentArm, sign: int) -> tuple[float, float]:
        """The multiple of usual strengths that a set is clamped to for its largest dose one way, and the root mean
        square change that clamping to it makes."""
        at = side, arm, sign
        if at not in self._reached:
            self._reached[at] = self._reach(side, arm, sign)
        return self._reached[at]

    def misfit(self, arms: Sequence[LatentArm]) -> float:
        """How many times the largest push the clamps of some sets are, at most, where clamping to usual strengths moves
        the states farther than that: codes then go only a part of the way. 1 where every set is clamped in full."""
        return max(
            self.reach(side, arm, sign)[1] / (self.largest * self.push.size[side])
            for arm in arms
            for side in SIDES
            for sign in (1, -1)
        )

    def _reach(self, side: Side, arm: LatentArm, sign: int) -> tuple[float, float]:
        latents = np.array(arm.latents)
        rows = self.reader.sae.decoder[latents].double().numpy()
        gram = rows @ rows.T
        codes = self.texts[side].codes.columns(torch.from_numpy(latents)).double().numpy()
        towards = sign * np.array(arm.strengths)
        # The mean square of ‖c·towards·D − z·D‖ over tokens, in powers of c.
        square = float(towards @ gram @ towards)
        linear = float(towards @ gram @ codes.mean(0))
        constant = float(((codes @ gram) * codes).sum(1).mean())
        wanted = (self.largest * self.push.size[side]) ** 2
        multiple = max(1.0, (linear + sqrt(max(linear**2 - square * (constant - wanted), 0.0))) / square)
        return multiple, sqrt(multiple**2 * square - 2 * multiple * linear + constant)

    def _clamp(self, arm: LatentArm, how: str, values: Floats, share: float) -> ClampLatents:
        return ClampLatents(
            (self.reader.layer,),
            self.reader.sae,
            f"{arm.kind} {arm.id} {how}:{self.provenance}",
            arm.latents,
            tuple(values.tolist()),
            share,
        )


def arm_of(kind: str, id_: str, latents: Ints, usual: Floats, signs: Floats) -> LatentArm:
    """A set of latents with their usual strengths `[F]`, signed by the pole that each `[m]` fires for."""
    strengths = usual[latents] * signs
    return LatentArm(kind, id_, tuple(latents.tolist()), tuple(strengths.tolist()))
