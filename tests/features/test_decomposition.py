"""The parts add up, whatever the autoencoder is worth, and each is what it says."""

from __future__ import annotations

import pytest
import torch

from unmask.features.autoencoder import Activation, JumpReLU, ReLU, SparseAutoencoder, TopK
from unmask.features.decomposition import decompose

DRAWS = torch.Generator().manual_seed(0)


@pytest.mark.parametrize("activation", [TopK(3), ReLU(), JumpReLU(torch.full((40,), 0.5))])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_adds_up(activation: Activation, dtype: torch.dtype) -> None:
    draw = [torch.randn(shape, generator=DRAWS) for shape in ((40, 16), (40,), (40, 16), (16,))]
    sae = SparseAutoencoder(*draw, activation).to(dtype)
    x = torch.randn(200, 16, generator=DRAWS) * 50 + 100
    omega = torch.randn(16, generator=DRAWS)
    parts = decompose(sae, x, omega)
    assert torch.allclose(
        parts.bias + parts.all_latents + parts.error, x.double() @ omega.double(), atol=1e-4
    )
    assert torch.allclose(parts.total, x.double() @ omega.double())
    codes = sae.encode(x).dense().double()
    some = torch.tensor([3, 17, 39])
    expected = codes[:, some] @ (sae.decoder.double()[some] @ omega.double())
    assert torch.allclose(parts.of(some), expected)
    assert torch.allclose(parts.of(torch.arange(40)), parts.all_latents)
    assert parts.bias == pytest.approx(float(sae.bias.double() @ omega.double()))
