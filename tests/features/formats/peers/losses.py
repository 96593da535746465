"""Make the files in losses/: what the real libraries' losses are on a batch, and their gradients.

    pip install sae-lens==6.54.12 eai-sparsify==1.3.3
    python tests/features/formats/peers/losses.py

A file holds weights as unmask lays them (encoder and decoder `[F, d]`), a batch x `[n, d]` and, by the library:

    loss                    the reconstruction loss alone
    loss.WEIGHT             its gradient in a weight
    few.dead, many.dead     `[m]`, latents taken to be dead: fewer than d / 2, and more
    few.aux, many.aux       the auxiliary loss alone, as the library weighs it with a coefficient of 1
    few.aux.WEIGHT, …       its gradient; zeros where there is none
    l0, l0.threshold        of JumpReLU: the loss of L0 with a coefficient of 1, and its gradient
    quadratic               of JumpReLU: the loss of L0 about a target of K, with a coefficient of 1

training/test_losses.py holds ours against them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

os.environ["SPARSIFY_DISABLE_TRITON"] = "1"

import torch
from sae_lens import (
    BatchTopKTrainingSAE,
    BatchTopKTrainingSAEConfig,
    JumpReLUTrainingSAE,
    JumpReLUTrainingSAEConfig,
    TopKTrainingSAE,
    TopKTrainingSAEConfig,
)
from sae_lens.saes.sae import TrainStepInput
from safetensors.torch import save_file
from sparsify import SparseCoder, SparseCoderConfig

D, F, N, K = 12, 40, 48, 5
BANDWIDTH = 0.5
LOSSES = Path(__file__).parent / "losses"
DEAD = {"few": torch.arange(3), "many": torch.arange(9)}
Losses = Callable[[torch.Tensor | None], dict[str, torch.Tensor]]
"""By name, given which latents are dead `[F]`."""


def main() -> None:
    LOSSES.mkdir(exist_ok=True)
    topk = {"rescale_acts_by_decoder_norm": True, "k": K}
    saelens("saelens_topk", TopKTrainingSAE(TopKTrainingSAEConfig(d_in=D, d_sae=F, **topk)), 0)
    saelens("saelens_batchtopk", BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(d_in=D, d_sae=F, **topk)), 1)
    jumprelu()
    sparsify()


def drawn(seed: int, unit: bool) -> dict[str, torch.Tensor]:
    """Weights and a batch. Dead latents read enough to be above 0 on every token, and rank behind the living."""
    torch.manual_seed(seed)
    rows = torch.nn.functional.normalize(torch.randn(F, D), dim=1)
    lengths = torch.ones(F, 1) if unit else torch.empty(F, 1).uniform_(0.5, 2)
    encoder = torch.randn(F, D) * 0.3
    encoder_bias = 2 + torch.rand(F)
    dead = DEAD["many"]
    encoder[dead] *= 0.02
    encoder_bias[dead] = 0.2 + 0.1 * torch.rand(len(dead))
    if not unit:
        lengths[dead] = 0.5
    return {
        "encoder": encoder,
        "encoder_bias": encoder_bias,
        "decoder": rows * lengths,
        "bias": torch.randn(D),
        "x": 2 * torch.randn(N, D) + 1,
    }


def keep(name: str, given: dict[str, torch.Tensor], weights: dict[str, torch.Tensor], losses: Losses) -> None:
    """Store a library's losses and their gradients in `weights`, which are laid as `given` has them."""
    found = dict(given)

    def differentiate(label: str, loss: torch.Tensor) -> None:
        found[label] = loss.detach()
        grads = torch.autograd.grad(loss, list(weights.values()), retain_graph=True, allow_unused=True)
        for (key, weight), grad in zip(weights.items(), grads, strict=True):
            laid = torch.zeros_like(weight) if grad is None else grad
            found[f"{label}.{key}"] = (laid.T if laid.shape == (D, F) else laid).contiguous()

    for label, loss in losses(None).items():
        differentiate(label, loss)
    for label, dead in DEAD.items():
        mask = torch.zeros(F, dtype=torch.bool)
        mask[dead] = True
        aux = losses(mask).get("aux")
        if aux is not None:
            found[f"{label}.dead"] = dead
            differentiate(f"{label}.aux", aux)
    save_file(found, LOSSES / f"{name}.safetensors")
    (LOSSES / f"{name}.safetensors").chmod(0o644)


def saelens(name: str, sae, seed: int) -> None:
    given = drawn(seed, unit=False)
    weights = laid_in(sae, given)

    def losses(dead: torch.Tensor | None) -> dict[str, torch.Tensor]:
        found = sae.training_forward_pass(TrainStepInput(given["x"], {}, dead, 0, False)).losses
        aux = found["auxiliary_reconstruction_loss"]
        return {"loss": found["mse_loss"]} | ({} if dead is None else {"aux": aux})

    keep(name, given, weights, losses)


def laid_in(sae, given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    sae.cfg.apply_b_dec_to_input = True
    sae.W_enc.data = given["encoder"].T.contiguous()
    sae.b_enc.data = given["encoder_bias"].clone()
    sae.W_dec.data = given["decoder"].clone()
    sae.b_dec.data = given["bias"].clone()
    return {"encoder": sae.W_enc, "encoder_bias": sae.b_enc, "decoder": sae.W_dec, "bias": sae.b_dec}


def jumprelu() -> None:
    given = drawn(2, unit=False)
    given["threshold"] = given["encoder_bias"] + 0.5 * torch.rand(F)
    shape = {"d_in": D, "d_sae": F, "jumprelu_bandwidth": BANDWIDTH}
    step = JumpReLUTrainingSAE(JumpReLUTrainingSAEConfig(**shape))
    target = JumpReLUTrainingSAE(
        JumpReLUTrainingSAEConfig(**shape, jumprelu_sparsity_loss_mode="quadratic", target_l0=K)
    )
    for sae in (target, step):
        weights = laid_in(sae, given)
        sae.threshold.data = given["threshold"].clone()
    weights["threshold"] = step.threshold
    batch = TrainStepInput(given["x"], {"l0": 1.0}, None, 0, False)
    given["quadratic"] = target.training_forward_pass(batch).losses["l0_loss"].detach()

    def losses(dead: torch.Tensor | None) -> dict[str, torch.Tensor]:
        found = step.training_forward_pass(batch).losses
        return {"loss": found["mse_loss"], "l0": found["l0_loss"]}

    keep("saelens_jumprelu", given, weights, losses)


def sparsify() -> None:
    given = drawn(3, unit=True)
    sae = SparseCoder(D, SparseCoderConfig(num_latents=F, k=K))
    sae.encoder.weight.data = given["encoder"].clone()
    sae.encoder.bias.data = given["encoder_bias"].clone()
    sae.W_dec.data = given["decoder"].clone()
    sae.b_dec.data = given["bias"].clone()
    weights = {
        "encoder": sae.encoder.weight,
        "encoder_bias": sae.encoder.bias,
        "decoder": sae.W_dec,
        "bias": sae.b_dec,
    }

    def losses(dead: torch.Tensor | None) -> dict[str, torch.Tensor]:
        found = sae(given["x"], dead_mask=dead)
        return {"loss": found.fvu} | ({} if dead is None else {"aux": found.auxk_loss})

    keep("sparsify_topk", given, weights, losses)


if __name__ == "__main__":
    main()
