"""Latent scaling: whether a latent that writes into one model alone is absent from the other, or only unwritten there.

A short decoder row may say less than it seems. *Complete Shrinkage*: the other model holds the direction too, and the
crosscoder leaves it in that model's error. *Latent Decoupling*: other latents write it there. Both show when what a
model has along the direction is regressed on the latent's activations. For latent j with codes f and the direction d of
its owner, the model into which it writes more,

    β(y) = argmin Σₜ ‖yₜ − β fₜ d‖² = ⟨d, Σₜ fₜ yₜ⟩ / (‖d‖² Σₜ fₜ²)

is found for each model m twice: of the error without j, y = xᵐ − (x̂ᵐ − f dⱼᵐ), and of the reconstruction, y = x̂ᵐ − bᵐ.
With ν = β of the other model / β of the owner, a high ν_error betrays shrinkage and a high ν_reconstruction decoupling.

The bias is left out of the reconstruction, where the authors' code keeps it: a shift of all activations moves b alone
and says nothing of latents. Everything is in the crosscoder's scaled units, so that a model's length does not count.

Source: Minder et al. 2504.02922.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unmask.features.codes import Codes
from unmask.features.crosscoder import ALIGNED, BASE, Crosscoder
from unmask.features.errors import DictionaryError

LABELS = ("base-only", "aligned-only", "shared", "other", "inactive")
"""Other: none of the first three. Inactive: nothing can be said."""
Labels = npt.NDArray[np.str_]
"""`[F]`, each one of `LABELS`."""

ONE_SIDED = 0.9
"""Δ above it is one model's alone, and 1 − Δ the other's. Minder et al."""
SHARED = (0.4, 0.6)
"""Δ of latents that both models share. Minder et al."""
ABSENT_FROM_ERROR = 0.2
"""|ν_error| below it: the other model's error does not hold the direction. Minder et al., their code's plots."""
ABSENT_FROM_RECONSTRUCTION = 0.5
"""|ν_reconstruction| below it: no other latents write the direction there. As above."""
OWNED = 0.1
"""An owner's own β above it, or the latent does not describe its owner and ν compares nothing with nothing. Ours; a
latent that is fitted well has a β_error of 1."""


@dataclass(frozen=True, eq=False)
class LatentScaling:
    """What of each latent is in each model.

    Attributes:
        tokens: how many were seen.
        active: `[F]`, int64, on how many of them each latent was active.
        relative_norms: `[F]`, Δ: 0 writes into the base model alone, 1 into the aligned one alone.
        owner: `[F]`, int64, the model of which the row was the direction: ALIGNED where Δ ≥ ½, else BASE.
        error: `[F, 2]`, β of each model's error without the latent; NaN where it was never active.
        reconstruction: `[F, 2]`, β of each model's reconstruction less its bias; NaN where it was never active.
    """

    tokens: int
    active: Tensor
    relative_norms: Tensor
    owner: Tensor
    error: Tensor
    reconstruction: Tensor

    @cached_property
    def nu_error(self) -> Tensor:
        """`[F]`, the other model's β_error over the owner's; NaN where never active, or the owner's is not `OWNED`."""
        return self._ratio(self.error)

    @cached_property
    def nu_reconstruction(self) -> Tensor:
        """`[F]`, the other model's β_reconstruction over the owner's; NaN as above."""
        return self._ratio(self.reconstruction)

    @property
    def inactive(self) -> int:
        """How many latents were never active."""
        return int((self.active == 0).sum())

    @property
    def unjudged(self) -> int:
        """How many were active, but have no ν."""
        missing = self.nu_error.isnan() | self.nu_reconstruction.isnan()
        return int((missing & (self.active > 0)).sum())

    def labels_by_norms(self) -> Labels:
        """By Δ alone, artefacts included."""
        return self._labels(ONE_SIDED, torch.ones_like(self.active, dtype=torch.bool))

    def labels(self, lean: float = ONE_SIDED) -> Labels:
        """By Δ and ν: a latent of which a ν is too large, or missing, is no model's alone.

        Args:
            lean: Δ above it may be aligned-only, and 1 − Δ base-only; at least the upper end of `SHARED`. Where Δ finds
                little, as between a model and its fine-tune, a lower one lets ν judge more latents.

        Raises:
            DictionaryError: a `lean` that shared latents have too.
        """
        if not SHARED[1] <= lean <= 1:
            raise DictionaryError(
                f"lean is {lean:g}; it must be {SHARED[1]:g} to 1, since latents nearer to the middle are shared."
            )
        absent = (self.nu_error.abs() < ABSENT_FROM_ERROR) & (
            self.nu_reconstruction.abs() < ABSENT_FROM_RECONSTRUCTION
        )
        return self._labels(lean, absent)

    def counts(self, lean: float = ONE_SIDED) -> dict[str, int]:
        """How many latents have each of the `labels`."""
        labels = self.labels(lean)
        return {kind: int((labels == kind).sum()) for kind in LABELS}

    def _ratio(self, betas: Tensor) -> Tensor:
        own = betas.gather(1, self.owner[:, None])[:, 0]
        other = betas.gather(1, 1 - self.owner[:, None])[:, 0]
        return torch.where(own > OWNED, other / own, torch.nan)

    def _labels(self, lean: float, absent: Tensor) -> Labels:
        norms = self.relative_norms
        low, high = SHARED
        kinds = {
            "inactive": self.active == 0,
            "aligned-only": (norms > lean) & absent,
            "base-only": (1 - norms > lean) & absent,
            "shared": (norms >= low) & (norms <= high),
        }
        return np.select([kind.cpu().numpy() for kind in kinds.values()], list(kinds), default="other")


