"""One step after another: select, reconstruct, move, and revive what fell silent.

Tokens are scaled to a mean length of √d, each model's on its own, before anything is trained. That is folded back into
the weights at the end, so that what comes out reads activations as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from unmask.features.codes import Codes
from unmask.features.errors import DictionaryError
from unmask.features.selecting import batch_top_k, top_k
from unmask.features.training.coder import Coder, Pass
from unmask.features.training.recipe import Recipe
from unmask.features.training.threshold import Gate

START = 0.5
"""Length of a latent's rows at the beginning. Short rows turn fast, since a step moves a weight by the rate whatever
its size, and more of them die: of .1, .3, .5 and 1 this left the least variance after 100,000 tokens of SmolLM2."""
GATED = 4096
"""Tokens that jumprelu's first thresholds are set on: their scores stand in memory at once."""
TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class Step:
    """What one batch showed, before it moved the weights.

    Attributes:
        step: from 1 on.
        tokens: trained on so far, this batch included.
        fvu: what is left of the batch, as a share of the first tokens' variance.
        l0: latents active on a token, on average.
        dead: the share of latents that is dead.
    """

    step: int
    tokens: int
    fvu: float
    l0: float
    dead: float


class Trainer:
    """Trains one dictionary; `begin` makes one, `restored` one that stopped.

    Attributes:
        recipe: how.
        scale: `[models]`, what each model's tokens are divided by.
        coder: the weights.
        variance: of the first tokens, scaled.
        gate: jumprelu's thresholds.
        silent: `[F]`, tokens since a latent fired.
        step: how many batches were learnt from.
        seen: how many tokens.
    """

    def __init__(
        self, recipe: Recipe, scale: Tensor, coder: Coder, variance: float, gate: Gate | None = None
    ) -> None:
        self.recipe = recipe
        self.scale = scale
        self.coder = coder
        self.variance = variance
        self.gate = gate
        self.silent = torch.zeros(recipe.width, dtype=torch.int64)
        self.step = 0
        self.seen = 0
        self.optimizer = torch.optim.Adam([*self.weights().values()], lr=recipe.peak_rate, fused=True)

    @staticmethod
    def begin(recipe: Recipe, first: Tensor) -> Trainer:
        """At the beginning.

        Args:
            recipe: how.
            first: `[n, models, d_model]`, some of the first tokens; they set the scale, the centre and the variance.

        Raises:
            DictionaryError: they are not finite, or all alike.
        """
        first = first.float()
        models, d_model = first.shape[1:]
        scale = first.norm(dim=2).mean(0) / sqrt(d_model)
        if not bool(scale.isfinite().all()):
            raise DictionaryError("the activations are not finite (NaN or infinite); the model is damaged.")
        tokens = (first / scale.clamp_min(TINY)[:, None]).flatten(1)
        draws = torch.Generator().manual_seed(recipe.seed)
        coder = Coder.begin(recipe.width, tokens.mean(0), models, START, draws)
        variance = float((tokens - coder.bias).pow(2).sum(1).mean())
        if variance < 1e-9:
            raise DictionaryError("the activations are all alike; there is nothing to train on.")
        trainer = Trainer(recipe, scale, coder, variance)
        if recipe.kind == "jumprelu":
            gate = Gate.begin(recipe, trainer.forward(tokens[:GATED]))
            return Trainer(recipe, scale, coder, variance, gate)
        return trainer

    @property
    def models(self) -> int:
        """How many models a token is laid end to end of."""
        return len(self.scale)

    def state(self) -> dict[str, Tensor]:
        """Everything that the next batch depends on, by name, to be stored."""
        moments = {
            f"{name}.{moment}": self.optimizer.state[weight][moment]
            for name, weight in self.weights().items()
            if weight in self.optimizer.state
            for moment in ("exp_avg", "exp_avg_sq", "step")
        }
        counts = {
            "scale": self.scale,
            "silent": self.silent,
            "step": torch.tensor(self.step),
            "seen": torch.tensor(self.seen),
        }
        return (
            self.weights() | moments | counts | {"variance": torch.tensor(self.variance, dtype=torch.float64)}
        )

    @staticmethod
    def restored(recipe: Recipe, state: Mapping[str, Tensor]) -> Trainer:
        """From what `state` gave: it goes on as if it had not stopped."""
        weights = {name: state[name].clone() for name in ("encoder", "encoder_bias", "decoder", "bias")}
        coder = Coder(models=len(state["scale"]), **weights)
        gate = None
        if recipe.kind == "jumprelu":
            gate = Gate(recipe, state["threshold"].clone(), coder.bias.numel())
        trainer = Trainer(recipe, state["scale"].clone(), coder, float(state["variance"]), gate)
        trainer.silent = state["silent"].clone()
        trainer.step, trainer.seen = int(state["step"]), int(state["seen"])
        for name, weight in trainer.weights().items():
            if trainer.step:
                trainer.optimizer.state[weight] = {
                    moment: state[f"{name}.{moment}"].clone() for moment in ("exp_avg", "exp_avg_sq", "step")
                }
        return trainer

    def weights(self) -> dict[str, Tensor]:
        """What is trained, by name; the optimizer changes these very tensors."""
        gate = {} if self.gate is None else {"threshold": self.gate.threshold}
        return self.coder.parameters() | gate

    def prepared(self, batch: Tensor) -> Tensor:
        """Tokens `[n, models, d_model]` laid end to end and scaled: `[n, models · d_model]`."""
        return (batch.float() / self.scale.clamp_min(TINY)[:, None]).flatten(1)

    def forward(self, x: Tensor) -> Pass:
        """Prepared tokens on their way; under thresholds of their own latents do not compete."""
        return self.coder.forward(x, ranked=self.recipe.kind != "jumprelu")

    def train(self, batch: Tensor) -> Step:
        """Learn from a batch `[n, models, d_model]`.

        Raises:
            DictionaryError: the error is not finite.
        """
        grads, lost, l0, dead = self.gradients(batch)
        self._move(grads)
        self.seen += len(batch)
        return Step(self.step, self.seen, lost, l0, dead)

    def gradients(self, batch: Tensor) -> tuple[dict[str, Tensor], float, float, float]:
        """Of a batch: the gradient by weight, the share of variance left, latents active on a token, share dead."""
        recipe, coder = self.recipe, self.coder
        x = self.prepared(batch)
        run = self.forward(x)
        codes = self._select(run)
        error = coder.error(codes, run.centred)
        lost = float(error.pow(2).sum(1).mean()) / self.variance
        if not lost < float("inf"):
            raise DictionaryError(
                f"training diverged at step {self.step + 1}: the error is not finite; lower the rate (it is "
                f"{recipe.peak_rate:.2g})."
            )
        pull = error * (2 / (len(x) * self.variance))
        grads = coder.gradient(codes, run.centred, pull)
        if self.gate is not None:
            grads["threshold"] = self.gate.gradient(run, codes, pull, coder)
        self._note_fired(codes, len(x))
        dead = (self.silent > recipe.silent_tokens).nonzero(as_tuple=True)[0]
        if len(dead) and recipe.aux:
            count = min(coder.bias.numel() // 2, len(dead))
            for name, more in coder.revive(run, error, dead, count, recipe.aux).items():
                grads[name] += more
        return grads, lost, len(codes.values) / len(x), len(dead) / recipe.width

    def _select(self, run: Pass) -> Codes:
        if self.gate is not None:
            return self.gate.select(run.scores)
        choose = top_k if self.recipe.kind == "topk" else batch_top_k
        return run.codes(*choose(run.scores, self.recipe.k))

    def _note_fired(self, codes: Codes, tokens: int) -> None:
        self.silent += tokens
        self.silent[codes.latents] = 0

    def _move(self, grads: dict[str, Tensor]) -> None:
        """One step of Adam on a gradient that is at most `clip` long."""
        length = torch.stack([grad.norm() for grad in grads.values()]).norm()
        shorter = (self.recipe.clip / length).clamp_max(1.0)
        for name, weight in self.weights().items():
            weight.grad = grads[name].mul_(shorter)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate_at(self.step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.gate is not None:
            self.gate.threshold.clamp_min_(0)
        self.step += 1
