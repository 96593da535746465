"""The parts are found in every architecture, and a model that does not add up is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from models.tiny import ARCHITECTURES, tiny_net, tiny_tokenizer
from unmask.models import ModelError
from unmask.models.anatomy import dissect

PROBE = tiny_tokenizer().encode("The committee met on Tuesday.")


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_own_head_gives_the_models_logits(kind: str) -> None:
    net = tiny_net(kind)
    anatomy = dissect(net, PROBE, kind)
    ids = torch.tensor([tiny_tokenizer().encode("Taxes should be lower, say some.")])
    with torch.inference_mode():
        expected = net(input_ids=ids).logits
        found = anatomy.unembed(anatomy.decoder(input_ids=ids).last_hidden_state)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert anatomy.n_layers == 3
    assert not anatomy.needs_mask


def test_soft_cap_and_scales_are_found() -> None:
    assert dissect(tiny_net("gemma2"), PROBE, "g").soft_cap == 3.0
    assert dissect(tiny_net("granite"), PROBE, "g").scale == 0.25
    assert dissect(tiny_net("cohere2"), PROBE, "c").scale == 0.25
    gemma2 = tiny_net("gemma2")
    anatomy = dissect(gemma2, PROBE, "g")
    states = 3 * torch.randn(4, 32)
    uncapped = replace(anatomy, soft_cap=None).unembed(states)
    torch.testing.assert_close(anatomy.unembed(states), 3 * torch.tanh(uncapped / 3))
    assert uncapped.abs().max() > 6  # else the cap would be no test


def test_no_blocks_is_refused() -> None:
    net = tiny_net("llama")
    net.config.num_hidden_layers = 7
    with pytest.raises(ModelError, match="no list of 7 decoder blocks"):
        dissect(net, PROBE, "odd")


def test_unknown_head_is_refused() -> None:
    net = tiny_net("llama")
    plain = net.forward
    net.forward = lambda **kwargs: _with(plain(**kwargs), lambda out: out.logits.mul_(1.5))
    with pytest.raises(ModelError, match="do not give its own logits"):
        dissect(net, PROBE, "odd")


def test_states_that_are_not_the_models_own_are_refused() -> None:
    net = tiny_net("llama")
    plain = net.forward

    def shuffled(**kwargs):
        out = plain(**kwargs)
        out.hidden_states = (out.hidden_states[1], out.hidden_states[0], *out.hidden_states[2:])
        return out

    net.forward = shuffled
    with pytest.raises(ModelError, match="not its own hidden states"):
        dissect(net, PROBE, "odd")


@pytest.mark.parametrize("layer", [0, 1])
def test_a_model_that_looks_right_is_refused(layer: int) -> None:
    """In the first block, where states are tokens alone, a mean does not even see the order of what comes later."""
    net = tiny_net("llama")
    block = net.model.layers[layer]
    plain = block.forward
    block.forward = lambda hidden, **kwargs: plain(hidden, **kwargs) + hidden.mean(dim=1, keepdim=True)
    with pytest.raises(ModelError, match="later tokens change"):
        dissect(net, PROBE, "odd")


def test_a_chaotic_model_is_not_called_non_causal() -> None:
    """Where rounding decides, a row's states depend on its length, and on nothing that comes later."""
    net = tiny_net("llama", num_hidden_layers=24, initializer_range=1.0)
    with torch.no_grad():  # every block drowns what came before it, so that the smallest change grows
        for depth, block in enumerate(net.model.layers):
            block.mlp.down_proj.weight.mul_(4.0**depth)
            block.self_attn.o_proj.weight.mul_(4.0**depth)
    short, long = torch.tensor([PROBE]), torch.tensor([PROBE + PROBE[::-1]])
    with torch.inference_mode():
        alone = net.model(input_ids=short).last_hidden_state
        followed = net.model(input_ids=long).last_hidden_state[:, : len(PROBE)]
    if (followed - alone).norm() < 0.1 * alone.norm():
        pytest.skip("this machine rounds rows of both lengths alike, so that nothing is chaotic here")
    assert not dissect(net, PROBE, "chaotic").needs_mask


def test_damaged_weights_are_named_by_layer() -> None:
    net = tiny_net("llama")
    with torch.no_grad():
        net.model.layers[1].mlp.down_proj.weight[0, 0] = float("nan")
    with pytest.raises(ModelError, match="not finite at layer 2"):
        dissect(net, PROBE, "odd")


def _with(value, change):
    change(value)
    return value
