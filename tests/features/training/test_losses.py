"""The loss and its gradients beside those of SAELens and sparsify, on the same weights and the same batch.

The files are made by formats/peers/losses.py. With n tokens x, e = x − x̂, ê what the dead latents make of e, V the
variance by which our loss is divided (that of the first tokens), D dead latents and w the weight of revival:

              reconstruction      auxiliary, as each library weighs it
    unmask    Σ‖e‖² / nV          w Σ‖ê − e‖² / Σ‖e‖²
    SAELens   Σ‖e‖² / n           c · min(2D / d, 1) · Σ‖ê − e‖² / n
    sparsify  Σ‖e‖² / Σ‖x − x̄‖²   α · min(2D / d, 1) · Σ‖ê − e‖² / Σ‖x − x̄‖², with x̄ the batch's mean

None of the factors between them depends on a weight (the denominators of the auxiliary losses are taken as given), so
gradients differ by the same factors. Where they differ otherwise, a test below says how.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from unmask.features.selecting import batch_top_k, top_k
from unmask.features.training.coder import Coder
from unmask.features.training.recipe import Kind, Recipe
from unmask.features.training.threshold import Gate
from unmask.features.training.trainer import Trainer

LOSSES = Path(__file__).parents[1] / "formats" / "peers" / "losses"
K, VARIANCE, BANDWIDTH = 5, 7.0, 0.5
WEIGHTS = ("encoder", "encoder_bias", "decoder", "bias")
CASES: list[tuple[str, Kind]] = [
    ("saelens_topk", "topk"),
    ("saelens_batchtopk", "batchtopk"),
    ("saelens_jumprelu", "jumprelu"),
    ("sparsify_topk", "topk"),
]
REVIVED = [case for case in CASES if case[1] != "jumprelu"]


def trainer_of(seen: dict[str, Tensor], kind: Kind, aux: float = 0.0, pull: float = 0.0) -> Trainer:
    """On their weights and on tokens as they are; K and BANDWIDTH are those of losses.py."""
    width, d = seen["encoder"].shape
    n = len(seen["x"])
    bandwidth = BANDWIDTH / d**0.5
    recipe = Recipe(width, K, kind, n, n, aux=aux, pull=pull, bandwidth=bandwidth, dead_after=10 * n)
    gate = Gate(recipe, seen["threshold"].clone(), d) if kind == "jumprelu" else None
    coder = Coder(1, *(seen[name].clone() for name in WEIGHTS))
    return Trainer(recipe, torch.ones(1), coder, VARIANCE, gate)


def reconstruction(seen: dict[str, Tensor], kind: Kind) -> tuple[dict[str, Tensor], float]:
    """Our gradients and our loss, without any other term."""
    grads, loss, _, _ = trainer_of(seen, kind).gradients(seen["x"][:, None])
    return grads, loss


def variance_of(name: str, x: Tensor) -> float:
    """What a library divides Σ‖e‖² / n by."""
    return float((x - x.mean(0)).pow(2).sum(1).mean()) if name.startswith("sparsify") else 1.0


def share_left(trainer: Trainer, x: Tensor, dead: Tensor) -> float:
    """Σ‖ê − e‖² / Σ‖e‖²: what dead latents leave of the error, of the codes that revival takes."""
    run = trainer.forward(x)
    choose = top_k if trainer.recipe.kind == "topk" else batch_top_k
    error = trainer.coder.error(run.codes(*choose(run.scores, K)), run.centred)
    scores, columns = top_k(run.scores[:, dead], min(x.shape[1] // 2, len(dead)))
    missing = run.codes(scores, dead[columns]).combine(trainer.coder.decoder) + error
    return float(missing.pow(2).sum() / error.pow(2).sum())


def assert_close(found: Tensor, expected: Tensor, name: str) -> None:
    largest = float(expected.abs().max())
    assert largest > 0, name
    assert torch.allclose(found, expected, rtol=1e-4, atol=2e-6 * largest), name


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_reconstruction_is_theirs_but_for_the_variance(name: str, kind: Kind) -> None:
    seen = load_file(LOSSES / f"{name}.safetensors")
    grads, loss = reconstruction(seen, kind)
    factor = variance_of(name, seen["x"]) / VARIANCE
    assert loss == pytest.approx(factor * float(seen["loss"]), rel=1e-5)
    for weight, grad in grads.items():
        assert_close(grad, factor * seen[f"loss.{weight}"], weight)


@pytest.mark.parametrize("which", ["few", "many"])
@pytest.mark.parametrize(("name", "kind"), REVIVED)
def test_revival_is_theirs_but_for_what_it_is_a_share_of(name: str, kind: Kind, which: str) -> None:
    """Ours is a share of the error and does not shrink where few latents are dead.

    SAELens' dead latents take part below 0 too. None is here; ours and sparsify's never do.
    """
    seen = load_file(LOSSES / f"{name}.safetensors")
    x, dead = seen["x"], seen[f"{which}.dead"]
    trainer = trainer_of(seen, kind, aux=1.0)
    plain, loss = reconstruction(seen, kind)
    trainer.silent[dead] = 1_000_000
    grads = trainer.gradients(x[:, None])[0]

    error = loss * VARIANCE  # Σ‖e‖² / n
    factor = error / variance_of(name, x) * min(2 * len(dead) / x.shape[1], 1.0)
    theirs = {weight: seen[f"{which}.aux.{weight}"] / factor for weight in WEIGHTS}
    assert float(seen[f"{which}.aux"]) / factor == pytest.approx(share_left(trainer, x, dead), rel=1e-5)
    assert_close(grads["decoder"] - plain["decoder"], theirs["decoder"], "decoder")
    if name.startswith("sparsify"):
        # Its fused encoder passes no gradient on to pre-activations, so there AuxK moves the decoder alone.
        assert not any(bool(theirs[weight].any()) for weight in ("encoder", "encoder_bias", "bias"))
        assert bool((grads["encoder"] - plain["encoder"]).any())
        return
    assert_close(grads["encoder"] - plain["encoder"], theirs["encoder"], "encoder")
    assert_close(grads["encoder_bias"] - plain["encoder_bias"], theirs["encoder_bias"], "encoder_bias")
    # Theirs moves the bias too, through the tokens that dead latents read; ours leaves it to what is alive.
    assert torch.equal(grads["bias"], plain["bias"])
    assert_close(-theirs["encoder_bias"] @ seen["encoder"], theirs["bias"], "bias")


def test_a_target_of_l0_pulls_as_a_coefficient_would() -> None:
    """Our (L0/k − 1)², of the batch's mean L0, has the gradient of SAELens' L0 with a coefficient of 2 (L0/k − 1) / k.

    SAELens' own target is (2/k) (L0 − k)² token by token: 2k times ours, and 2/k times the variance of L0 over tokens.
    """
    seen = load_file(LOSSES / "saelens_jumprelu.safetensors")
    l0 = float(seen["l0"])
    plain, _ = reconstruction(seen, "jumprelu")
    trainer = trainer_of(seen, "jumprelu", pull=1.0)
    grads, _, found, _ = trainer.gradients(seen["x"][:, None])
    assert found == pytest.approx(l0)
    moved = grads["threshold"] - plain["threshold"]
    assert_close(moved, 2 * (l0 / K - 1) / K * seen["l0.threshold"], "threshold")
    for weight in WEIGHTS:
        assert torch.equal(grads[weight], plain[weight])
        assert not bool(seen[f"l0.{weight}"].any())
    scores = trainer.forward(seen["x"]).scores
    active = (scores > seen["threshold"]).sum(1).double()
    spread = float((active - l0).pow(2).mean())
    assert spread > 0
    assert float(seen["quadratic"]) == pytest.approx(2 * K * ((l0 / K - 1) ** 2 + spread / K**2), rel=1e-5)
