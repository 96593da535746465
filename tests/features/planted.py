"""Activations made of known features: a dictionary, which of it is active on a token, and the sum."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Planted:
    """F features of length 1 in d dimensions, `active` of them on a token on average, each 1 to 2 strong, times `size`
    and away from the origin by `offset`."""

    features: Tensor
    active: float = 16
    size: float = 3.0
    offset: float = 0.5

    @staticmethod
    def drawn(n_features: int = 512, d: int = 256, seed: int = 0) -> Planted:
        rows = torch.randn(n_features, d, generator=torch.Generator().manual_seed(seed))
        return Planted(rows / rows.norm(dim=1, keepdim=True))

    def strengths(self, n: int, draws: torch.Generator) -> Tensor:
        """`[n, F]`."""
        shape = (n, len(self.features))
        on = torch.rand(shape, generator=draws) < self.active / len(self.features)
        return on * (1 + torch.rand(shape, generator=draws))

    def tokens(self, n: int, draws: torch.Generator) -> Tensor:
        """`[n, d]`."""
        return self.strengths(n, draws) @ self.features * self.size + self.offset

    def recovered(self, decoder: Tensor, at: float = 0.9) -> float:
        """The share of features that some row of `decoder [latents, d]` points along."""
        rows = decoder / decoder.norm(dim=1, keepdim=True)
        return float(((self.features @ rows.T).amax(1) >= at).float().mean())
