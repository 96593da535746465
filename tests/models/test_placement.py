"""Quantised weights are rounded as stated and used as plain ones; blocks that lie elsewhere compute the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import dispatch_model
from torch import Tensor

from models.test_load import save_adapter
from models.tiny import TEXTS, relative, save_tiny, tiny_net, tiny_tokenizer
from unmask.models import Add, Frame, Model, ModelError, Sampling, Vector, load_model, parse_reference
from unmask.models.load import resolve
from unmask.models.placement import Int8Linear, check_placement, placement_facts

Tiny = Callable[[str], Path]
LAYERS = range(4)
WIDE = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}  # several blocks of 64 weights in a row


@pytest.fixture(scope="module")
def bnb() -> Any:
    return pytest.importorskip("bitsandbytes", reason="the extra 'quantised' is not installed")


def load(folder: Path | str, width: str | None, dtype: str = "float32") -> Model:
    return load_model(str(folder), device="cpu", dtype=dtype, quantise=width)


def in_plain_layers(model: Model, folder: Path, bnb: Any) -> tuple[Model, dict[str, tuple[Tensor, Tensor]]]:
    """The model with its quantised weights written into an ordinary one; and each weight, before and after."""
    plain = load(folder, None)
    weights: dict[str, tuple[Tensor, Tensor]] = {}
    for name, module in model.net.named_modules():
        if isinstance(module, Int8Linear):
            after = module.codes.float() * module.scale[:, None]
        elif isinstance(module, bnb.nn.Linear4bit):
            after = bnb.functional.dequantize_4bit(module.weight.data, module.weight.quant_state)
        else:
            continue
        weight = plain.net.get_submodule(name).weight
        weights[name] = (weight.clone(), after)
        with torch.no_grad():
            weight.copy_(after)
    return plain, weights


def stated_error(width: str, before: Tensor) -> Tensor:
    """How far rounding may move a weight: half a step, 127 of them a row; half nf4's widest gap, a block of 64."""
    if width == "8bit":
        return (before.abs().amax(1, keepdim=True) / 127 / 2).expand_as(before)
    blocks = before.reshape(-1, 64).abs().amax(1, keepdim=True)
    return (0.152 * blocks).expand(-1, 64).reshape(before.shape)


@pytest.mark.parametrize("width", ["8bit", "4bit"])
@pytest.mark.parametrize("kind", ["llama", "gemma3", "bloom"])
def test_weights_are_rounded_as_stated_and_used_as_plain_ones(
    kind: str, width: str, tmp_path: Path, bnb: Any
) -> None:
    save_tiny(kind, tmp_path, **WIDE)
    model = load(tmp_path, width)
    plain, weights = in_plain_layers(model, tmp_path, bnb)
    assert len(weights) == {"llama": 21, "gemma3": 21, "bloom": 12}[kind]  # every matrix in three blocks
    for before, after in weights.values():
        assert torch.all((before - after).abs() <= 1.01 * stated_error(width, before) + 1e-3 * before.abs())
        assert not torch.equal(before, after)
    rows = [model.tokenize(Frame.plain(text), TEXTS[0]) for text in TEXTS]
    edits = [Add((1,), Vector("up", np.ones(64, np.float32)), dose=dose) for dose in range(len(rows))]
    for edit in (None, edits):
        found, expected = (one.read(rows, LAYERS, "last", edit) for one in (model, plain))
        assert relative(np.stack(found), np.stack(expected)) < 1e-5
        for a, b in zip(model.score(rows, edit), plain.score(rows, edit), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-4)
    alone = np.stack([model.read([row], LAYERS, "last")[0] for row in rows])
    assert relative(np.stack(model.read(rows, LAYERS, "last")), alone) < 1e-5
    settings = Sampling(12, temperature=0)
    assert model.generate(rows, range(5), settings) == plain.generate(rows, range(5), settings)


def test_eight_bits_stay_close_to_the_model_in_bf16_too(tmp_path: Path, bnb: Any) -> None:
    save_tiny("llama", tmp_path, **WIDE)
    exact, eight, four = (load(tmp_path, width, "bfloat16") for width in (None, "8bit", "4bit"))
    assert eight.dtype == four.dtype == "bfloat16"
    rows = [exact.tokenize(Frame.plain(text)) for text in TEXTS]
    states, of_eight = (np.stack(one.read(rows, LAYERS, "mean")) for one in (exact, eight))
    assert relative(of_eight, states) < 0.1
    alone = np.stack([four.read([row], LAYERS, "mean")[0] for row in rows])
    assert relative(np.stack(four.read(rows, LAYERS, "mean")), alone) < 0.02


