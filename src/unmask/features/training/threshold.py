"""JumpReLU's gate under training: a threshold a latent, moved by straight-through estimates.

A threshold has no gradient where it stands, since an activation is either through or not. What a small move would do is
judged from the activations near it: within a kernel of width ε,

    ∂L/∂θᵢ = −(1/ε) Σₜ near(pₜᵢ, θᵢ) [θᵢ (∂L/∂x̂ₜ · dᵢ) + (1/n) ∂L/∂L0]

Sparsity is asked for by number: the loss has pull · (L0/k − 1)², so that k means what it means elsewhere.

Source: Rajamanoharan et al. 2407.14435; the quadratic target as in their appendix.
"""

from __future__ import annotations

from math import sqrt

from torch import Tensor

from unmask.features.codes import Codes
from unmask.features.training.coder import Coder, Pass
from unmask.features.training.recipe import Recipe

FIRST = 4
"""Times k, how many latents a token has on average before the thresholds have moved."""


class Gate:
    """Thresholds under training.

    Args:
        recipe: target, kernel and pull.
        threshold: `[F]`.
        d: width of a token, of length √d on average.
    """

    def __init__(self, recipe: Recipe, threshold: Tensor, d: int) -> None:
        self.recipe = recipe
        self.threshold = threshold
        self.kernel = recipe.bandwidth * sqrt(d)

    @staticmethod
    def begin(recipe: Recipe, run: Pass) -> Gate:
        """Thresholds under which each latent takes its part of `FIRST` times k on these tokens."""
        part = min(FIRST * recipe.k / recipe.width, 0.5)
        count = max(1, round(part * len(run.scores)))
        bar = run.scores.topk(count, dim=0, sorted=False).values.amin(0)
        return Gate(recipe, bar.clamp_min(0), run.centred.shape[1])

    def select(self, pre: Tensor) -> Codes:
        """`[n, F]` pre-activations to codes."""
        return Codes.where(pre, pre > self.threshold)

    def gradient(self, run: Pass, codes: Codes, pull: Tensor, coder: Coder) -> Tensor:
        """`[F]`, of the whole loss in the thresholds.

        Args:
            run: the batch.
            codes: what was active.
            pull: `[n, d]`, the reconstruction's gradient in x̂.
            coder: the weights.
        """
        n, k = len(codes), self.recipe.k
        near = Codes.where(run.scores, (run.scores - self.threshold).abs() < self.kernel / 2)
        by_error = near.with_values(near.inner(pull, coder.decoder)).totals()
        count = near.with_values(near.values.new_ones(len(near.values))).totals()
        too_many = 2 * self.recipe.pull * (len(codes.values) / (n * k) - 1) / k
        return -(self.threshold * by_error + count * (too_many / n)) / self.kernel
