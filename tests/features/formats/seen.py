"""What the real libraries did (see peers/make.py), and whether ours does the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from unmask.features.autoencoder import JumpReLU, ReLU, SparseAutoencoder, TopK

PEERS = Path(__file__).parent / "peers"
SAELENS, SPARSIFY = PEERS / "saelens", PEERS / "sparsify"
D, F = 8, 24


def assert_does(sae: SparseAutoencoder, seen: dict[str, Tensor]) -> None:
    """The same latents on the same tokens, with the same values, and the same output."""
    codes = sae.encode(seen["x"])
    assert torch.equal(codes.dense() != 0, seen["codes"] != 0)
    torch.testing.assert_close(codes.dense(), seen["codes"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sae.decode(codes), seen["out"], rtol=1e-5, atol=1e-5)


def seen_in(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "seen.safetensors")


def changed(
    folder: Path, to: Path, cfg: dict[str, Any] | None = None, tensors: dict[str, Tensor | None] | None = None
) -> Path:
    """A copy of a folder whose description or tensors are others; what is None there is left out."""
    shutil.copytree(folder, to)
    for key, value in (cfg or {}).items():
        path = to / "cfg.json"
        config = {k: v for k, v in json.loads(path.read_text()).items() if k != key}
        path.write_text(json.dumps(config | ({} if value is None else {key: value})))
    for key, value in (tensors or {}).items():
        path = next(p for p in to.glob("*sae*.safetensors"))
        held = {k: v for k, v in load_file(path).items() if k != key}
        save_file(held | ({} if value is None else {key: value}), path)
    return to


def drawn(
    activation: str = "topk", centred: bool = True, dtype: torch.dtype = torch.float32
) -> SparseAutoencoder:
    """An autoencoder of ours whose decoder rows have lengths of their own."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    rows = torch.nn.functional.normalize(draw(F, D), dim=1)
    kinds = {"topk": TopK(5), "relu": ReLU(), "jumprelu": JumpReLU(draw(F).abs())}
    return SparseAutoencoder(
        encoder=draw(F, D),
        encoder_bias=draw(F),
        decoder=rows * (0.5 + 1.5 * draw(F, 1).sigmoid()),
        bias=draw(D),
        activation=kinds[activation],
        centred=centred,
        facts={"model": "tiny", "layer": 4, "seed": 3, "fvu": 0.25, "context_size": 128, "nothing": None},
    ).to(dtype)