def test_adapters_and_noise_are_in_the_weights_before_they_are_quantised(tmp_path: Path, bnb: Any) -> None:
    folder = save_tiny("llama", tmp_path / "model", **WIDE)
    adapter = save_adapter("llama", tmp_path / "adapter", **WIDE)
    reference = parse_reference(f"{folder}+{adapter}").with_noise(0.1, seed=3)
    whole = load_model(reference, device="cpu", dtype="float32")
    whole.net.save_pretrained(tmp_path / "whole")
    tiny_tokenizer().save_pretrained(tmp_path / "whole")
    for width in ("8bit", "4bit"):
        merged = load_model(reference, device="cpu", dtype="float32", quantise=width)
        assert merged.identity == resolve(reference).identity
        saved = load(tmp_path / "whole", width)
        rows = [merged.tokenize(Frame.plain(text)) for text in TEXTS]
        for a, b in zip(merged.read(rows, LAYERS, "last"), saved.read(rows, LAYERS, "last"), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_mixture_of_experts_is_refused(tiny: Tiny, bnb: Any) -> None:
    with pytest.raises(ModelError, match=r"Only 14% of the weights in the blocks .*; leave --quantise out"):
        load(tiny("mixtral"), "4bit")


def test_weights_that_are_quantised_already(tmp_path: Path, bnb: Any) -> None:
    save_tiny("llama", tmp_path, **WIDE)
    load(tmp_path, "4bit").net.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"already quantised \(bitsandbytes\); leave --quantise out"):
        load(tmp_path, "8bit")


def test_what_cannot_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    check_placement(None, False, "cpu")
    check_placement(None, True, "cuda:0")
    with pytest.raises(ModelError, match="cannot be quantised to '3bit'; give 8bit or 4bit"):
        check_placement("3bit", False, "cpu")
    with pytest.raises(ModelError, match=r"nothing to offload from: on the device cpu .*leave --offload out"):
        check_placement(None, True, "cpu")
    monkeypatch.setattr("unmask.models.placement.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"not installed: pip install 'unmask\[quantised\]'"):
        check_placement("8bit", False, "cpu")
    with pytest.raises(ModelError, match="give --quantise or --offload"):
        check_placement("8bit", True, "cuda")
    assert placement_facts(None, False) == {}
    assert placement_facts(None, True) == {"offload": True}


def test_the_record_says_how_weights_were_rounded(bnb: Any) -> None:
    facts = placement_facts("4bit", False)
    assert facts == {"quantised": f"4bit (nf4 in blocks of 64, bitsandbytes {bnb.__version__})"}
    assert "int8 a row" in str(placement_facts("8bit", False)["quantised"])


@pytest.mark.parametrize("kind", ["llama", "gemma3", "gpt2", "mixtral"])
def test_blocks_whose_weights_lie_elsewhere_compute_the_same(kind: str, tiny: Tiny, tmp_path: Path) -> None:
    """What `--offload` does on a GPU, with the processor in the GPU's place and the disk in main memory's."""
    plain = load(tiny(kind), None)
    net = tiny_net(kind)
    parts = plain.anatomy
    tied = parts.head.weight is plain.net.get_input_embeddings().weight
    leaving = {*parts.blocks[1:], *parts.norms, *([] if tied else [parts.head])}
    away = {name for name, module in plain.net.named_modules() if module in leaving}
    placed = dict.fromkeys(away, "disk")
    for name, module in net.named_modules():
        if list(module.parameters(recurse=False)) and not any(name.startswith(f"{one}.") for one in away):
            placed[name] = "cpu"
    dispatch_model(net, placed, main_device="cpu", offload_dir=tmp_path)
    lying = [parameter.device.type for parameter in net.parameters()]
    assert "meta" in lying
    model = Model(net, tiny_tokenizer(), kind, kind)
    assert model.device == "cpu"
    rows = [model.tokenize(Frame.plain(text), TEXTS[0]) for text in TEXTS]
    edits = [Add((2,), Vector("up", np.ones(32, np.float32)), dose=dose) for dose in range(len(rows))]
    for edit in (None, edits):
        for one, other in (
            (model.read(rows, LAYERS, "last", edit), plain.read(rows, LAYERS, "last", edit)),
            (model.score(rows, edit), plain.score(rows, edit)),
        ):
            for a, b in zip(one, other, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    settings = Sampling(8, temperature=0)
    assert model.generate(rows, range(5), settings) == plain.generate(rows, range(5), settings)
    assert [parameter.device.type for parameter in net.parameters()] == lying


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_an_int8_layer_uses_its_weights_rounded_once(dtype: torch.dtype) -> None:
    codes = torch.arange(-127, 128, dtype=torch.int8)[None]
    layer = Int8Linear(codes, torch.tensor([0.3]), torch.ones(1, dtype=dtype))
    one_at_a_time = layer(torch.eye(255, dtype=dtype))[:, 0]
    assert one_at_a_time.dtype == dtype
    assert torch.equal(one_at_a_time, (codes[0] * (0.3 / 127)).to(dtype) + 1)
    assert torch.isfinite(layer(torch.full((255,), 200.0, dtype=dtype) * codes[0].sign())).all()
