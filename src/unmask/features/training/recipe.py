"""What a dictionary is trained by: everything that shapes it beside the activations."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt
from typing import Literal

from unmask.features.errors import DictionaryError

Kind = Literal["topk", "batchtopk", "jumprelu"]
KINDS: tuple[Kind, ...] = ("topk", "batchtopk", "jumprelu")


@dataclass(frozen=True)
class Recipe:
    """How to train a sparse autoencoder or a crosscoder.

    Attributes:
        width: F, how many latents.
        k: how many are active on a token: exactly (topk), on average (batchtopk), or as a target (jumprelu).
        kind: which activation.
        tokens: how many to train on; a stream that holds fewer is gone through again.
        batch: tokens a step.
        rate: the largest learning rate; None for 2e-4 / √(F / 2¹⁴), the field's rule.
        warm_up: share of the steps over which the rate rises from 0.
        decay: share of the steps, the last ones, over which it falls to 0.
        clip: the longest gradient, where the loss is a share of the variance.
        aux: what revival counts beside reconstruction.
        dead_after: tokens without firing after which a latent is dead; None for a tenth of `tokens`, at most ten
            million.
        bandwidth: jumprelu's kernel, in units of a token's length.
        pull: what jumprelu's distance from its target counts beside reconstruction.
        seed: of every draw.

    Source: Gao et al. 2406.04093 (topk, revival, rate); Bussmann et al. 2412.06410 (batchtopk); Rajamanoharan et al.
    2407.14435 (jumprelu).
    """

    width: int
    k: int = 32
    kind: Kind = "topk"
    tokens: int = 1_000_000
    batch: int = 2048
    rate: float | None = None
    warm_up: float = 0.05
    decay: float = 0.2
    clip: float = 1.0
    aux: float = 1 / 32
    dead_after: int | None = None
    bandwidth: float = 0.001
    pull: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise DictionaryError(f"no kind of autoencoder '{self.kind}'; there are {', '.join(KINDS)}.")
        if self.width < 2 or not 1 <= self.k < self.width:
            raise DictionaryError(
                f"{self.width} latents with k = {self.k}: k must be at least 1 and less than the width."
            )
        if self.batch < 1 or self.tokens < self.batch:
            raise DictionaryError(
                f"{self.tokens:,} tokens in batches of {self.batch:,}: there must be one batch at least."
            )
        if not 0 <= self.seed < 2**63:
            raise DictionaryError(f"the seed is {self.seed}; it must be 0 or more.")
        for name in ("rate", "clip", "bandwidth"):
            value = getattr(self, name)
            if value is not None and not 0 < value < inf:
                raise DictionaryError(f"{name} is {value}; it must be a number above 0.")
        for name in ("aux", "pull"):
            if not 0 <= getattr(self, name) < inf:
                raise DictionaryError(f"{name} is {getattr(self, name)}; it must be 0 or more.")
        if not (self.warm_up >= 0 and self.decay >= 0 and self.warm_up + self.decay <= 1):
            raise DictionaryError(
                f"the rate rises over {self.warm_up:g} and falls over {self.decay:g} of the steps; both are shares and "
                "may come to 1 at most."
            )

    @property
    def steps(self) -> int:
        """Batches, the last of them whole."""
        return -(-self.tokens // self.batch)

    @property
    def peak_rate(self) -> float:
        """The largest learning rate."""
        return self.rate if self.rate is not None else 2e-4 / sqrt(self.width / 2**14)

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, from 0 on."""
        rising = (step + 1) / max(1.0, self.warm_up * self.steps)
        falling = (self.steps - step) / max(1.0, self.decay * self.steps)
        return self.peak_rate * min(1.0, rising, falling)

    @property
    def silent_tokens(self) -> int:
        """Tokens without firing after which a latent is dead."""
        return self.dead_after if self.dead_after is not None else min(10_000_000, max(1, self.tokens // 10))
