"""Fit beside dictionaries whose fit is known: one that loses nothing, one that gives the mean, one that gives 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from models.tiny import TEXTS
from torch import Tensor

from unmask.features.autoencoder import ReLU, SparseAutoencoder
from unmask.features.errors import DictionaryError
from unmask.features.evaluating import FitGatherer, fit_of
from unmask.models import load_model
from unmask.models.model import Model
from unmask.models.tokens import Tokens
from unmask.runner.pieces import cut


def exact(d: int) -> SparseAutoencoder:
    """Two latents a dimension, one for each sign: x̂ is x."""
    both = torch.cat([torch.eye(d), -torch.eye(d)])
    return SparseAutoencoder(both, torch.zeros(2 * d), both, torch.zeros(d), ReLU())


def constant(value: Tensor) -> SparseAutoencoder:
    """Nothing is ever active: x̂ is the bias."""
    d = len(value)
    return replace(exact(d), encoder_bias=torch.full((2 * d,), -1e9), bias=value, centred=False)


@pytest.fixture(scope="module")
def model(tiny: Callable[[str], Path]) -> Model:
    return load_model(str(tiny("llama")), device="cpu", dtype="float32")


def test_what_is_lost_is_told_between_nothing_and_everything(model: Model) -> None:
    whole = fit_of(exact(32), model, 2, TEXTS, 10_000)
    assert whole.fvu == pytest.approx(0, abs=1e-10)
    assert whole.cost == pytest.approx(0, abs=1e-5)
    assert whole.recovered == pytest.approx(1, abs=1e-5)
    assert whole.dead == 0
    nothing = fit_of(constant(torch.zeros(32)), model, 2, TEXTS, 10_000)
    assert nothing.recovered == pytest.approx(0, abs=1e-6)
    assert nothing.reconstructed == pytest.approx(nothing.zeroed)
    assert (nothing.l0, nothing.dead) == (0, 1)
    assert nothing.fvu > 1  # about 0 more is left than varies


def test_cross_entropy_is_the_plain_one_and_the_mean_leaves_all_variance(model: Model) -> None:
    pieces = cut([model], TEXTS, 256)
    rows = [pieces.row(at) for at in range(len(pieces.lengths))]
    with torch.inference_mode():
        nats = [
            torch.nn.functional.cross_entropy(
                model.net(torch.tensor([row.ids])).logits[0, :-1], torch.tensor(row.ids[1:]), reduction="sum"
            )
            for row in rows
        ]
    states = np.concatenate([found[1:, 0] for found in model.read(rows, (1,), "each")])
    mean = fit_of(constant(torch.from_numpy(states.mean(0))), model, 1, TEXTS, 10_000)
    assert mean.cross_entropy == pytest.approx(float(sum(nats)) / sum(len(row) - 1 for row in rows), abs=1e-5)
    assert mean.fvu == pytest.approx(1, abs=1e-5)
    assert mean.tokens == len(states) == sum(len(row) - 1 for row in rows)
    half = replace(constant(torch.zeros(32)), bias=torch.from_numpy(states.mean(0)))
    row = Tokens(rows[0].ids, rows[0].content, 1)
    assert len(model.score([row])[0]) == len(row) - 1
    assert fit_of(half, model, 1, TEXTS[:1], 10).tokens == len(rows[0]) - 1


def test_variance_is_about_the_mean_of_all_tokens_however_far_from_0_and_however_cut() -> None:
    x = torch.randn(3000, 6, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 7) + 1e4
    sae = constant(x.mean(0) + 0.5)
    found: list[float] = []
    for size in (3000, 7):
        gatherer = FitGatherer(sae)
        for part in x.split(size):
            gatherer.update(part)
        found.append(gatherer.fvu)
    expected = (x.double() - sae.bias.double()).pow(2).sum() / (x.double() - x.double().mean(0)).pow(2).sum()
    assert found == pytest.approx([float(expected)] * 2, rel=1e-9)


def test_an_autoencoder_of_another_model_is_refused(model: Model) -> None:
    with pytest.raises(DictionaryError, match=r"48 wide, but those of .* are 32"):
        fit_of(exact(48), model, 2, TEXTS, 100)
    with pytest.raises(DictionaryError, match=r"of layer 9, but .* has layers 0 to 3"):
        fit_of(exact(32), model, 9, TEXTS, 100)
