"""Loading: dtypes, adapters merged exactly, noise of the stated size, and everything unsafe or odd refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file

from models.tiny import CHAT_TEMPLATE, TEXTS, save_tiny, tiny_net, tiny_tokenizer
from unmask.models import Frame, ModelError, load_model, parse_reference, resolve
from unmask.models.load import choose_device, choose_dtype, load_tokenizer

Tiny = Callable[[str], Path]
LAYERS = range(4)


def save_adapter(kind: str, folder: Path, seed: int = 0, **changes: Any) -> Path:
    """A LoRA adapter with random weights for a tiny model of this kind."""
    config = LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
    net = get_peft_model(tiny_net(kind, **changes), config)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.3)
    net.peft_config["default"].base_model_name_or_path = f"tiny {kind}"
    net.save_pretrained(folder)
    return folder


def weights(net: Any) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in net.named_parameters()}


def test_a_local_folder_loads_as_it_was_saved(tiny: Tiny) -> None:
    model = load_model(str(tiny("qwen3")), device="cpu", dtype="float32")
    assert (model.n_layers, model.d_model, model.dtype, model.device) == (3, 32, "float32", "cpu")
    assert model.max_length == 128
    assert model.identity == resolve(str(tiny("qwen3"))).identity
    saved = weights(tiny_net("qwen3"))
    for name, value in weights(model.net).items():
        assert torch.equal(value, saved[name])
    assert not any(parameter.requires_grad for parameter in model.net.parameters())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_adapters_are_merged_in_order_in_fp32_and_rounded_once(
    tiny: Tiny, tmp_path: Path, dtype: str
) -> None:
    first, second = (save_adapter("llama", tmp_path / str(i), seed=i) for i in (1, 2))
    model = load_model(f"{tiny('llama')}+{first}+{second}", device="cpu", dtype=dtype)
    expected = weights(tiny_net("llama"))
    for folder in (first, second):
        tensors = load_file(folder / "adapter_model.safetensors")
        for key in tensors:
            if key.endswith("lora_A.weight"):
                name = key.removeprefix("base_model.model.").replace("lora_A.", "")
                expected[name] += 2 * tensors[key.replace("lora_A", "lora_B")] @ tensors[key]
    tolerance = {"float32": 1e-6, "bfloat16": 0.0}[dtype]
    target = getattr(torch, dtype)
    different = 0
    for name, value in weights(model.net).items():
        assert value.dtype == target
        if tolerance:
            torch.testing.assert_close(value, expected[name], atol=tolerance, rtol=1e-5)
        else:  # a merge in bf16 would be a bf16 step off in many places; fp32's own rounding is in very few
            different += int((value != expected[name].to(target)).sum())
    assert different < 5
    assert model.identity != load_model(f"{tiny('llama')}+{second}+{first}", device="cpu").identity


def test_fp32_parts_stay_fp32_when_adapters_are_merged_into_bf16(tiny: Tiny, tmp_path: Path) -> None:
    adapter = save_adapter("llama", tmp_path / "a")
    merged = load_model(f"{tiny('llama')}+{adapter}", device="cpu", dtype="bfloat16").net
    plain = load_model(str(tiny("llama")), device="cpu", dtype="bfloat16").net
    for (name, a), (_, b) in zip(merged.named_buffers(), plain.named_buffers(), strict=True):
        assert a.dtype == b.dtype, name
        assert torch.equal(a, b)
    assert any(buffer.dtype == torch.float32 for buffer in plain.buffers())


def test_an_adapter_of_another_architecture_is_named(tiny: Tiny, tmp_path: Path) -> None:
    wide = save_adapter("llama", tmp_path / "wide", hidden_size=64)
    with pytest.raises(
        ModelError, match=r"does not fit .*model's weight is .*; it was trained on tiny llama"
    ):
        load_model(f"{tiny('llama')}+{wide}", device="cpu")
    with pytest.raises(
        ModelError, match=r"changes model\.layers.* does not have; it was trained on tiny llama"
    ):
        load_model(f"{tiny('gpt2')}+{save_adapter('llama', tmp_path / 'l')}", device="cpu")
    deep = save_adapter("llama", tmp_path / "deep", num_hidden_layers=5)
    with pytest.raises(ModelError, match=r"changes model\.layers\.[34].* does not have"):
        load_model(f"{tiny('llama')}+{deep}", device="cpu")
    odd = save_adapter("llama", tmp_path / "odd")
    (odd / "adapter_config.json").write_text('{"peft_type": "UNHEARD_OF", "base_model_name_or_path": "x"}')
    with pytest.raises(ModelError, match="could not be merged"):
        load_model(f"{tiny('llama')}+{odd}", device="cpu")
    (odd / "adapter_config.json").write_text("{")
    with pytest.raises(ModelError, match="not valid JSON"):
        load_model(f"{tiny('llama')}+{odd}", device="cpu")


def test_noise_has_the_stated_size_and_only_touches_matrices(tiny: Tiny) -> None:
    reference = parse_reference(str(tiny("llama")))
    plain = weights(tiny_net("llama"))
    noisy = weights(load_model(reference.with_noise(0.1, 5), device="cpu", dtype="float32").net)
    again = weights(load_model(reference.with_noise(0.1, 5), device="cpu", dtype="float32").net)
    other = weights(load_model(reference.with_noise(0.1, 6), device="cpu", dtype="float32").net)
    for name, value in plain.items():
        assert torch.equal(noisy[name], again[name])
        if value.ndim < 2:
            assert torch.equal(noisy[name], value)
        else:
            assert float((noisy[name] - value).std() / value.std()) == pytest.approx(0.1, rel=0.1)
            assert not torch.equal(noisy[name], other[name])


def test_heavy_noise_changes_what_the_model_says_and_light_noise_little(tiny: Tiny) -> None:
    reference = parse_reference(str(tiny("llama")))
    models = [
        load_model(reference.with_noise(scale), device="cpu", dtype="float32") for scale in (0.0, 1e-4, 1.0)
    ]
    plain, light, heavy = (m.score([m.tokenize(Frame.plain(TEXTS[0]), TEXTS[1])])[0] for m in models)
    assert np.abs(plain - light).max() < 0.01
    assert np.abs(plain - heavy).mean() > 0.3


def test_pickle_weights(tiny: Tiny, tmp_path: Path) -> None:
    shutil.copytree(tiny("llama"), tmp_path, dirs_exist_ok=True)
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="pickle files only"):
        load_model(str(tmp_path), device="cpu")
    with pytest.raises(ModelError, match="pickle files only"):
        load_model(resolve(str(tmp_path), allow_pickle=True), device="cpu")
    model = load_model(str(tmp_path), device="cpu", dtype="float32", allow_pickle=True)
    row = model.tokenize(Frame.plain(TEXTS[0]))
    same = load_model(str(tiny("llama")), device="cpu", dtype="float32")
    np.testing.assert_array_equal(model.read([row], LAYERS, "last")[0], same.read([row], LAYERS, "last")[0])


def test_an_adapters_pickle_is_no_safer_for_safetensors_beside_it(tiny: Tiny, tmp_path: Path) -> None:
    adapter = save_adapter("llama", tmp_path / "a")
    weights_file = adapter / "adapter_model.safetensors"
    torch.save(load_file(weights_file), adapter / "adapter_model.bin")
    whole = load_model(f"{tiny('llama')}+{adapter}", device="cpu", dtype="float32")
    weights_file.rename(adapter / "optimizer.safetensors")
    with pytest.raises(ModelError, match=r"pickle files only \(adapter_model.bin\)"):
        load_model(f"{tiny('llama')}+{adapter}", device="cpu")
    trusted = load_model(f"{tiny('llama')}+{adapter}", device="cpu", dtype="float32", allow_pickle=True)
    for name, value in weights(whole.net).items():
        assert torch.equal(weights(trusted.net)[name], value)
    (adapter / "adapter_model.bin").unlink()
    with pytest.raises(ModelError, match=r"holds no weights: adapter_model.safetensors was expected"):
        load_model(f"{tiny('llama')}+{adapter}", device="cpu", allow_pickle=True)


def test_an_adapters_own_tokenizer_and_template_are_used(tiny: Tiny, tmp_path: Path) -> None:
    base = tiny("llama")
    plain, talks, later = (save_adapter("llama", tmp_path / name) for name in ("plain", "talks", "later"))
    own = tiny_tokenizer()
    own.add_special_tokens({"additional_special_tokens": ["<|tool|>"]})
    own.chat_template = "trained with: {{ messages }}"
    own.save_pretrained(talks)
    (later / "chat_template.jinja").write_text("later: {{ messages }}")

    def tokenizer(*adapters: Path) -> Any:
        return load_tokenizer(resolve("+".join(map(str, (base, *adapters)))))

    assert tokenizer(plain).chat_template == CHAT_TEMPLATE
    for adapters in ((talks,), (talks, plain), (later, talks)):
        assert tokenizer(*adapters).chat_template == own.chat_template
        assert tokenizer(*adapters).get_vocab() == own.get_vocab()
    assert tokenizer(later).chat_template == tokenizer(talks, later).chat_template == "later: {{ messages }}"
    assert tokenizer(later).get_vocab() == tokenizer().get_vocab()
    assert "<|tool|>" in tokenizer(talks, later).get_vocab()
    loaded = load_model(f"{base}+{talks}", device="cpu", dtype="float32")
    assert loaded.tokenizer.chat_template == own.chat_template
    (talks / "tokenizer.json").unlink()  # settings without a vocabulary are no tokenizer
    assert tokenizer(talks).get_vocab() == tokenizer().get_vocab()


def test_remote_code_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    shutil.copytree(tiny("llama"), tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.C", "AutoModelForCausalLM": "mine.M"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "mine.py").write_text("raise SystemExit('code was run')")
    with pytest.raises(ModelError, match=r"brings its own Python code.*trust_remote_code=True"):
        load_model(str(tmp_path), device="cpu")


def test_unknown_architecture(tiny: Tiny, tmp_path: Path) -> None:
    shutil.copytree(tiny("llama"), tmp_path, dirs_exist_ok=True)
    (tmp_path / "config.json").write_text('{"model_type": "unheard_of"}')
    with pytest.raises(ModelError, match=r"could not be loaded .*transformers knows was expected"):
        load_model(str(tmp_path), device="cpu")


def test_missing_tokenizer(tiny: Tiny, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        shutil.copy(tiny("llama") / name, tmp_path / name)
    with pytest.raises(ModelError, match=r"has no tokenizer: tokenizer.json .*was expected"):
        load_model(str(tmp_path), device="cpu")


def test_missing_tensors(tiny: Tiny, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    shutil.copytree(tiny("llama"), tmp_path, dirs_exist_ok=True)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lack 1 tensors .*model\.layers\.1\.mlp\.up_proj"):
        load_model(str(tmp_path), device="cpu")


def test_weights_that_do_not_fit_the_config(tiny: Tiny, tmp_path: Path) -> None:
    save_tiny("llama", tmp_path, intermediate_size=64)
    shutil.copy(tiny("llama") / "model.safetensors", tmp_path)
    with pytest.raises(ModelError, match="could not be loaded"):
        load_model(str(tmp_path), device="cpu")


def test_nan_weights(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_tiny("llama", tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["model.layers.0.mlp.up_proj.weight"][:] = float("nan")
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="not finite at layer 1"):
        load_model(str(tmp_path), device="cpu")


def test_devices_and_dtypes() -> None:
    cpu = torch.device("cpu")
    assert choose_dtype("bf16", cpu) == torch.bfloat16
    assert choose_dtype("auto", cpu) in (torch.bfloat16, torch.float32)
    assert choose_device("cpu") == "cpu"
    with pytest.raises(ModelError, match="dtype 'int8' is unknown"):
        choose_dtype("int8", cpu)
    with pytest.raises(ModelError, match="device 'abacus' is unknown"):
        choose_device("abacus")
    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="not on this machine"):
            choose_device("cuda:0")


def test_devices_that_this_machine_lacks(monkeypatch: pytest.MonkeyPatch, tiny: Tiny) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.mps, "device_count", lambda: 0)
    assert [choose_device(name) for name in ("cuda", "cuda:1", "auto")] == ["cuda", "cuda:1", "cuda"]
    with pytest.raises(ModelError, match=r"'cuda:7' is not on this machine, which has cuda:0, cuda:1; give"):
        load_model(str(tiny("llama")), device="cuda:7")
    with pytest.raises(ModelError, match=r"'mps' is not on this machine, which has no mps device; give auto"):
        choose_device("mps")
    with pytest.raises(ModelError, match="'meta' is unknown"):
        choose_device("meta")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match="which has no cuda device"):
        choose_device("cuda")


@pytest.mark.parametrize("where", ["weights", "device"])
def test_weights_that_the_memory_does_not_hold_are_a_sentence(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    what = "transformers.AutoModelForCausalLM.from_pretrained" if where == "weights" else "torch.nn.Module.to"
    monkeypatch.setattr(what, full)
    with pytest.raises(ModelError, match=r"not enough memory for the weights of .*--quantise, --offload"):
        load_model(str(tiny("llama")), device="cpu", dtype="float32")