class LatentScalingFitter:
    """Gathers what latent scaling needs to know of activations: a few sums a latent, in float64.

    Args:
        crosscoder: whose latents.
    """

    def __init__(self, crosscoder: Crosscoder) -> None:
        self.crosscoder = crosscoder
        rows = crosscoder.decoder
        self.relative_norms = crosscoder.relative_norms.double()
        self.owner = torch.where(self.relative_norms >= 0.5, ALIGNED, BASE)
        self.directions = rows[torch.arange(len(rows), device=rows.device), self.owner]
        self.tokens = 0
        self._active = torch.zeros_like(self.owner)
        self._squares = torch.zeros_like(self.relative_norms)
        self._left = self._squares.new_zeros(len(rows), 2)
        self._written = self._squares.new_zeros(len(rows), 2)

    def update(self, x: Tensor) -> LatentScalingFitter:
        """Add a batch of tokens `[n, 2, d]`."""
        flat = self.crosscoder.flat
        tokens = self.crosscoder.prepared(x)
        codes = flat.encode(tokens.flatten(1))
        written = codes.combine(flat.decoder).unflatten(1, (2, -1))
        left = tokens - self.crosscoder.bias - written
        self.tokens += len(x)
        self._active += torch.bincount(codes.latents, minlength=codes.width)
        self._squares += codes.with_values(codes.values.double().square()).totals()
        for model in (BASE, ALIGNED):
            self._left[:, model] += self._along(codes, left[:, model])
            self._written[:, model] += self._along(codes, written[:, model])
        return self

    def result(self) -> LatentScaling:
        """The scaling for what was seen so far."""
        power = self.directions.square().sum(1, keepdim=True, dtype=torch.float64)
        scale = power * self._squares[:, None]
        # The error without the latent is the error and what the latent wrote, which along d is ⟨d, dⱼᵐ⟩ Σf².
        products = self.crosscoder.decoder * self.directions[:, None]
        own = products.sum(2, dtype=torch.float64) / power
        return LatentScaling(
            self.tokens,
            self._active.clone(),
            self.relative_norms,
            self.owner,
            error=self._left / scale + own,
            reconstruction=self._written / scale,
        )

    def _along(self, codes: Codes, states: Tensor) -> Tensor:
        """⟨d, Σₜ fₜ stateₜ⟩ of every latent: `[n, d] -> [F]`, from the products of active latents alone."""
        products = codes.inner(states, self.directions).double()
        return codes.with_values(products * codes.values).totals()
