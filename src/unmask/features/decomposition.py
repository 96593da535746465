"""What a direction reads of a token, part by part: the bias, every latent that is active, and what the code leaves out.

    h·ω = b·ω + Σᵢ zᵢ (dᵢ·ω) + ε·ω        ε = h − x̂

It is an identity, whatever the autoencoder is worth: one that explains nothing leaves everything to ε.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask.features.autoencoder import SparseAutoencoder
from unmask.features.codes import Codes


@dataclass(frozen=True, eq=False)
class Decomposition:
    """The parts of h·ω for n tokens, in float64.

    Attributes:
        bias: what the decoder's bias gives every token.
        latents: zᵢ (dᵢ·ω) of every active latent.
        error: `[n]`, ε·ω.
        total: `[n]`, h·ω itself.
    """

    bias: float
    latents: Codes
    error: Tensor
    total: Tensor

    def of(self, chosen: Tensor) -> Tensor:
        """`[n]`, what the latents of `chosen [m]` give together."""
        mine = self.total.new_zeros(self.latents.width)
        mine[chosen] = 1.0
        return self.latents.combine(mine[:, None])[:, 0]

    @property
    def all_latents(self) -> Tensor:
        """`[n]`, what all latents give together."""
        return self.latents.combine(self.total.new_ones(self.latents.width, 1))[:, 0]


def decompose(sae: SparseAutoencoder, x: Tensor, direction: Tensor) -> Decomposition:
    """The parts of tokens `[n, d]` along a direction `[d]`."""
    codes = sae.encode(x)
    omega = direction.double()
    values = codes.values.double()
    active, which = codes.latents.unique(return_inverse=True)
    rows = sae.decoder[active].double()  # of all latents they would take twice the dictionary's memory
    written = Codes(codes.offsets, which, values, len(active)).combine(rows)
    left = x.double() - written - sae.bias.double()
    return Decomposition(
        float(sae.bias.double() @ omega),
        codes.with_values(values * (rows @ omega)[which]),
        left @ omega,
        x.double() @ omega,
    )
