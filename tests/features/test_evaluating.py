"""Fit beside dictionaries whose fit is known: one that loses nothing, one that gives the mean, one that gives 0."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from models.tiny import TEXTS, save_tiny
from torch import Tensor

from unmask.features.autoencoder import ReLU, SparseAutoencoder
from unmask.features.crosscoder import ALIGNED, BASE, Crosscoder
from unmask.features.errors import DictionaryError
from unmask.features.evaluating import FitGatherer, Half, check_fits, fit_of, fits_of_both
from unmask.features.latent_scaling import LABELS
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
        found += gatherer.fvu
    expected = (x.double() - sae.bias.double()).pow(2).sum() / (x.double() - x.double().mean(0)).pow(2).sum()
    assert found == pytest.approx([float(expected)] * 2, rel=1e-9)


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Another one of the same tokenizer and shape."""
    folder = save_tiny("llama", tmp_path_factory.mktemp("aligned"), seed=1)
    return load_model(str(folder), device="cpu", dtype="float32")


def mixing(d: int = 32) -> Crosscoder:
    """Each half of its x̂ needs both models' states."""
    draws = torch.Generator().manual_seed(0)
    rows = torch.randn(2, 40, 2, d, generator=draws) / d**0.5
    return Crosscoder(torch.tensor([2.0, 3.0]), rows[0], torch.zeros(40), rows[1], torch.zeros(2, d), ReLU())


def nats_with(model: Model, layer: int, rows: Sequence[Tokens], given: Sequence[Tensor]) -> float:
    """Nats a token by the plain transformers model, with a layer's states `[T - 1, d]` after the first put in place."""
    total = 0.0
    for row, states in zip(rows, given, strict=True):

        def put(_: object, __: object, output: Tensor, states: Tensor = states) -> Tensor:
            return torch.cat([output[:, :1], states[None]], 1)

        handle = model.anatomy.blocks[layer - 1].register_forward_hook(put)
        with torch.inference_mode():
            logits = model.net(torch.tensor([row.ids])).logits[0, :-1]
        handle.remove()
        total += float(torch.nn.functional.cross_entropy(logits, torch.tensor(row.ids[1:]), reduction="sum"))
    return total / sum(len(row) - 1 for row in rows)


def test_a_crosscoder_is_judged_on_each_model_by_what_it_makes_of_both(model: Model, aligned: Model) -> None:
    """The texts begin alike, so their tokens are shared on the way."""
    models, texts = (model, aligned), [f"{TEXTS[0]} {text}" for text in TEXTS]
    crosscoder = mixing()
    pieces = cut(models, texts, 256)
    rows = [pieces.row(at) for at in range(len(pieces.lengths))]
    read = [one.read(rows, (2,), "each") for one in models]
    states = [
        torch.from_numpy(np.stack([found[1:, 0] for found in beside], 1))
        for beside in zip(*read, strict=True)
    ]
    fits, scaling = fits_of_both(crosscoder, models, 2, texts, 10_000)
    x = torch.cat(states)
    codes = crosscoder.encode(x)
    for at, fit in enumerate(fits):
        halves = [crosscoder.reconstruct(some)[:, at] for some in states]
        assert fit.reconstructed == pytest.approx(nats_with(models[at], 2, rows, halves), abs=1e-5)
        assert fit.cross_entropy == pytest.approx(
            nats_with(models[at], 2, rows, [some[:, at] for some in states]), abs=1e-5
        )
        assert abs(fit.cost) > 0.01
        own = x[:, at].double()
        left = (own - torch.cat(halves).double()).pow(2).sum() / (own - own.mean(0)).pow(2).sum()
        assert fit.fvu == pytest.approx(float(left), rel=1e-5)
        assert fit.l0 == pytest.approx(len(codes.values) / len(x), rel=1e-3)
        assert fit.tokens == scaling.tokens == len(x)
    counts = scaling.counts()
    assert tuple(counts) == LABELS
    assert sum(counts.values()) == 40
    assert counts["inactive"] == round(fits[0].dead * 40)


def test_a_half_is_found_whatever_the_order_and_the_rounding() -> None:
    crosscoder = mixing(16)
    draws = torch.Generator().manual_seed(1)
    states = torch.randn(500, 2, 16, generator=draws) + 100
    mixed = torch.randperm(500, generator=draws)[:300]
    for which in (BASE, ALIGNED):
        x = states[mixed, which] + 1e-3 * torch.randn(300, 16, generator=draws)
        found = Half(crosscoder, which, states).reconstruct(x)
        expected = crosscoder.reconstruct(states)[mixed, which]
        torch.testing.assert_close(found, expected, atol=0.05, rtol=0)


def test_a_crosscoder_with_other_models_than_its_own_is_refused(model: Model, aligned: Model) -> None:
    known = {"models": [{"identity": model.identity}, {"identity": aligned.identity}]}
    crosscoder = replace(mixing(), facts=known)
    with pytest.raises(DictionaryError, match="two models at once"):
        fits_of_both(crosscoder, [model], 2, TEXTS, 100)
    with pytest.raises(DictionaryError, match="give base first"):
        fits_of_both(crosscoder, [aligned, model], 2, TEXTS, 100)
    with pytest.raises(DictionaryError, match=r"The crosscoder reads states that are 48 wide"):
        check_fits(mixing(48), "tiny", 32, 3, 2)
    with pytest.raises(DictionaryError, match=r"The crosscoder is of layer 4, but tiny has layers 0 to 3"):
        check_fits(mixing(), "tiny", 32, 3, 4)


def test_an_autoencoder_of_another_model_is_refused(model: Model) -> None:
    with pytest.raises(DictionaryError, match=r"48 wide, but those of .* are 32"):
        fit_of(exact(48), model, 2, TEXTS, 100)
    with pytest.raises(DictionaryError, match=r"of layer 9, but .* has layers 0 to 3"):
        fit_of(exact(32), model, 9, TEXTS, 100)
