"""Training beside autograd, and on activations whose features are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from features.planted import Planted
from torch import Tensor

from unmask.features.errors import DictionaryError
from unmask.features.training.finishing import finished_autoencoder
from unmask.features.training.recipe import KINDS, Kind, Recipe
from unmask.features.training.trainer import Trainer


def tokens(n: int, models: int = 1, seed: int = 0) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(n, models, 12, generator=draws) * 5 + 1


def loss_by_autograd(trainer: Trainer, batch: Tensor, dead: Tensor) -> dict[str, Tensor]:
    """The same loss written densely, with what is chosen taken as given, and differentiated by torch."""
    recipe = trainer.recipe
    weights = {name: value.clone().requires_grad_() for name, value in trainer.coder.parameters().items()}
    x = trainer.prepared(batch)
    pre = (x - weights["bias"]) @ weights["encoder"].T + weights["encoder_bias"]
    norms = weights["decoder"].unflatten(1, (trainer.models, -1)).norm(dim=2).sum(1)
    scores = (pre * norms).detach()
    count = recipe.k if recipe.kind == "topk" else len(x) * recipe.k
    ranked = scores if recipe.kind == "topk" else scores.reshape(1, -1)
    bar = ranked.topk(count, dim=1).values[:, -1:]
    codes = pre * ((scores >= bar) & (pre > 0))
    error = codes @ weights["decoder"] + weights["bias"] - x
    loss = error.pow(2).sum(1).mean() / trainer.variance
    if len(dead):
        left = -error.detach()
        held = [weights["encoder"][dead], weights["encoder_bias"][dead], weights["decoder"][dead]]
        chances = (x - weights["bias"].detach()) @ held[0].T + held[1]
        aux_bar = scores[:, dead].topk(min(x.shape[1] // 2, len(dead)), dim=1).values[:, -1:]
        revived = (chances * ((scores[:, dead] >= aux_bar) & (chances > 0))) @ held[2]
        loss = loss + recipe.aux * (revived - left).pow(2).sum() / left.pow(2).sum()
    loss.backward()
    return {name: weight.grad for name, weight in weights.items() if weight.grad is not None}


@pytest.mark.parametrize("kind", ["topk", "batchtopk"])
@pytest.mark.parametrize("models", [1, 2])
@pytest.mark.parametrize("some_dead", [False, True])
def test_the_gradient_is_autograd_s(kind: Kind, models: int, some_dead: bool) -> None:
    recipe = Recipe(width=30, k=4, kind=kind, tokens=64, batch=64, clip=1e9, dead_after=1000)
    trainer = Trainer.begin(recipe, tokens(64, models))
    trainer.coder.decoder *= torch.linspace(0.2, 2, 30)[:, None]  # they rank otherwise than their activations
    trainer.coder.encoder_bias += 1.0  # more than k are above 0 on every token
    batch = tokens(64, models, seed=1)
    dead = torch.arange(9 if some_dead else 0)
    trainer.silent[dead] = 1_000_000
    trainer.coder.decoder[dead] *= 1e-3  # ranked last, yet active where only the dead compete
    expected = loss_by_autograd(trainer, batch, dead)
    moved = trainer.gradients(batch)[0]
    for name, grad in expected.items():
        found = moved[name]
        assert torch.allclose(found, grad, rtol=1e-4, atol=1e-6 * float(grad.abs().max())), name
    if some_dead:
        assert float(moved["encoder"][:9].abs().sum()) > 0


@pytest.mark.parametrize("pull", [0.0, 1.0])
def test_a_threshold_s_gradient_is_what_a_kernel_s_width_of_moves_would_do(pull: float) -> None:
    """Averaged over thresholds spread by the kernel, a straight-through estimate is the difference that moves make."""
    recipe = Recipe(width=6, k=2, kind="jumprelu", tokens=40_000, batch=40_000, bandwidth=0.02, pull=pull)
    trainer = Trainer.begin(recipe, tokens(40_000))
    batch = tokens(40_000, seed=2)
    gate = trainer.gate
    assert gate is not None
    gate.threshold[:] = 0.4
    trainer.coder.decoder *= 0.05  # so that one latent's gate does not change what another's does

    def loss() -> float:
        x = trainer.prepared(batch)
        run = trainer.forward(x)
        codes = gate.select(run.scores)
        lost = trainer.coder.error(codes, run.centred).pow(2).sum(1).mean() / trainer.variance
        return float(lost) + recipe.pull * (len(codes.values) / len(x) / recipe.k - 1) ** 2

    half, slopes = gate.kernel / 2, []
    for latent in range(recipe.width):
        at = float(gate.threshold[latent])
        gate.threshold[latent] = at + half
        above = loss()
        gate.threshold[latent] = at - half
        slopes.append((above - loss()) / (2 * half))
        gate.threshold[latent] = at
    grad = trainer.gradients(batch)[0]["threshold"]
    assert torch.allclose(grad, torch.tensor(slopes), rtol=0.05, atol=0.02 * float(grad.abs().max()))


@pytest.mark.parametrize("kind", KINDS)
def test_planted_features_are_recovered(kind: Kind) -> None:
    """512 features in 256 dimensions, 16 on a token: at least 90 % at cosine .9, and codes that say which were on."""
    planted = Planted.drawn()
    draws = torch.Generator().manual_seed(1)
    recipe = Recipe(width=1024, k=16, kind=kind, tokens=120_000, batch=1024, rate=2e-3)
    trainer = Trainer.begin(recipe, planted.tokens(4096, draws)[:, None])
    for _ in range(recipe.steps):
        trainer.train(planted.tokens(recipe.batch, draws)[:, None])
    sae = finished_autoencoder(trainer, planted.tokens(4096, draws)[:, None], {})
    assert planted.recovered(sae.decoder) >= 0.9
    strengths = planted.strengths(2000, draws)
    x = strengths @ planted.features * planted.size + planted.offset
    codes = sae.encode(x)
    if kind != "jumprelu":  # its target is pulled towards, not met
        assert len(codes.values) / len(x) == pytest.approx(16, rel=0.02)
    best = (planted.features @ sae.decoder.T).argmax(1)
    fired = codes.dense()[:, best] > 0
    assert fired[strengths > 0].float().mean() > 0.8
    assert fired[strengths == 0].float().mean() < 0.02
    left = (sae.reconstruct(x) - x).pow(2).sum() / (x - x.mean(0)).pow(2).sum()
    assert float(left) < 0.2


def test_dead_latents_come_back() -> None:
    planted = Planted.drawn(64, 32)

    def dead_in_the_end(aux: float) -> float:
        draws = torch.Generator().manual_seed(1)
        recipe = Recipe(width=128, k=4, tokens=60_000, batch=500, rate=2e-3, dead_after=5_000, aux=aux)
        trainer = Trainer.begin(recipe, planted.tokens(2000, draws)[:, None])
        trainer.coder.encoder[:100] *= 0.01  # their activations never rank among the largest
        batches = (planted.tokens(recipe.batch, draws)[:, None] for _ in range(recipe.steps))
        return [trainer.train(batch) for batch in batches][-1].dead

    assert dead_in_the_end(0.0) > 0.7
    assert dead_in_the_end(1 / 32) < 0.4


@pytest.mark.parametrize("kind", KINDS)
def test_folding_leaves_what_was_trained(kind: Kind) -> None:
    """The finished autoencoder, on activations as they are, does what the weights did on scaled ones."""
    recipe = Recipe(width=40, k=5, kind=kind, tokens=6400, batch=64, rate=3e-3)
    trainer = Trainer.begin(recipe, tokens(640))
    for seed in range(100):
        trainer.train(tokens(64, seed=seed))
    held = tokens(500, seed=999)
    x = trainer.prepared(held)
    run = trainer.forward(x)
    if kind == "topk":
        codes = run.codes(*run.scores.topk(5))
    elif kind == "batchtopk":
        bar = run.scores.flatten().sort(descending=True).values[5 * 500]
        codes = run.codes(torch.where(run.scores > bar, run.scores, 0), torch.arange(40).expand(500, 40))
    else:
        assert trainer.gate is not None
        codes = trainer.gate.select(run.scores)
    expected = trainer.coder.error(codes, run.centred) + x
    sae = finished_autoencoder(trainer, held, {"layer": 3})
    assert torch.allclose(sae.reconstruct(held[:, 0]), expected * trainer.scale[0], atol=1e-3)
    assert torch.allclose(sae.decoder_norms, torch.ones(40), atol=1e-5)
    assert sae.facts == {"layer": 3}


@pytest.mark.parametrize(
    ("first", "says"),
    [
        (torch.full((8, 1, 4), torch.nan), "not finite"),
        (torch.ones(8, 1, 4), "all alike"),
        (torch.zeros(8, 1, 4), "all alike"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(first: Tensor, says: str) -> None:
    with pytest.raises(DictionaryError, match=says):
        Trainer.begin(Recipe(width=8, k=2, tokens=8, batch=8), first)


def test_divergence_is_told() -> None:
    trainer = Trainer.begin(Recipe(width=8, k=2, tokens=8, batch=8), tokens(8))
    with pytest.raises(DictionaryError, match=r"diverged at step 1: .*lower the rate"):
        trainer.train(torch.full((8, 1, 12), torch.inf))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"k": 0}, "k must be at least 1"),
        ({"k": 100}, "less than the width"),
        ({"kind": "relu"}, "no kind of autoencoder 'relu'"),
        ({"tokens": 10}, "one batch at least"),
        ({"warm_up": 0.9}, "come to 1 at most"),
        ({"seed": -1}, "must be 0 or more"),
        ({"rate": float("nan")}, "must be a number above 0"),
        ({"rate": -1.0}, "must be a number above 0"),
        ({"aux": -1.0}, "must be 0 or more"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(DictionaryError, match=says):
        replace(Recipe(width=100), **change)


def test_the_rate_rises_stays_and_falls() -> None:
    recipe = Recipe(width=2**14, tokens=100_000, batch=1000, warm_up=0.1, decay=0.2)
    assert recipe.peak_rate == pytest.approx(2e-4)
    rates = [recipe.rate_at(step) / 2e-4 for step in (0, 4, 9, 50, 80, 90, 99)]
    assert rates == pytest.approx([0.1, 0.5, 1, 1, 1, 0.5, 0.05])


def test_batchtopk_s_threshold_leaves_k_latents_however_uneven_tokens_are() -> None:
    """Of 256 features a few tokens have 64 and the others none to speak of: far more than k, on few."""
    planted = Planted.drawn(256, 64)
    draws = torch.Generator().manual_seed(0)
    dense = torch.rand(8000, generator=draws) < 0.05
    on = torch.rand(8000, 256, generator=draws) < torch.where(dense, 0.25, 0.002)[:, None]
    x = (on * (1 + torch.rand(8000, 256, generator=draws)) @ planted.features * 3)[:, None]
    recipe = Recipe(width=512, k=2, kind="batchtopk", tokens=40_000, batch=1000, rate=2e-3)
    trainer = Trainer.begin(recipe, x)
    for part in x.repeat(5, 1, 1).split(1000):
        trainer.train(part)
    sae = finished_autoencoder(trainer, x, {})
    assert len(sae.encode(x[:, 0]).values) / 8000 == pytest.approx(2, rel=0.02)
