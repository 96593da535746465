"""Make the folders beside this file: tiny autoencoders as the real libraries write them, and what they do to inputs.

    pip install sae-lens==6.54.12 eai-sparsify==1.3.3
    python tests/features/formats/peers/make.py

Every folder gets a `seen.safetensors`: inputs x `[n, d]`, and by the library codes `[n, F]` and out `[n, d]`. The tests
of the readers hold ours against it where the libraries are not installed. Where SAELens is, test_live.py opens with it
what unmask writes.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

os.environ["SPARSIFY_DISABLE_TRITON"] = "1"

import torch
from sae_lens import (
    SAE,
    BatchTopKTrainingSAE,
    BatchTopKTrainingSAEConfig,
    GatedSAE,
    GatedSAEConfig,
    JumpReLUSAE,
    JumpReLUSAEConfig,
    JumpReLUTrainingSAE,
    JumpReLUTrainingSAEConfig,
    MatryoshkaBatchTopKTrainingSAE,
    MatryoshkaBatchTopKTrainingSAEConfig,
    StandardSAE,
    StandardSAEConfig,
    TopKSAE,
    TopKSAEConfig,
    TopKTrainingSAE,
    TopKTrainingSAEConfig,
)
from sae_lens.saes.sae import SAEMetadata, TrainStepInput
from safetensors.torch import load_file, save_file
from sparsify import SparseCoder, SparseCoderConfig

D, F, N = 8, 24, 12
HERE = Path(__file__).parent
SAELENS = HERE / "saelens"
SPARSIFY = HERE / "sparsify"
SCALE = 1.7


def main() -> None:
    for folder in (SAELENS, SPARSIFY):
        shutil.rmtree(folder, ignore_errors=True)
    with torch.no_grad():
        plain()
        topk()
        batchtopk()
        jumprelu()
        scaled()
        legacy()
        refused()
        sparsify()
    for path in HERE.rglob("cfg.json"):  # SAELens' order of keys is another each time
        path.write_text(json.dumps(json.loads(path.read_text()), indent=1, sort_keys=True) + "\n")
    for path in HERE.rglob("*.safetensors"):
        path.chmod(0o644)


def common(seed: int, **others: object) -> dict[str, object]:
    torch.manual_seed(seed)
    metadata = SAEMetadata(
        model_name="tiny", hook_name="blocks.3.hook_resid_post", context_size=128, tokens=7
    )
    return {"d_in": D, "d_sae": F, "metadata": metadata, **others}


def filled(sae):
    """The autoencoder with drawn weights: nothing is 0, and decoder rows are of lengths from 0.5 to 2."""
    sae.W_enc.data = torch.randn(D, F, dtype=torch.float32).to(sae.W_enc.dtype)
    rows = torch.nn.functional.normalize(torch.randn(F, D), dim=1)
    sae.W_dec.data = (rows * torch.empty(F, 1).uniform_(0.5, 2)).to(sae.W_dec.dtype)
    sae.b_dec.data = torch.randn(D).to(sae.b_dec.dtype)
    if hasattr(sae, "b_enc"):
        sae.b_enc.data = -torch.rand(F).to(sae.b_enc.dtype)
    return sae


def inputs(sae) -> torch.Tensor:
    """Tokens; no latent is active on the last one."""
    x = 2 * torch.randn(N, D)
    x[-1] = sae.b_dec if sae.cfg.apply_b_dec_to_input else 0
    return x


def see(folder: Path, x: torch.Tensor, sae, **others: torch.Tensor) -> None:
    codes = sae.encode(x)
    seen = {"x": x, "codes": codes.to_dense(), "out": sae.decode(codes)} | others
    save_file(
        {name: tensor.detach().contiguous() for name, tensor in seen.items()}, folder / "seen.safetensors"
    )


def keep(name: str, sae) -> None:
    """Stored by the library, then used as it opens it again."""
    sae.save_model(SAELENS / name)
    see(SAELENS / name, inputs(sae), SAE.load_from_disk(SAELENS / name))


def plain() -> None:
    keep("standard", filled(StandardSAE(StandardSAEConfig(**common(0)))))
    off = common(1, apply_b_dec_to_input=False)
    keep("standard_uncentred", filled(StandardSAE(StandardSAEConfig(**off))))


def topk() -> None:
    keep("topk", filled(TopKSAE(TopKSAEConfig(**common(2, k=5)))))
    keep("topk_rescaled", filled(TopKSAE(TopKSAEConfig(**common(2, k=5, rescale_acts_by_decoder_norm=True)))))
    off = common(3, k=5, rescale_acts_by_decoder_norm=True, apply_b_dec_to_input=False)
    keep("topk_uncentred", filled(TopKSAE(TopKSAEConfig(**off))))
    trained = filled(TopKTrainingSAE(TopKTrainingSAEConfig(**common(4, k=5))))
    x = inputs(trained)
    trained.save_model(SAELENS / "topk_checkpoint")
    see(SAELENS / "topk_checkpoint", x, trained)
    trained.save_inference_model(SAELENS / "topk_trained")
    see(SAELENS / "topk_trained", x, SAE.load_from_disk(SAELENS / "topk_trained"))


def batchtopk() -> None:
    cases = {
        "batchtopk": BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(**common(5, k=4.5))),
        "batchtopk_unscaled": BatchTopKTrainingSAE(
            BatchTopKTrainingSAEConfig(**common(6, k=4.5, rescale_acts_by_decoder_norm=False))
        ),
        "matryoshka": MatryoshkaBatchTopKTrainingSAE(
            MatryoshkaBatchTopKTrainingSAEConfig(**common(7, k=4.5, matryoshka_widths=[6, 12, F]))
        ),
    }
    for name, sae in cases.items():
        filled(sae)
        x = inputs(sae)
        coefficients = {key: float(getattr(c, "value", c)) for key, c in sae.get_coefficients().items()}
        for step in range(400):  # long enough for the moving average that is its threshold
            sae.training_forward_pass(TrainStepInput(x, coefficients, None, step, False))
        sae.save_inference_model(SAELENS / name)
        opened = SAE.load_from_disk(SAELENS / name)
        see(SAELENS / name, x, opened)
        sae.save_model(SAELENS / f"{name}_checkpoint")
        see(SAELENS / f"{name}_checkpoint", x, opened)


def jumprelu() -> None:
    sae = filled(JumpReLUSAE(JumpReLUSAEConfig(**common(8))))
    sae.threshold.data = torch.empty(F).uniform_(0.1, 2)
    keep("jumprelu", sae)

    # Whole numbers throughout, so that pre-activations fall on thresholds exactly.
    sae = JumpReLUSAE(JumpReLUSAEConfig(**common(9)))
    sae.W_enc.data = torch.randint(-1, 2, (D, F)).float()
    sae.W_dec.data = torch.randint(-2, 3, (F, D)).float()
    sae.b_dec.data = torch.randint(-1, 2, (D,)).float()
    sae.threshold.data = torch.randint(0, 4, (F,)).float()
    sae.save_model(SAELENS / "jumprelu_at_threshold")
    x = torch.randint(-2, 3, (N, D)).float()
    pre = (x - sae.b_dec) @ sae.W_enc
    assert (pre == sae.threshold).sum() > 20
    see(SAELENS / "jumprelu_at_threshold", x, SAE.load_from_disk(SAELENS / "jumprelu_at_threshold"), pre=pre)

    # 0.999 is 1 in bfloat16; pre-activations of exactly 1 are above the one and not the other.
    sae = JumpReLUTrainingSAE(JumpReLUTrainingSAEConfig(**common(10, dtype="bfloat16")))
    sae.W_enc.data = torch.randint(-1, 2, (D, F)).bfloat16()
    sae.W_dec.data = torch.randn(F, D).bfloat16()
    sae.b_dec.data = torch.randint(-1, 2, (D,)).bfloat16()
    sae.threshold.data = torch.full((F,), 0.999)
    folder = SAELENS / "jumprelu_bfloat16"
    sae.save_inference_model(folder)
    rounded = SAE.load_from_disk(folder).encode(x).float()
    see(folder, x, SAE.load_from_disk(folder, dtype="float32"), rounded=rounded)

    # As SAELens saved checkpoints before version 6.
    sae = filled(JumpReLUTrainingSAE(JumpReLUTrainingSAEConfig(**common(11))))
    sae.threshold.data = torch.empty(F).uniform_(0.1, 2)
    folder = SAELENS / "jumprelu_log_threshold"
    sae.save_model(folder)
    tensors = load_file(folder / "sae_weights.safetensors")
    tensors["log_threshold"] = tensors.pop("threshold").log()
    save_file(tensors, folder / "sae_weights.safetensors")
    see(folder, inputs(sae), JumpReLUTrainingSAE.load_from_disk(folder))


def scaled() -> None:
    """Trained on scaled inputs: before the scale is folded into the weights, and after."""
    cfg = common(12, normalize_activations="expected_average_only_in")
    sae = filled(JumpReLUSAE(JumpReLUSAEConfig(**cfg)))
    sae.threshold.data = torch.empty(F).uniform_(0.1, 2)
    x = inputs(sae) / SCALE
    codes = sae.encode(SCALE * x)
    out = sae.decode(codes) / SCALE
    sae.save_model(SAELENS / "refused" / "unfolded")
    sae.fold_activation_norm_scaling_factor(SCALE)
    sae.save_model(SAELENS / "folded")
    see(SAELENS / "folded", x, sae, codes=codes, out=out)


def legacy() -> None:
    """Descriptions as SAELens 3 to 5 wrote them, opened by SAELens 6."""
    shared = {
        "d_in": D,
        "d_sae": F,
        "dtype": "torch.float32",
        "device": "cpu",
        "model_name": "tiny",
        "hook_point": "blocks.3.hook_resid_pre",
        "hook_point_layer": 3,
        "hook_point_head_index": None,
        "prepend_bos": True,
        "context_size": 128,
        "normalize_activations": False,
        "finetuning_scaling_factor": False,
        "sae_lens_training_version": "3.1.0",
    }
    kinds = {
        "legacy": {"activation_fn_str": "relu"},
        "legacy_topk": {
            "architecture": "standard",
            "activation_fn_str": "topk",
            "activation_fn_kwargs": {"k": 5},
            "apply_b_dec_to_input": False,
        },
    }
    for seed, (name, cfg) in enumerate(kinds.items(), start=13):
        sae = filled(StandardSAE(StandardSAEConfig(**common(seed))))
        folder = SAELENS / name
        sae.save_model(folder)
        tensors = load_file(folder / "sae_weights.safetensors") | {"scaling_factor": torch.ones(F)}
        save_file(tensors, folder / "sae_weights.safetensors")
        (folder / "cfg.json").write_text(json.dumps(shared | cfg))
        opened = SAE.load_from_disk(folder)
        see(folder, inputs(opened), opened)


def refused() -> None:
    GatedSAE(GatedSAEConfig(**common(20))).save_model(SAELENS / "refused" / "gated")
    for how in ("layer_norm", "constant_norm_rescale", "covariance_whitening"):
        cfg = StandardSAEConfig(**common(21, normalize_activations=how))
        filled(StandardSAE(cfg)).save_model(SAELENS / "refused" / how)
    for name, hook, how in (("hook_z", "attn.hook_z", "hook_z"), ("mlp", "hook_mlp_out", "none")):
        cfg = common(22, metadata=SAEMetadata(hook_name=f"blocks.3.{hook}"), reshape_activations=how)
        filled(StandardSAE(StandardSAEConfig(**cfg))).save_model(SAELENS / "refused" / name)


def sparsify() -> None:
    cases = {
        "layers.3": SparseCoderConfig(expansion_factor=3, k=4),
        "layers.5/seed1": SparseCoderConfig(num_latents=20, k=3, multi_topk=True, normalize_decoder=False),
        "refused/groupmax": SparseCoderConfig(num_latents=24, k=4, activation="groupmax"),
        "refused/skip": SparseCoderConfig(num_latents=24, k=4, skip_connection=True),
        "refused/transcode": SparseCoderConfig(num_latents=24, k=4, transcode=True),
    }
    for seed, (name, cfg) in enumerate(cases.items(), start=30):
        torch.manual_seed(seed)
        sae = SparseCoder(D, cfg)
        sae.encoder.bias.data = -torch.rand(sae.num_latents)
        sae.W_dec.data = torch.randn(sae.num_latents, D)
        sae.b_dec.data = torch.randn(D)
        sae.save_to_disk(SPARSIFY / name)
        if name.startswith("refused"):
            continue
        x = 2 * torch.randn(N, D)
        x[-1] = sae.b_dec
        values, latents, _ = sae.encode(x)
        codes = torch.zeros(N, sae.num_latents).scatter_(1, latents, values)
        # Not what forward returns: with multi_topk that is the output of four times k latents.
        seen = {"x": x, "codes": codes, "out": sae.decode(values, latents)}
        save_file(seen, SPARSIFY / name / "seen.safetensors")
    run = {"sae": cases["layers.3"].to_dict(), "model": "tiny", "dataset": "text", "ctx_len": 128}
    (SPARSIFY / "config.json").write_text(json.dumps(run, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
