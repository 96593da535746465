"""Sparse codes, and the three sums over them that reading, editing and training need.

A code of a token is the few latents that are active on it. Tokens lie one after the other, so a batch is a sparse
matrix by rows (CSR). Decoding it, gathering a gradient for every latent, and the gradient of every active value are
each one pass over the active latents alone: of 16,384 latents with 32 active, a five-hundredth of the dense products.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag


@dataclass(frozen=True, eq=False)
class Codes:
    """What is active on each of n tokens.

    Attributes:
        offsets: `[n + 1]`, int64: token t's entries are `offsets[t]` to `offsets[t + 1]`.
        latents: `[entries]`, int64: which latent.
        values: `[entries]`: how strongly, never 0.
        width: F, how many latents there are.
    """

    offsets: Tensor
    latents: Tensor
    values: Tensor
    width: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @staticmethod
    def of(values: Tensor, latents: Tensor, width: int) -> Codes:
        """From candidates `[n, k]` and the latents `[n, k]` that they are of; those not above 0 are left out."""
        active = values > 0
        return Codes(_offsets(active.sum(1)), latents[active], values[active], width)

    @staticmethod
    def where(dense: Tensor, active: Tensor) -> Codes:
        """From a dense matrix `[n, F]`: its entries where `active [n, F]`."""
        _, latents = active.nonzero(as_tuple=True)
        return Codes(_offsets(active.sum(1)), latents, dense[active], dense.shape[1])

    @staticmethod
    def join(parts: Sequence[Codes]) -> Codes:
        """Batches of one width, one after the other."""
        counts = torch.cat([part.offsets.diff() for part in parts])
        return Codes(
            _offsets(counts),
            torch.cat([part.latents for part in parts]),
            torch.cat([part.values for part in parts]),
            parts[0].width,
        )

    @property
    def tokens(self) -> Tensor:
        """`[entries]`, int64: which token each entry is of."""
        counts = self.offsets.diff()
        return torch.repeat_interleave(counts, output_size=len(self.latents))

    def dense(self) -> Tensor:
        """`[n, F]`, with zeros where nothing is active."""
        whole = self.values.new_zeros(len(self), self.width)
        whole[self.tokens, self.latents] = self.values
        return whole

    def columns(self, latents: Tensor) -> Tensor:
        """`[n, m]`, the codes of some `latents [m]`, zeros where one is not active."""
        rows = self.values.new_zeros(self.width, len(latents))
        rows[latents, torch.arange(len(latents), device=rows.device)] = 1.0
        return self.combine(rows)

    def with_values(self, values: Tensor) -> Codes:
        """The same entries with other values `[entries]`."""
        return Codes(self.offsets, self.latents, values, self.width)

    def combine(self, rows: Tensor) -> Tensor:
        """Σᵢ zᵢ rowᵢ for every token: `[F, d] -> [n, d]`. With the decoder's rows, the decoded tokens less its bias."""
        return _weighted_sums(self.latents, rows, self.offsets, self.values)

    def gather(self, states: Tensor) -> Tensor:
        """Σₜ zₜᵢ stateₜ for every latent: `[n, d] -> [F, d]`, zeros where a latent is never active."""
        order = torch.argsort(self.latents, stable=True)
        ends = _offsets(torch.bincount(self.latents, minlength=self.width))
        return _weighted_sums(self.tokens[order], states, ends, self.values[order])

    def totals(self) -> Tensor:
        """Σₜ zₜᵢ for every latent: `[F]`."""
        return self.values.new_zeros(self.width).index_add_(0, self.latents, self.values)

    def inner(self, states: Tensor, rows: Tensor) -> Tensor:
        """stateₜ · rowᵢ for every entry: `[n, d]`, `[F, d] -> [entries]`, and no product that is not needed."""
        sums = torch.ops.aten._embedding_bag_per_sample_weights_backward
        return sums(states, rows, self.latents, self.offsets[:-1], self.tokens, 0)


def _weighted_sums(which: Tensor, rows: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
    return embedding_bag(
        which, rows, offsets, mode="sum", per_sample_weights=weights.to(rows.dtype), include_last_offset=True
    )


def _offsets(counts: Tensor) -> Tensor:
    return torch.nn.functional.pad(counts.cumsum(0), (1, 0))
